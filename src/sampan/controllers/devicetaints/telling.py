"""What a DeviceTaintRule comes to: its condition EvictionInProgress, worded as Kubernetes words it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.effects import Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.devicetaints.evicting import USES, pools_of, view_of
from sampan.controllers.devicetaints.taints import POOL, leaving, pool_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached, mapped
from sampan.kinds.groups.resource.claims import claim_names, results_of
from sampan.kinds.groups.resource.taints import selects
from sampan.machinery.tolerations import NO_EXECUTE
from sampan.schema import api, codec

IN_PROGRESS: Final = "EvictionInProgress"
# Between two updates of a rule's status, as long as its spec stays.
PERIOD_S: Final = 10.0
_ONCE: Final = (
    "if the effect was NoExecute. This information will not be updated again. "
    "Recreate the DeviceTaintRule to trigger an update."
)


class View(msgspec.Struct, frozen=True):
    """A rule, what it selects, and the namespaces of the pods that it drives out (or would, if it did)."""

    rule: api.DeviceTaintRule
    published: int = 0
    allocated: int = 0
    leaving_from: tuple[str, ...] = ()


def gather(caches: Caches, key: Key) -> View | None:
    rule = caches.of(api.DeviceTaintRule).get("", key.name)
    if rule is None or rule.spec.taint is None:
        return None
    if rule.spec.taint.effect not in (NO_EXECUTE, "None"):
        return View(rule)
    evicting = codec.copy(rule)
    assert evicting.spec.taint is not None
    evicting.spec.taint.effect = NO_EXECUTE
    claims = [claim for claim in caches.of(api.ResourceClaim).items() if _has(claim, rule)]
    leaving_from = tuple(_leaving_from(caches, evicting, claims))
    if rule.spec.taint.effect == NO_EXECUTE:
        return View(rule, leaving_from=leaving_from)
    # Devices are told of by rules without an effect alone.
    devices = [(each.driver, each.pool, each.device) for claim in claims for each in results_of(claim)]
    return View(
        rule,
        sum(1 for device in _published(caches) if selects(rule, *device)),
        sum(1 for device in devices if selects(rule, *device)),
        leaving_from,
    )


def plan(view: View, now: datetime) -> Plan:
    """Say what the rule comes to: at once when it changes, and then every ten seconds at most."""
    rule, taint = view.rule, view.rule.spec.taint
    assert taint is not None
    held = next((c for c in rule.status.conditions if c.type == IN_PROGRESS), None)
    generation = rule.metadata.generation or 0
    if held is not None and held.observedGeneration == generation:
        if taint.effect == "None":
            return Plan()
        since_s = (now - held.lastTransitionTime).total_seconds() if held.lastTransitionTime else PERIOD_S
        if since_s < PERIOD_S:
            return Plan(requeue_after_s=PERIOD_S - since_s)
    status, reason, message = _word(view, was_busy=held is not None and held.status == "True")
    if held is not None and (held.status, held.reason, held.message, held.observedGeneration) == (
        status,
        reason,
        message,
        generation,
    ):
        return Plan()
    condition = api.Condition(
        type=IN_PROGRESS,
        status=status,
        reason=reason,
        message=message,
        observedGeneration=generation,
        lastTransitionTime=kube_time(now),
    )
    others = [c for c in rule.status.conditions if c.type != IN_PROGRESS]
    patch = {
        "metadata": {"uid": rule.metadata.uid, "resourceVersion": rule.metadata.resourceVersion},
        "status": {"conditions": codec.to_builtins([*others, condition])},
    }
    return Plan((Patch(ref_of(rule), patch, subresource="status"),))


def _word(view: View, *, was_busy: bool) -> tuple[str, str, str]:
    effect = view.rule.spec.taint.effect if view.rule.spec.taint is not None else ""
    pods, namespaces = len(view.leaving_from), len(set(view.leaving_from))
    if effect == NO_EXECUTE:
        if pods:
            where = "1 namespace." if namespaces == 1 else f"{namespaces} different namespaces."
            need = "1 pod needs" if pods == 1 else f"{pods} pods need"
            return "True", "PodsPendingEviction", f"{need} to be evicted in {where}"
        held = next((c for c in view.rule.status.conditions if c.type == IN_PROGRESS), None)
        done = was_busy or (held is not None and held.reason == "Completed")
        return "False", "Completed" if done else "NotStarted", ""
    if effect == "None":
        published = "1 published device" if view.published == 1 else f"{view.published} published devices"
        allocated = "1 allocated device" if view.allocated == 1 else f"{view.allocated} allocated devices"
        many = "1 pod" if pods == 1 else f"{pods} pods"
        where = "1 namespace" if namespaces == 1 else f"{namespaces} different namespaces"
        text = f"{published} selected. {allocated} selected. {many} would be evicted in {where} {_ONCE}"
        return "False", "NoEffect", text
    return "False", "OtherEffect", "Eviction only happens for the NoExecute effect."


def _published(caches: Caches) -> Iterable[tuple[str, str, str]]:
    pools: dict[tuple[str, str], list[api.ResourceSlice]] = {}
    for piece in caches.of(api.ResourceSlice).items():
        if piece.spec.pool is not None:
            pools.setdefault((piece.spec.driver, piece.spec.pool.name), []).append(piece)
    for (driver, pool), pieces in pools.items():
        latest = max(p.spec.pool.generation for p in pieces if p.spec.pool is not None)
        for piece in pieces:
            if piece.spec.pool is not None and piece.spec.pool.generation == latest:
                for device in piece.spec.devices:
                    yield driver, pool, device.name


def _leaving_from(
    caches: Caches, rule: api.DeviceTaintRule, claims: Iterable[api.ResourceClaim]
) -> Iterable[str]:
    """The namespace of each pod that has to go because of the rule, sooner or later."""
    users = {(c.metadata.namespace or "", user.name) for c in claims for user in c.status.reservedFor}
    for namespace, name in sorted(users):
        pod = caches.of(api.Pod).get(namespace, name)
        if pod is None or not pod.spec.nodeName or not podutil.is_active(pod):
            continue
        view = view_of(caches, pod, (rule,))
        added = rule.spec.taint.timeAdded if rule.spec.taint is not None else None
        when = added or rule.metadata.creationTimestamp
        due = leaving(view.claims, view.taints, when) if view is not None and when is not None else None
        if due is not None and due.rules:
            yield namespace


def _has(claim: api.ResourceClaim, rule: api.DeviceTaintRule) -> bool:
    return any(selects(rule, each.driver, each.pool, each.device) for each in results_of(claim))


def _every_rule(caches: Caches, obj: Any) -> Iterable[Key]:
    for rule in caches.of(api.DeviceTaintRule).items():
        if rule.spec.taint is not None and rule.spec.taint.effect == NO_EXECUTE:
            yield Key("", rule.metadata.name or "")


def _pod_matters(old: Any, new: Any) -> bool:
    return bool(claim_names(new)) and (
        (old.spec.nodeName, podutil.is_active(old)) != (new.spec.nodeName, podutil.is_active(new))
    )


def _of_pod(caches: Caches, pod: Any) -> Iterable[Key]:
    return _every_rule(caches, pod) if claim_names(pod) else ()


CONTROLLER: Final = Controller(
    name="device-taint-rule-status",
    kind=api.DeviceTaintRule,
    matters=lambda old, new: old.spec != new.spec,
    watches=(
        # Later: what a change comes to is known only once others have acted on it.
        mapped(api.Pod, _of_pod, _pod_matters, delay_s=PERIOD_S),
        mapped(api.ResourceClaim, _every_rule, lambda old, new: old.status != new.status, delay_s=PERIOD_S),
        cached(api.ResourceSlice),
    ),
    indexes={api.ResourceSlice: {POOL: pool_of}, api.ResourceClaim: {USES: pools_of}},
    gather=gather,
    plan=plan,
)
