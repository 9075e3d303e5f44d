"""The HorizontalPodAutoscaler controller: looks every 15 seconds, decides, and says why in the status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.client import Client
from sampan.client.discovery import Discovery
from sampan.client.effects import Effect, Emit, Patch, Plan, Ref, UpdateStatus
from sampan.client.executor import Failure
from sampan.client.resources import ref_of
from sampan.controllers.horizontalpodautoscaler import sources
from sampan.controllers.horizontalpodautoscaler.behavior import Kept, Words, normalize, remember
from sampan.controllers.horizontalpodautoscaler.measure import Outcome, measure
from sampan.controllers.horizontalpodautoscaler.readings import Reading, Target
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached
from sampan.machinery import selectors
from sampan.machinery.selectors import Selector, SelectorError
from sampan.schema import api

# kube-controller-manager's --horizontal-pod-autoscaler-sync-period.
SYNC_S: Final = 15.0
_DISABLED: Final = ("ScalingDisabled", "scaling is disabled since the replica count of the target is zero")


class View(msgspec.Struct, frozen=True):
    """An autoscaler, the pods of its namespace, and (after the survey) its target and metrics."""

    hpa: Any
    pods: tuple[api.Pod, ...]
    kept: Kept
    # Selectors of the targets of the namespace's other autoscalers, by their names.
    others: Mapping[str, str] = {}
    target: Target = Target()
    readings: tuple[Reading, ...] = ()
    failure: Failure | None = None


class Decision(msgspec.Struct, frozen=True):
    """The plan, and what to remember until the next look."""

    plan: Plan
    kept: Kept


class Memory:
    """What autoscalers recommended of late, by their keys: lost with the process, as upstream."""

    def __init__(self) -> None:
        self._kept: dict[Key, Kept] = {}

    def of(self, key: Key) -> Kept:
        return self._kept.get(key, Kept())

    def put(self, key: Key, kept: Kept) -> None:
        self._kept[key] = kept

    def forget(self, key: Key) -> None:
        self._kept.pop(key, None)

    def others(self, key: Key) -> dict[str, str]:
        return {
            other.name: kept.selector
            for other, kept in self._kept.items()
            if other.namespace == key.namespace and other != key and kept.selector
        }


def decide(view: View, now: datetime) -> Decision:
    """What to do about one autoscaler. Planning again on what this makes gives nothing to do."""
    hpa, target = view.hpa, view.target
    report = _Report(hpa, now)
    if target.error:
        message = f"the HPA controller was unable to get the target's current scale: {target.error}"
        report.set("AbleToScale", "False", ("FailedGetScale", message))
        report.warn("FailedGetScale", target.error)
        return Decision(report.plan(hpa.status.currentReplicas, hpa.status.desiredReplicas), view.kept)
    failed = _failed_scaling(view)
    if failed is None:
        words = ("SucceededGetScale", "the HPA controller was able to get the target's current scale")
        report.set("AbleToScale", "True", words)
    kept = msgspec.structs.replace(view.kept, selector=target.selector)
    least, most = _least(hpa), hpa.spec.maxReplicas
    current = target.replicas
    if current == 0 and least != 0:
        report.set("ScalingActive", "False", _DISABLED)
        return Decision(report.plan(target.current, 0), kept)
    if not kept.recommendations:
        kept = remember(hpa, kept, current, current, current, now)
    if current > most:
        wanted, reason = most, "Current number of replicas above Spec.MaxReplicas"
    elif current < least:
        wanted, reason = least, "Current number of replicas below Spec.MinReplicas"
    else:
        outcome = _outcome(view, report, now)
        report.metrics = outcome.statuses
        for words in outcome.failed:
            report.warn(*words)
        if outcome.replicas is None:
            report.set("ScalingActive", "False", outcome.words)
            report.warn(*outcome.event)
            return Decision(report.plan(target.current, hpa.status.desiredReplicas), kept)
        report.set("ScalingActive", "True", outcome.words)
        normal = normalize(hpa, current, outcome.replicas, kept, now)
        report.set("AbleToScale", "True", normal.able)
        report.set("ScalingLimited", "True" if normal.is_limited else "False", normal.limited)
        wanted = normal.replicas
        kept = remember(hpa, kept, outcome.replicas, current, wanted, now)
        reason = f"{outcome.metric} above target" if wanted > current else "All metrics below target"
    if wanted != current:
        report.rescale(target, wanted, reason)
    if failed is not None:
        report.set("AbleToScale", "False", failed)
    return Decision(report.plan(target.current, wanted), kept)


def _least(hpa: Any) -> int:
    return 1 if hpa.spec.minReplicas is None else int(hpa.spec.minReplicas)


def _outcome(view: View, report: _Report, now: datetime) -> Outcome:
    """What the metrics say, once it is certain which pods they are about."""
    selector, refused = _selector(view)
    if refused is not None:
        reason, why = ("SelectorRequired", "selector is required") if not view.target.selector else refused
        return Outcome(None, "", (), refused, ("FailedComputeMetricsReplicas", why), ((reason, why),))
    assert selector is not None
    pods = [pod for pod in view.pods if selector.matches(pod.metadata.labels)]
    return measure(view.hpa, view.target.replicas, pods, view.readings, now)


def _selector(view: View) -> tuple[Selector | None, Words | None]:
    target = view.target
    if not target.selector:
        return None, ("InvalidSelector", "the HPA target's scale is missing a selector")
    try:
        selector = selectors.parse(target.selector)
    except SelectorError as problem:
        why = f"couldn't convert selector into a corresponding internal selector object: {problem}"
        return None, ("InvalidSelector", why)
    rivals = sorted(name for name, text in view.others.items() if _share_pods(view, selector, text))
    if rivals:
        namespace = view.hpa.metadata.namespace
        # Two are enough to show what is wrong.
        named = " ".join(f"{namespace}/{name}" for name in sorted([rivals[0], view.hpa.metadata.name]))
        why = f"pods by selector {target.selector} are controlled by more than one HPA (e.g. [{named}])"
        return None, ("AmbiguousSelector", why)
    return selector, None


def _share_pods(view: View, selector: Selector, text: str) -> bool:
    try:
        other = selectors.parse(text)
    except SelectorError:
        return False
    return any(selector.matches(p.metadata.labels) and other.matches(p.metadata.labels) for p in view.pods)


def _failed_scaling(view: View) -> Words | None:
    failure = view.failure
    if failure is None or not isinstance(failure.effect, Patch):
        return None
    why = f"the HPA controller was unable to update the target scale: {failure.error}"
    return "FailedUpdateScale", why


class _Report:
    """The status and the events that a look leads to."""

    def __init__(self, hpa: Any, now: datetime) -> None:
        self.metrics: tuple[Any, ...] = tuple(hpa.status.currentMetrics)
        self._hpa = hpa
        self._now = now
        self._conditions: list[Any] = list(hpa.status.conditions)
        self._effects: list[Effect] = []
        self._scaled = False

    def set(self, type: str, status: str, words: Words) -> None:
        """Set a condition; its transition time moves with its status."""
        reason, message = words
        for number, old in enumerate(self._conditions):
            if old.type == type:
                since = old.lastTransitionTime if old.status == status else kube_time(self._now)
                self._conditions[number] = self._condition(type, status, reason, message, since)
                return
        self._conditions.append(self._condition(type, status, reason, message, kube_time(self._now)))

    @staticmethod
    def _condition(type: str, status: str, reason: str, message: str, since: datetime) -> Any:
        return api.HorizontalPodAutoscalerCondition(
            type=type, status=status, reason=reason, message=message, lastTransitionTime=since
        )

    def warn(self, reason: str, message: str) -> None:
        self._effects.append(Emit(ref_of(self._hpa), "Warning", reason, message))

    def rescale(self, target: Target, replicas: int, reason: str) -> None:
        """Set the target's scale, and tell."""
        meta = self._hpa.metadata
        ref = Ref(
            target.api_version,
            target.kind,
            meta.namespace or "",
            self._hpa.spec.scaleTargetRef.name,
            target.uid,
        )
        self.set(
            "AbleToScale",
            "True",
            ("SucceededRescale", f"the HPA controller was able to update the target scale to {replicas}"),
        )
        told = f"New size: {replicas}; reason: {reason}"
        self._effects.append(Patch(ref, {"spec": {"replicas": replicas}}, subresource="scale"))
        self._effects.append(Emit(ref_of(self._hpa), "Normal", "SuccessfulRescale", told))
        self._scaled = True

    def plan(self, current: int | None, wanted: int) -> Plan:
        old = self._hpa.status
        status = msgspec.structs.replace(
            old,
            currentReplicas=current,
            desiredReplicas=wanted,
            currentMetrics=list(self.metrics),
            conditions=self._conditions,
            lastScaleTime=kube_time(self._now) if self._scaled else old.lastScaleTime,
            observedGeneration=self._hpa.metadata.generation or old.observedGeneration,
        )
        effects = self._effects
        if status != old:
            effects = [*effects, UpdateStatus(msgspec.structs.replace(self._hpa, status=status))]
        return Plan(tuple(effects), "", SYNC_S)


