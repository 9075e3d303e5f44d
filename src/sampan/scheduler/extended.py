"""Decisions in which HTTP extenders have a say: what they answer is joined with what the plugins say.

The world may change while an answer is awaited, so that what the plugins say is asked again after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np

from sampan.scheduler.changes import RowIndex
from sampan.scheduler.cycle import Choose, Engine
from sampan.scheduler.decision import Decision, Diagnosis
from sampan.scheduler.extenders import Extenders, Narrowed
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.preemption import Outcome, Preemption
from sampan.schema import api


class Extended(msgspec.Struct, frozen=True):
    """A decision, and the nodes that extenders refuse whoever is evicted."""

    decision: Decision
    lost: frozenset[str] = frozenset()


async def decide(engine: Engine, extenders: Extenders, pod: PodInfo, choose: Choose) -> Extended:
    """Decide for a pod that extenders have a say on. Raises ExtenderError."""
    rows = engine.feasible(pod)
    if isinstance(rows, Decision):
        return Extended(rows)
    narrowed = await extenders.filter(pod, _nodes(engine, rows))
    left = _among(engine, pod, narrowed.nodes)
    if not len(left):
        return Extended(_refusal(engine, pod, narrowed), frozenset(narrowed.lost))
    left = engine.sampled(left)
    extra = await extenders.scores(pod, _nodes(engine, left)) if len(left) > 1 else {}
    table = engine.world.table
    left = _among(engine, pod, frozenset(_name(n) for n in _nodes(engine, left)))
    if not len(left):
        return Extended(_refusal(engine, pod, narrowed), frozenset(narrowed.lost))
    by_row = {table.rows[name]: score for name, score in extra.items() if name in table.rows}
    return Extended(engine.pick(pod, left, choose, by_row))


async def victims(
    preemption: Preemption,
    extenders: Extenders,
    pod: PodInfo,
    found: Diagnosis,
    offset: Callable[[int], int],
) -> Outcome:
    """The best victims of those that the extenders agree to. Raises ExtenderError."""
    outcome, candidates = preemption.candidates(pod, found, offset)
    if not candidates:
        return outcome
    return preemption.best(await extenders.allow(pod, candidates))


def forget_lost(engine: Engine, found: Diagnosis, lost: frozenset[str]) -> None:
    """Nodes that extenders refuse for good are not worth evicting anybody on."""
    for name in lost:
        row = engine.world.table.rows.get(name)
        if row is not None:
            found.resolvable[row] = False


def _among(engine: Engine, pod: PodInfo, names: frozenset[str]) -> RowIndex:
    """The rows of these nodes that still will do."""
    now = engine.feasible(pod)
    if isinstance(now, Decision):
        return np.array([], dtype=np.intp)
    known = engine.world.table.rows
    return np.intersect1d(now, np.array([known[n] for n in names if n in known], dtype=np.intp))


def _refusal(engine: Engine, pod: PodInfo, narrowed: Narrowed) -> Decision:
    """No node is left: the reasons of the plugins and those of the extenders. Any event may help."""
    found = engine.explain_failure(pod)
    counts = Counter(why for why in (*narrowed.failed.values(), *narrowed.lost.values()) if why)
    reasons = (*found.reasons, *((count, why) for why, count in counts.items()))
    return msgspec.structs.replace(found, reasons=reasons, refused_by=frozenset())


def _nodes(engine: Engine, rows: RowIndex) -> list[api.Node]:
    nodes = engine.world.table.nodes
    return [node for row in rows.tolist() if (node := nodes[row]) is not None]


def _name(node: api.Node) -> str:
    return node.metadata.name or ""
