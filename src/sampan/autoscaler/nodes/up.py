"""How many nodes of which group would let waiting pods run, by the scheduler's own cycle. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec

from sampan.autoscaler.nodes.config import Config, Group
from sampan.autoscaler.nodes.room import Room
from sampan.client.cache import controller_of
from sampan.kinds.core.phases import is_finished
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot
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
    return sorted(found, key=_turn)


def plan_up(
    snapshot: Snapshot,
    config: Config,
    sizes: Mapping[str, int],
    upcoming: Mapping[str, Sequence[str]],
    backed_off: frozenset[str],
    choose: Callable[[int], int],
    profiles: Sequence[Profile] = (),
) -> Growth:
    """Choose a growth. `sizes` counts each group's nodes, also those that are on their way (`upcoming`, by
    name), which are taken to become what the template says, registered or not; groups that are `backed_off`
    do not grow now. `choose` picks an index below its argument."""
    short = [g for g in config.groups if sizes[g.name] < g.min and g.name not in backed_off]
    if short:
        return Growth(Option(short[0], short[0].min - sizes[short[0].name], ()))
    pods = waiting(snapshot.pods)
    if not pods:
        return Growth()
    coming = [g.node(name) for g in config.groups for name in upcoming.get(g.name, ())]
    room = Room(snapshot, profiles)
    for node in coming:
        room.add(node, ExitStack())
    options: list[Option] = []
    why: dict[str, dict[str, int]] = {}
    helped: set[str] = set()
    for group in config.groups:
        left = group.max - sizes[group.name]
        reason = "in backoff after failed scale-up" if group.name in backed_off else ""
        option, fine, refused = estimate(room, group, pods, max(left, 1))
        helped |= fine
        if left <= 0 and not reason:
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
    room: Room, group: Group, pods: Sequence[api.Pod], most: int
) -> tuple[Option | None, set[str], dict[str, str]]:
    """How many new nodes of the group the pods need, at most `most`; the uids of pods that have room
    without them; and by uid why the rest cannot run on one. The room is left as it was."""
    added: list[str] = []
    on_new: list[api.Pod] = []
    fine: set[str] = set()
    refused: dict[str, str] = {}
    with ExitStack() as undo:
        for pod in pods:
            uid = pod.metadata.uid or ""
            info = room.world.infos.of(pod)
            target = room.first(info)
            if not target and len(added) >= most:
                continue
            if not target:
                target = f"template-node-for-{group.name}-{len(added)}"
                trial = ExitStack()
                room.add(group.node(target), trial)
                why = room.refusal(info, target)
                if why:
                    trial.close()
                    refused[uid] = why
                    continue
                undo.push(trial)
                added.append(target)
            room.place(info, target, undo)
            if target in added:
                on_new.append(pod)
            else:
                fine.add(uid)
        if not added:
            return None, fine, refused
        return Option(group, len(added), tuple(on_new), room.free_share(added)), fine, refused


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


def _turn(pod: api.Pod) -> tuple[Any, ...]:
    meta = pod.metadata
    created_s = meta.creationTimestamp.timestamp() if meta.creationTimestamp is not None else 0.0
    return -(pod.spec.priority or 0), created_s, meta.namespace or "", meta.name or ""


def _told(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{count} {text}" for text, count in sorted(counts.items()))
    return f"pod didn't trigger scale-up: {parts}"


def _is_waiting(pod: api.Pod) -> bool:
    if pod.spec.nodeName or is_finished(pod) or pod.metadata.deletionTimestamp is not None:
        return False
    owner = controller_of(pod)
    if owner is not None and owner.kind == "DaemonSet":
        return False  # it is for one node, and no other would do
    if pod.status.nominatedNodeName:
        return False
    return any(
        c.type == "PodScheduled" and c.status == "False" and c.reason == "Unschedulable"
        for c in pod.status.conditions
    )
