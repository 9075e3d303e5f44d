"""Nodes that fall silent: their conditions become Unknown, taints keep pods away, pods are not ready.

How fast nodes may drive their pods away depends on how their zone does; see `zones`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from sampan.base.clock import kube_time
from sampan.client.effects import Effect, Emit, Patch, Plan, Ref, UpdateStatus
from sampan.client.resources import ref_of
from sampan.controllers import zones
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached, mapped
from sampan.controllers.runtime.disruption import conditions_with, patch_status
from sampan.controllers.taints import (
    MANAGED_NO_EXECUTE,
    MANAGED_NO_SCHEDULE,
    NO_EXECUTE,
    NO_SCHEDULE,
    NOT_READY,
    OF_CONDITIONS,
    UNSCHEDULABLE,
    is_ready,
)
from sampan.schema import api, codec

GRACE_S: Final = 40.0
STARTUP_GRACE_S: Final = 60.0
LEASES: Final = "kube-node-lease"
_HEARTBEATS: Final = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


class View(msgspec.Struct, frozen=True):
    """A node, when we last heard of it, the pods on it, and how the other nodes are."""

    node: api.Node
    heard_at: datetime | None
    pods: tuple[api.Pod, ...] = ()
    zone: zones.Zone = zones.Zone()
    grace_s: float = GRACE_S


class Removal(NamedTuple):
    """The key of a node that may have gone: another one of its name is another key."""

    name: str
    uid: str


def gather(caches: Caches, key: Key | Removal, grace_s: float = GRACE_S) -> View | Removal | None:
    """The node with its last sign of life: a change of its Lease, or a heartbeat in its status."""
    nodes = caches.of(api.Node)
    if isinstance(key, Removal):
        return key if nodes.by_uid(key.uid) is None else None
    node = nodes.get("", key.name)
    if node is None:
        return None
    heard = [_heartbeat(node, nodes.seen_at("", key.name)), caches.of(api.Lease).seen_at(LEASES, key.name)]
    heard_at = max((moment for moment in heard if moment is not None), default=None)
    if is_ready(node):  # it drives nothing away, however its zone does
        return View(node, heard_at, grace_s=grace_s)
    pods = tuple(caches.of(api.Pod).by_index(podutil.ON_NODE, key.name))
    return View(node, heard_at, pods, zones.look_up(nodes, node), grace_s)


def plan(view: View | Removal, now: datetime) -> Plan:
    """What the node needs; each manager says once of each node that it has it, and once that it is gone."""
    if isinstance(view, Removal):
        about = Ref("v1", "Node", "", view.name, view.uid)
        return Plan(notices=(_noted(about, "RemovingNode", f"Removing Node {view.name} from Controller"),))
    about, name = ref_of(view.node), view.node.metadata.name
    registered = _noted(about, "RegisteredNode", f"Registered Node {name} in Controller")
    return msgspec.structs.replace(_plan(view, now), notices=(registered,))


def _noted(about: Ref, reason: str, message: str) -> Emit:
    return Emit(about, "Normal", reason, f"Node {about.name} event: {message}")


def _plan(view: View, now: datetime) -> Plan:
    """Conditions first; when they stand, the taints that follow from them, and the pods."""
    node = view.node
    deadline = _deadline(view, now)
    if deadline <= now:
        conditions = _silenced(node, now)
        if conditions != node.status.conditions:
            status = msgspec.structs.replace(node.status, conditions=conditions)
            emit = Emit(
                ref_of(node),
                "Normal",
                "NodeNotReady",
                f"Node {node.metadata.name} status is now: NodeNotReady",
            )
            return Plan((UpdateStatus(msgspec.structs.replace(node, status=status)), emit), "a sign of life")
    effects: list[Effect] = []
    taints = _taints(view, now)
    if taints != node.spec.taints:
        meta = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resourceVersion}
        spec = {"taints": codec.to_builtins(taints) or None}
        effects.append(Patch(ref_of(node), {"metadata": meta, "spec": spec}))
    if not is_ready(node):
        effects += _pods_not_ready(view, now)
    turn_s = _turn_s(view, taints, now)
    if any(
        condition.type == "Ready" and condition.status == "Unknown" for condition in node.status.conditions
    ):
        return Plan(tuple(effects), "a sign of life", turn_s)
    # Nothing tells us that nothing happens: look again when the node will have been silent for too long.
    silent_s = max((deadline - now).total_seconds(), 0.0) + 0.1
    return Plan(tuple(effects), requeue_after_s=silent_s if turn_s is None else min(silent_s, turn_s))


def _turn_s(view: View, taints: list[api.Taint], now: datetime) -> float | None:
    """Seconds until the node may drive its pods away, where it has to but may not yet."""
    due = zones.due(view.zone, now)
    if due is None or not _drives_away(view.node) or any(_is_driving(taint) for taint in taints):
        return None
    return max((due - now).total_seconds(), 0.0)


def _drives_away(node: api.Node) -> bool:
    return any(
        OF_CONDITIONS.get((c.type or "", c.status or "")) in MANAGED_NO_EXECUTE
        for c in node.status.conditions
    )


def _is_driving(taint: api.Taint) -> bool:
    return taint.effect == NO_EXECUTE and taint.key in MANAGED_NO_EXECUTE


def _deadline(view: View, now: datetime) -> datetime:
    if view.heard_at is None:
        created = view.node.metadata.creationTimestamp or now
        return created + timedelta(seconds=STARTUP_GRACE_S)
    return view.heard_at + timedelta(seconds=view.grace_s)


def _heartbeat(node: api.Node, seen_at: datetime | None) -> datetime | None:
    """When the node last reported: by its own clock, but never after we saw it, since that may be ahead."""
    beats = [beat for c in node.status.conditions if (beat := c.lastHeartbeatTime) is not None]
    if not beats:
        return None
    return min(max(beats), seen_at) if seen_at is not None else max(beats)


def _silenced(node: api.Node, now: datetime) -> list[api.NodeCondition]:
    """All that the node itself reports is no longer known."""
    conditions = list(node.status.conditions)
    known = {condition.type: position for position, condition in enumerate(conditions)}
    for type in _HEARTBEATS:
        if type not in known:
            conditions.append(
                api.NodeCondition(
                    type=type,
                    status="Unknown",
                    reason="NodeStatusNeverUpdated",
                    message="Kubelet never posted node status.",
                    lastHeartbeatTime=node.metadata.creationTimestamp,
                    lastTransitionTime=kube_time(now),
                )
            )
        elif conditions[known[type]].status != "Unknown":
            conditions[known[type]] = msgspec.structs.replace(
                conditions[known[type]],
                status="Unknown",
                reason="NodeStatusUnknown",
                message="Kubelet stopped posting node status.",
                lastTransitionTime=kube_time(now),
            )
    return conditions


def _taints(view: View, now: datetime) -> list[api.Taint]:
    node = view.node
    statuses = {condition.type: condition.status for condition in node.status.conditions}
    no_schedule = {key for (type, status), key in OF_CONDITIONS.items() if statuses.get(type) == status}
    no_execute = no_schedule & MANAGED_NO_EXECUTE if _may_drive_away(view, now) else set()
    if "Ready" not in statuses:
        no_schedule.add(NOT_READY)  # it has registered, and is about to say how it is
    if node.spec.unschedulable:
        no_schedule.add(UNSCHEDULABLE)
    wanted = {(key, NO_SCHEDULE) for key in no_schedule} | {(key, NO_EXECUTE) for key in no_execute}
    kept = [_stamped(taint, now) for taint in node.spec.taints if _is_wanted(taint, wanted)]
    held = {(taint.key, taint.effect) for taint in kept}
    added = [
        api.Taint(key=key, effect=effect, timeAdded=kube_time(now)) for key, effect in sorted(wanted - held)
    ]
    return [*kept, *added]


def _may_drive_away(view: View, now: datetime) -> bool:
    """A taint that is there may stay or change its key; a new one waits for its turn in the zone."""
    if not view.zone.any_ready:
        return False
    due = zones.due(view.zone, now)
    return zones.has_driven(view.node) is not None or (due is not None and due <= now)


def _is_wanted(taint: api.Taint, wanted: set[tuple[str, str]]) -> bool:
    managed = MANAGED_NO_EXECUTE if taint.effect == NO_EXECUTE else MANAGED_NO_SCHEDULE
    if taint.effect not in (NO_EXECUTE, NO_SCHEDULE) or taint.key not in managed:
        return True
    return (taint.key, taint.effect) in wanted


def _stamped(taint: api.Taint, now: datetime) -> api.Taint:
    # How long a NoExecute taint is tolerated counts from here; who sets one by hand leaves the time out.
    if taint.effect != NO_EXECUTE or taint.timeAdded is not None:
        return taint
    return msgspec.structs.replace(taint, timeAdded=kube_time(now))


def _pods_not_ready(view: View, now: datetime) -> list[Effect]:
    effects: list[Effect] = []
    events: list[Effect] = []
    for pod in view.pods:
        condition = podutil.condition(pod, "Ready")
        if condition is None or condition.status != "True" or podutil.is_finished(pod):
            continue
        new = msgspec.structs.replace(condition, status="False", lastTransitionTime=kube_time(now))
        effects.append(patch_status(pod, {"conditions": conditions_with(pod, new)}))
        events.append(Emit(ref_of(pod), "Warning", "NodeNotReady", "Node is not ready"))
    return [*effects, *events]


def _readiness_changes(old: api.Node, new: api.Node) -> bool:
    return is_ready(old) != is_ready(new)


def _waiting_nodes(caches: Caches, changed: api.Node) -> Iterable[Key]:
    return (Key("", name) for name in zones.concerned(caches.of(api.Node), changed))


def _removal(_caches: Caches, node: api.Node) -> Iterable[Removal]:
    yield Removal(node.metadata.name or "", node.metadata.uid or "")


def _matters(old: Any, new: Any) -> bool:
    """Heartbeats alone change nothing; the next look is planned already."""
    return bool(
        old.spec != new.spec
        or [(c.type, c.status) for c in old.status.conditions]
        != [(c.type, c.status) for c in new.status.conditions]
    )


def controller(grace_s: float = GRACE_S) -> Controller:
    """The controller with this node-monitor-grace-period."""
    return Controller(
        name="node-lifecycle",
        reporter="node-controller",
        kind=api.Node,
        matters=_matters,
        watches=(
            mapped(api.Node, _waiting_nodes, _readiness_changes),
            mapped(api.Node, _removal, lambda _old, _new: False),  # nodes that come and go only
            cached(api.Lease),
            cached(api.Pod),
        ),
        indexes={api.Pod: {podutil.ON_NODE: podutil.on_node}, api.Node: zones.INDEXES},
        gather=lambda caches, key: gather(caches, key, grace_s),
        plan=plan,
    )
