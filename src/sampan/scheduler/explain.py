"""Why a pod runs where it does, or nowhere, and the smallest changes that would let it run. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from sampan.kinds.core.phases import is_finished
from sampan.scheduler import mends, needed
from sampan.scheduler.cycle import Engine
from sampan.scheduler.framework import Rejected
from sampan.scheduler.gangdryrun import why_group_waits
from sampan.scheduler.needed import Change
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.schema import api

# How many nodes' changes are given as the smallest; each node's own are in its answer.
MOST_SUGGESTED: Final = 3


class Refusal(msgspec.Struct, frozen=True):
    """One filter that keeps the pod off a node."""

    plugin: str
    why: str


class NodeAnswer(msgspec.Struct, frozen=True):
    """What the scheduler says of one node: all its refusals in the order of the filters, or its scores.

    `changes` together would open the node; empty where none is known (or none needed).
    """

    node: str
    refusals: tuple[Refusal, ...] = ()
    score: int | None = None
    scores: dict[str, int] = {}
    changes: tuple[Change, ...] = ()


class Way(msgspec.Struct, frozen=True):
    """Changes that let the pod run once all of them are made. `node` is "" where they open no node yet."""

    node: str
    changes: tuple[Change, ...]


class Explanation(msgspec.Struct, frozen=True):
    """The answer for one pod. `node` is where it is; `message` the scheduler's summary where none will do,

    or why its group waits as a whole, though there is a node for the pod itself.
    """

    namespace: str
    name: str
    phase: str
    node: str
    message: str
    nodes: tuple[NodeAnswer, ...]
    ways: tuple[Way, ...] = ()


def explain(snapshot: Snapshot, pod: api.Pod, profile: Profile | None = None) -> Explanation:
    """Explain a pod of the snapshot. A pod that has a node is looked at as if it had still to be placed."""
    unbound = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, nodeName=None))
    world = world_of(snapshot, without=pod)
    engine = Engine(profile or default_profile(), world)
    info = world.infos.of(unbound)
    answers = _answers(engine, info)
    pending = not pod.spec.nodeName and not is_finished(pod)
    first = held_back(pod, engine) if pending else ()
    closed = pending and not any(a.score is not None for a in answers)
    ways = _ways(answers, first) if closed else ()
    if first and not closed:
        ways = (Way("", first),)
    message = engine.explain_failure(info).message if closed else ""
    if pending and not closed and pod.spec.schedulingGroup is not None:
        message = why_group_waits(engine, snapshot.pods, pod)
    return Explanation(
        namespace=pod.metadata.namespace or "",
        name=pod.metadata.name or "",
        phase=pod.status.phase or "Pending",
        node=pod.spec.nodeName or "",
        message=message,
        nodes=tuple(answers),
        ways=ways,
    )


def ways_to_run(engine: Engine, pod: api.Pod) -> tuple[Way, ...]:
    """The smallest changes that would let a pod run that the engine finds no node for."""
    return _ways(_answers(engine, engine.world.infos.of(pod)), held_back(pod, engine))


def _answers(engine: Engine, info: PodInfo) -> list[NodeAnswer]:
    world = engine.world
    refusals = _refusals(engine, info)
    promised = {name: why for name, plugin, why in engine.explain(info) if plugin == "DefaultPreemption"}
    for name, why in promised.items():
        refusals[name].append(Refusal("DefaultPreemption", why))
    names = sorted(world.table.rows)
    open_ones = [name for name in names if not refusals[name]]
    rows = np.array([world.table.rows[name] for name in open_ones], dtype=np.intp)
    scores = engine.breakdown(info, rows) if len(rows) else {}
    place = {name: at for at, name in enumerate(open_ones)}
    answers = []
    for name in names:
        refused = tuple(refusals[name])
        if refused:
            changes = mends.changes(world, info, name, [r.plugin for r in refused])
            answers.append(NodeAnswer(name, refused, changes=changes or ()))
        else:
            mine = {plugin: int(values[place[name]]) for plugin, values in scores.items()}
            answers.append(NodeAnswer(name, score=sum(mine.values()), scores=mine))
    return answers


def _refusals(engine: Engine, info: PodInfo) -> dict[str, list[Refusal]]:
    """Everything that keeps the pod off each node, not only the first reason."""
    world = engine.world
    found: dict[str, list[Refusal]] = {name: [] for name in world.table.rows}
    rows = np.array(list(world.table.rows.values()), dtype=np.intp)
    for plugin in engine.profile.filters:
        state = plugin.prepare(info, world) if plugin.overrides("prepare") else None
        if isinstance(state, Rejected):
            for refusals in found.values():
                refusals.append(Refusal(plugin.name, state.text))
            continue
        verdict = plugin.filter(state, world, rows) if state is not None and len(rows) else None
        if verdict is None:
            continue
        for at, name in enumerate(world.table.rows):
            texts = dict.fromkeys(r.text for r in verdict.reasons if r.where[at])
            if verdict.refused[at]:
                found[name].append(Refusal(plugin.name, ", ".join(texts)))
    return found


def held_back(pod: api.Pod, engine: Engine) -> tuple[Change, ...]:
    """What keeps the scheduler from looking at the pod at all."""
    found = [
        Change(needed.GATE, "", f"remove the scheduling gate {gate.name} from the pod")
        for gate in pod.spec.schedulingGates
    ]
    wanted = pod.spec.schedulerName
    if wanted and wanted != engine.profile.name:
        found.append(
            Change(
                needed.SCHEDULER,
                "",
                f"the pod waits for a scheduler named {wanted!r}: run one, "
                f"or make the pod anew with schedulerName {engine.profile.name}",
            )
        )
    return tuple(found)


def _ways(answers: list[NodeAnswer], first: tuple[Change, ...]) -> tuple[Way, ...]:
    """The nodes that the fewest and smallest changes would open."""
    helped = sorted((a for a in answers if a.changes), key=lambda a: (needed.cost(a.changes), a.node))
    ways = tuple(Way(a.node, (*first, *a.changes)) for a in helped[:MOST_SUGGESTED])
    return ways or ((Way("", first),) if first else ())
