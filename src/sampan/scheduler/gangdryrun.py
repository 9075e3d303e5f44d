"""What would become of a pod group, tried and taken back: for those who explain and simulate. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.kinds.core.phases import is_finished
from sampan.scheduler import gangs, groupcycle
from sampan.scheduler.cycle import Choose, Engine
from sampan.scheduler.groupcycle import GroupCycle, MakeRoom
from sampan.scheduler.podinfo import PodInfo
from sampan.schema import api


def looks_at_groups(engine: Engine) -> bool:
    """Whether the profile has GangScheduling enabled."""
    return any(plugin.name == "GangScheduling" for plugin in engine.profile.filters)


def try_group(
    engine: Engine,
    key: gangs.Key,
    waiting: Sequence[PodInfo],
    choose: Choose,
    make_room: MakeRoom | None = None,
) -> tuple[GroupCycle, str]:
    """Decide for the pods of a group that wait; places are taken. Gives also why there are none."""
    world = engine.world
    group = world.gangs.group(key)
    assert group is not None
    on = [world.placed[own].node for own in world.gangs.members(key) if own in world.placed]
    least, label = gangs.least_of(group), gangs.topology_of(group)
    if label:
        cycle, why = groupcycle.run_in_domain(engine, waiting, least, on, label, choose)
    else:
        cycle, why = groupcycle.run(engine, waiting, least, len(on), choose, make_room=make_room), ""
    return cycle, "" if cycle.succeeded else why or cycle.message


def why_group_waits(engine: Engine, pods: Sequence[api.Pod], pod: api.Pod) -> str:
    """Why a pod's group as a whole has no places, where the pod itself would have one; "" where it has."""
    key = gangs.group_of(pod)
    if key is None or not looks_at_groups(engine) or engine.world.gangs.group(key) is None:
        return ""
    waiting = [
        engine.world.infos.of(each)
        for each in pods
        if gangs.group_of(each) == key
        and not each.spec.nodeName
        and not is_finished(each)
        and each.metadata.deletionTimestamp is None
    ]
    cycle, why = try_group(engine, key, waiting, lambda rows: rows[0])
    cycle.undo()
    if not why:
        return ""
    told = f"pod group {key[1]}: {why}"
    refused = next(iter(cycle.refused), None)
    return f"{told}; {refused[0].key[1]}: {refused[1].message}" if refused is not None else told
