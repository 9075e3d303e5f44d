"""How many nodes of which group would let waiting pods run, by the scheduler's own cycle. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from sampan.autoscaler.nodes.config import Config, Group
from sampan.scheduler.cycle import Decision, Engine
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot, is_finished, world_of
from sampan.schema import api


class Option(msgspec.Struct, frozen=True):
    """One way to grow: these pods run on `count` more nodes of the group; `waste` is the share left free."""

    group: Group
    count: int
    pods: tuple[api.Pod, ...]
    waste: float = 0.0


class Growth(msgspec.Struct, frozen=True):
    """What to do: `chosen` is None where nothing helps; `unhelped` has reasons by pod."""

    chosen: Option | None = None
    unhelped: tuple[tuple[api.Pod, str], ...] = ()


def waiting(pods: Sequence[api.Pod]) -> list[api.Pod]:
    """The pods that the scheduler has found no node for, the most important and oldest first."""
    found = [pod for pod in pods if _is_waiting(pod)]
    return sorted(found, key=lambda p: (-(p.spec.priority or 0), p.metadata.namespace, p.metadata.name))


def plan_up(
    snapshot: Snapshot,
    config: Config,
    sizes: Mapping[str, int],
    upcoming: Mapping[str, Sequence[str]],
    backed_off: frozenset[str],
    choose: Callable[[int], int],
) -> Growth:
    """Choose a growth. `sizes` counts each group's nodes, also those that are only expected (`upcoming`, by
    name); groups that are `backed_off` do not grow now. `choose` picks an index below its argument."""
    short = [g for g in config.groups if sizes[g.name] < g.min and g.name not in backed_off]
    if short:
        return Growth(Option(short[0], short[0].min - sizes[short[0].name], ()))
    pods = waiting(snapshot.pods)
    if not pods:
        return Growth()
    coming = [g.node(name) for g in config.groups for name in upcoming.get(g.name, ())]
    soon = replace(snapshot, nodes=[*snapshot.nodes, *coming])
    options: list[Option] = []
    why: dict[str, dict[str, int]] = {}
    helped: set[str] = set()
    for group in config.groups:
        room = group.max - sizes[group.name]
        reason = "in backoff after failed scale-up" if group.name in backed_off else ""
        option, fine, refused = estimate(soon, group, pods, max(room, 1))
        helped |= fine
        if room <= 0 and not reason:
            reason = "max node group size reached"
        if option is not None and not reason:
            options.append(option)
            helped |= {p.metadata.uid or "" for p in option.pods}
        for pod in pods:
            text = refused.get(pod.metadata.uid or "") or reason or "max node group size reached"
            counts = why.setdefault(pod.metadata.uid or "", {})
            counts[text] = counts.get(text, 0) + 1
    unhelped = tuple((p, _told(why[p.metadata.uid or ""])) for p in pods if p.metadata.uid not in helped)
    return Growth(best(options, config.expander, choose) if options else None, unhelped)


def estimate(
    snapshot: Snapshot, group: Group, pods: Sequence[api.Pod], room: int
) -> tuple[Option | None, set[str], dict[str, str]]:
    """How many new nodes of the group the pods need, at most `room`; the uids of pods that have room
    without them; and by uid why the rest cannot run on one."""
    world = world_of(snapshot)
    engine = Engine(default_profile(), world)
    added: list[str] = []
    on_new: list[api.Pod] = []
    fine: set[str] = set()
    refused: dict[str, str] = {}
    for pod in pods:
        uid = pod.metadata.uid or ""
        info = world.infos.of(pod)
        rows = engine.feasible(info)
        if isinstance(rows, Decision):
            if len(added) >= room:
                continue
            name = f"template-node-for-{group.name}-{len(added)}"
            world.put_node(group.node(name))
            why = engine.refusal(info, world.table.rows[name])
            if why:
                world.remove_node(name)
                refused[uid] = why
                continue
            added.append(name)
            target = name
        else:
            names = [world.table.nodes[int(row)] for row in rows]
            target = (names[0].metadata.name if names[0] is not None else "") or ""
        world.place(info, target)
        if target in added:
            on_new.append(pod)
        else:
            fine.add(uid)
    if not added:
        return None, fine, refused
    shares = []
    for resource in ("cpu", "memory"):
        rows_of = [world.table.rows[name] for name in added]
        offered = sum(int(world.table.allocatable(resource)[row]) for row in rows_of)
        taken = sum(int(world.table.requested(resource)[row]) for row in rows_of)
        shares.append(1 - taken / offered if offered else 0.0)
    return Option(group, len(added), tuple(on_new), sum(shares) / 2), fine, refused


def best(options: Sequence[Option], expander: str, choose: Callable[[int], int]) -> Option:
    """The option that the expander prefers; among equals, chance decides."""
    if expander == "least-waste":
        least = min(o.waste for o in options)
        options = [o for o in options if o.waste == least]
    elif expander == "priority":
        top = max(o.group.priority for o in options)
        options = [o for o in options if o.group.priority == top]
    elif expander == "most-pods":
        most = max(len(o.pods) for o in options)
        options = [o for o in options if len(o.pods) == most]
    return options[choose(len(options))] if len(options) > 1 else options[0]


def _told(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{count} {text}" for text, count in sorted(counts.items()))
    return f"pod didn't trigger scale-up: {parts}"


def _is_waiting(pod: api.Pod) -> bool:
    if pod.spec.nodeName or is_finished(pod) or pod.metadata.deletionTimestamp is not None:
        return False
    if pod.status.nominatedNodeName:
        return False
    return any(
        c.type == "PodScheduled" and c.status == "False" and c.reason == "Unschedulable"
        for c in pod.status.conditions
    )