def controller() -> Controller:
    """The controller, with a memory of its own."""
    memory = Memory()
    discovery: list[Discovery] = []

    def gather(caches: Caches, key: Key) -> View | None:
        hpa = caches.of(api.HorizontalPodAutoscalerV2).get(*key)
        if hpa is None or hpa.metadata.deletionTimestamp is not None:
            memory.forget(key)
            return None
        pods = tuple(caches.of(api.Pod).by_namespace(key.namespace))
        return View(hpa, pods, memory.of(key), memory.others(key), failure=caches.failure(key))

    async def survey(client: Client, view: View) -> View:
        if not discovery:
            discovery.append(Discovery(client))
        target = await sources.target_of(client, discovery[0], view.hpa)
        if target.error:
            discovery[0].forget()
            return msgspec.structs.replace(view, target=target)
        readings = await sources.readings_of(client, discovery[0], view.hpa, target.selector)
        return msgspec.structs.replace(view, target=target, readings=readings)

    def plan(view: View, now: datetime) -> Plan:
        decision = decide(view, now)
        memory.put(Key(view.hpa.metadata.namespace, view.hpa.metadata.name), decision.kept)
        return decision.plan

    return Controller(
        name="horizontal-pod-autoscaler",
        reporter="horizontal-pod-autoscaler",
        kind=api.HorizontalPodAutoscalerV2,
        watches=(cached(api.Pod),),
        gather=gather,
        survey=survey,
        plan=plan,
        matters=lambda old, new: bool(old.spec != new.spec),
    )
