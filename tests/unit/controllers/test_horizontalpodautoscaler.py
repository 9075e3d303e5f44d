"""HorizontalPodAutoscaler: what metrics call for, how fast it may be followed, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.effects import Emit, Patch, UpdateStatus
from sampan.client.transport import Reply
from sampan.controllers.horizontalpodautoscaler import plan as hpa_plan
from sampan.controllers.horizontalpodautoscaler import sources
from sampan.controllers.horizontalpodautoscaler.behavior import Kept, Sample, normalize
from sampan.controllers.horizontalpodautoscaler.plan import View, decide
from sampan.controllers.horizontalpodautoscaler.readings import PodReading, Reading, Target
from sampan.kinds.groups.autoscaling import v2
from sampan.machinery.quantity import quantity
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key
from tests.fakes.waiting import run

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
# What an autoscaler remembers that has been at work for long: nothing that would hold it back.
SETTLED = Kept((Sample(LONG_AGO, 1),))


def pod(name: str, *, request: str = "1", ready: bool = True, phase: str = "Running", **more: Any) -> Any:
    resources = api.ResourceRequirements(requests={"cpu": quantity(request)} if request else {})
    made = api.Pod(
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE, labels={"app": "web"}),
        spec=api.PodSpec(containers=[api.Container(name="web", resources=resources)]),
    )
    made.status.phase = phase
    made.status.startTime = more.get("started", LONG_AGO)
    made.status.conditions = [
        api.PodCondition(
            type="Ready",
            status="True" if ready else "False",
            lastTransitionTime=more.get("changed", LONG_AGO + timedelta(seconds=60)),
        )
    ]
    return made


def utilization(percent: int) -> Any:
    target = api.MetricTarget(type="Utilization", averageUtilization=percent)
    return api.MetricSpec(type="Resource", resource=api.ResourceMetricSource(name="cpu", target=target))


def hpa(*metrics: Any, least: int | None = 2, most: int = 10, behavior: Any = None) -> Any:
    made = api.HorizontalPodAutoscalerV2(
        apiVersion="autoscaling/v2",
        kind="HorizontalPodAutoscaler",
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, uid="u1"),
        spec=api.HorizontalPodAutoscalerSpecV2(
            scaleTargetRef=api.CrossVersionObjectReferenceV2(
                apiVersion="apps/v1", kind="Deployment", name="web"
            ),
            minReplicas=least,
            maxReplicas=most,
            metrics=list(metrics) or [utilization(50)],
            behavior=behavior,
        ),
    )
    v2.KIND.default(made)
    return made


def target(replicas: int) -> Target:
    return Target("apps/v1", "Deployment", "d1", replicas, replicas, "app=web")


def usage(amounts_m: Mapping[str, int]) -> Reading:
    return Reading({name: PodReading(amount, NOW, 30.0) for name, amount in amounts_m.items()})


def pods(*amounts_m: int, **options: Any) -> tuple[tuple[Any, ...], Reading]:
    """A pod with a request of one CPU for each amount, and what each uses."""
    named = {f"p{number}": amount for number, amount in enumerate(amounts_m)}
    return tuple(pod(name, **options) for name in named), usage(named)


def replicas_of(view: View, now: datetime = NOW) -> int:
    """What the scale is set to; what it is already where nothing is set."""
    for effect in decide(view, now).plan.effects:
        if isinstance(effect, Patch):
            return int(effect.patch["spec"]["replicas"])
    return view.target.replicas


@pytest.mark.parametrize(
    ("amounts_m", "expected"),
    [
        pytest.param((1000, 1000, 1000), 6, id="twice the target is twice the pods"),
        pytest.param((500, 500, 500), 3, id="on target"),
        pytest.param((540, 540, 540), 3, id="within the tolerance of a tenth"),
        pytest.param((560, 560, 560), 4, id="beyond it"),
        pytest.param((100, 100, 100), 2, id="never under the minimum"),
        pytest.param((4000, 4000, 4000), 6, id="not more than twice at once, without a behavior"),
    ],
)
def test_utilization(amounts_m: tuple[int, ...], expected: int) -> None:
    running, reading = pods(*amounts_m)
    assert replicas_of(View(hpa(), running, SETTLED, {}, target(len(running)), (reading,))) == expected


def _view(running: tuple[Any, ...], reading: Reading, replicas: int, **options: Any) -> View:
    return View(hpa(**options), running, SETTLED, {}, target(replicas), (reading,))


def test_pods_that_are_not_measured_speak_against_the_change() -> None:
    running = tuple(pod(name) for name in ("a", "b", "c", "d"))
    # Up: the one that is missing counts as idle, so that (1000 * 3 + 0) / 4 over 50% gives 6 and not 8.
    assert replicas_of(_view(running, usage(dict.fromkeys("abc", 1000)), 4)) == 6
    # Down: it counts as fully used, so that (100 * 3 + 1000) / 4 over 50% keeps 3 of 4.
    assert replicas_of(_view(running, usage(dict.fromkeys("abc", 100)), 4)) == 3


def test_pods_that_begin_count_for_nothing_when_scaling_up() -> None:
    young = pod("d", ready=False, started=NOW - timedelta(seconds=20), changed=NOW)
    running = (pod("a"), pod("b"), pod("c"), young)
    reading = usage({"a": 1000, "b": 1000, "c": 1000, "d": 5000})
    assert replicas_of(_view(running, reading, 4)) == 6


def test_pods_that_go_are_left_out() -> None:
    going, failed = pod("c"), pod("d", phase="Failed")
    going.metadata.deletionTimestamp = NOW
    reading = usage({"a": 1000, "b": 1000, "c": 1, "d": 1})
    assert replicas_of(_view((pod("a"), pod("b"), going, failed), reading, 2)) == 4


def test_a_request_that_is_missing_is_named() -> None:
    running, reading = pods(1000, request="")
    decision = decide(_view(running, reading, 2), NOW)
    emitted = [e for e in decision.plan.effects if isinstance(e, Emit)]
    first = "failed to get cpu utilization: missing request for cpu in container web of Pod p0"
    assert [(e.reason, e.message) for e in emitted] == [
        ("FailedGetResourceMetric", first),
        (
            "FailedComputeMetricsReplicas",
            "invalid metrics (1 invalid out of 1), first error is: "
            f"failed to get cpu resource metric value: {first}",
        ),
    ]
    assert conditions(decision)["ScalingActive"] == (
        "False",
        "FailedGetResourceMetric",
        f"the HPA was unable to compute the replica count: {first}",
    )


def conditions(decision: Any) -> dict[str, tuple[str, str, str]]:
    (status,) = [e.obj.status for e in decision.plan.effects if isinstance(e, UpdateStatus)]
    return {c.type: (c.status, c.reason, c.message) for c in status.conditions}


def test_what_is_said_of_a_rescale() -> None:
    running, reading = pods(1000, 1000)
    decision = decide(_view(running, reading, 2), NOW)
    patch, event, status = decision.plan.effects
    assert isinstance(patch, Patch) and patch.subresource == "scale" and patch.ref.kind == "Deployment"
    assert isinstance(event, Emit) and isinstance(status, UpdateStatus)
    why = "cpu resource utilization (percentage of request) above target"
    assert (event.reason, event.message) == ("SuccessfulRescale", f"New size: 4; reason: {why}")
    assert conditions(decision) == {
        "AbleToScale": (
            "True",
            "SucceededRescale",
            "the HPA controller was able to update the target scale to 4",
        ),
        "ScalingActive": (
            "True",
            "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count from "
            "cpu resource utilization (percentage of request)",
        ),
        "ScalingLimited": (
            "False",
            "DesiredWithinRange",
            "the desired count is within the acceptable range",
        ),
    }
    written = status.obj.status
    assert (written.currentReplicas, written.desiredReplicas, written.lastScaleTime) == (2, 4, NOW)
    (shown,) = written.currentMetrics
    assert shown.resource.current.averageUtilization == 100
    assert str(shown.resource.current.averageValue) == "1"
    assert decision.plan.requeue_after_s == 15


def test_a_target_without_replicas_is_left_alone_unless_the_minimum_is_none() -> None:
    decision = decide(_view((), Reading(error="no metrics"), 0), NOW)
    assert conditions(decision)["ScalingActive"][:2] == ("False", "ScalingDisabled")
    queue = api.MetricSpec(
        type="External",
        external=api.ExternalMetricSource(
            metric=api.MetricIdentifier(name="queue"),
            target=api.MetricTarget(type="AverageValue", averageValue=quantity("10")),
        ),
    )
    empty, full = Reading(amount_m=0), Reading(amount_m=35_000)
    idle = View(hpa(queue, least=0), (), Kept(), {}, target(0), (empty,))
    assert replicas_of(idle) == 0
    assert replicas_of(msgspec.structs.replace(idle, readings=(full,))) == 4
    busy = View(hpa(queue, least=0), (), Kept(), {}, target(1), (empty,))
    assert replicas_of(busy) == 1  # held for the stabilisation window
    assert replicas_of(msgspec.structs.replace(busy, kept=Kept((Sample(LONG_AGO, 1),)))) == 0


@pytest.mark.parametrize(
    ("amount_m", "average", "current", "expected"),
    [
        pytest.param(200_000, False, 2, 4, id="value: twice the target"),
        pytest.param(105_000, False, 2, 2, id="value: within the tolerance"),
        pytest.param(500_000, True, 3, 5, id="average: shared by all"),
        pytest.param(290_000, True, 3, 3, id="average: within the tolerance"),
    ],
)
def test_metrics_of_objects(amount_m: int, average: bool, current: int, expected: int) -> None:
    asked = {"averageValue" if average else "value": quantity("100")}
    source = api.ObjectMetricSource(
        describedObject=api.CrossVersionObjectReferenceV2(
            apiVersion="networking.k8s.io/v1", kind="Ingress", name="main"
        ),
        metric=api.MetricIdentifier(name="requests"),
        target=api.MetricTarget(type="AverageValue" if average else "Value", **asked),
    )
    running, _ = pods(*[0] * current)
    view = View(
        hpa(api.MetricSpec(type="Object", object=source)),
        running,
        Kept(),
        {},
        target(current),
        (Reading(amount_m=amount_m),),
    )
    assert replicas_of(view) == expected


def test_the_highest_of_several_metrics_counts_and_a_failed_one_forbids_scaling_down() -> None:
    running, busy = pods(1000, 1000, 1000)
    idle = usage(dict.fromkeys(("p0", "p1", "p2"), 10))
    both = hpa(utilization(50), utilization(90))
    view = View(both, running, Kept(), {}, target(3), (busy, busy))
    assert replicas_of(view) == 6
    broken = Reading(error="unable to fetch metrics from resource metrics API: gone")
    assert replicas_of(msgspec.structs.replace(view, readings=(busy, broken))) == 6
    settled = msgspec.structs.replace(view, kept=Kept((Sample(LONG_AGO, 3),)), readings=(idle, idle))
    assert replicas_of(settled) == 2
    held = msgspec.structs.replace(settled, readings=(idle, broken))
    assert replicas_of(held) == 3
    assert conditions(decide(held, NOW))["ScalingActive"][1] == "FailedGetResourceMetric"


def test_scaling_down_waits_for_the_window_to_pass() -> None:
    running, idle = pods(10, 10, 10, 10)
    view = View(hpa(), running, Kept((Sample(NOW - timedelta(seconds=200), 4),)), {}, target(4), (idle,))
    decision = decide(view, NOW)
    assert replicas_of(view) == 4
    assert conditions(decision)["AbleToScale"][1] == "ScaleDownStabilized"
    later = msgspec.structs.replace(view, kept=decision.kept)
    assert replicas_of(later, NOW + timedelta(seconds=101)) == 2


def rules(select: str = "Max", window_s: int | None = None, **policies: tuple[int, int]) -> Any:
    return api.HPAScalingRules(
        selectPolicy=select,
        stabilizationWindowSeconds=window_s,
        policies=[
            api.HPAScalingPolicy(type=type, value=value, periodSeconds=period_s)
            for type, (value, period_s) in policies.items()
        ],
    )


@pytest.mark.parametrize(
    ("up", "ups", "wanted", "expected", "reason"),
    [
        pytest.param(rules(Pods=(3, 60)), (), 100, 13, "ScaleUpLimit", id="pods"),
        pytest.param(rules(Percent=(50, 60)), (), 100, 15, "ScaleUpLimit", id="percent"),
        pytest.param(rules(Pods=(3, 60), Percent=(50, 60)), (), 100, 15, "ScaleUpLimit", id="most"),
        pytest.param(rules("Min", Pods=(3, 60), Percent=(50, 60)), (), 100, 13, "ScaleUpLimit", id="least"),
        pytest.param(rules("Disabled", Pods=(3, 60)), (), 100, 10, "ScaleUpLimit", id="disabled"),
        pytest.param(rules(Pods=(3, 60)), ((30, 2),), 100, 11, "ScaleUpLimit", id="what was added counts"),
        pytest.param(rules(Pods=(3, 60)), ((90, 2),), 100, 13, "ScaleUpLimit", id="but not for ever"),
        pytest.param(rules(Pods=(300, 60)), (), 100, 50, "TooManyReplicas", id="the maximum"),
        pytest.param(rules(Pods=(30, 60)), (), 12, 12, "DesiredWithinRange", id="free"),
    ],
)
def test_policies_of_scaling_up(
    up: Any, ups: tuple[tuple[int, int], ...], wanted: int, expected: int, reason: str
) -> None:
    scaler = hpa(most=50, behavior=api.HorizontalPodAutoscalerBehavior(scaleUp=up))
    kept = Kept(ups=tuple(Sample(NOW - timedelta(seconds=ago_s), count) for ago_s, count in ups))
    normal = normalize(scaler, 10, wanted, kept, NOW)
    assert (normal.replicas, normal.limited[0]) == (expected, reason)


@pytest.mark.parametrize(
    ("down", "wanted", "expected", "reason"),
    [
        pytest.param(rules(window_s=0, Pods=(2, 60)), 3, 8, "ScaleDownLimit", id="pods"),
        pytest.param(rules(window_s=0, Percent=(25, 60)), 3, 7, "ScaleDownLimit", id="percent"),
        pytest.param(rules("Min", 0, Pods=(2, 60), Percent=(50, 60)), 3, 8, "ScaleDownLimit", id="least"),
        pytest.param(rules("Disabled", 0, Pods=(2, 60)), 3, 10, "ScaleDownLimit", id="disabled"),
        pytest.param(rules(window_s=0, Percent=(100, 60)), 1, 2, "TooFewReplicas", id="the minimum"),
    ],
)
def test_policies_of_scaling_down(down: Any, wanted: int, expected: int, reason: str) -> None:
    scaler = hpa(behavior=api.HorizontalPodAutoscalerBehavior(scaleDown=down))
    normal = normalize(scaler, 10, wanted, Kept(), NOW)
    assert (normal.replicas, normal.limited[0]) == (expected, reason)


def test_a_window_for_scaling_up_takes_the_lowest_of_late() -> None:
    up = rules(window_s=60, Pods=(10, 15))
    scaler = hpa(behavior=api.HorizontalPodAutoscalerBehavior(scaleUp=up))
    kept = Kept(recommendations=(Sample(NOW - timedelta(seconds=30), 5),))
    normal = normalize(scaler, 4, 8, kept, NOW)
    assert (normal.replicas, normal.able[0]) == (5, "ScaleUpStabilized")
    assert normalize(scaler, 4, 8, Kept(), NOW).replicas == 8


def test_a_tolerance_of_its_own() -> None:
    behavior = api.HorizontalPodAutoscalerBehavior(
        scaleUp=api.HPAScalingRules(tolerance=quantity("0.5")),
    )
    running, reading = pods(700, 700)
    assert replicas_of(View(hpa(behavior=behavior), running, Kept(), {}, target(2), (reading,))) == 2
    assert replicas_of(View(hpa(), running, Kept(), {}, target(2), (reading,))) == 3


def test_two_autoscalers_over_the_same_pods_do_nothing() -> None:
    running, reading = pods(1000, 1000)
    decision = decide(View(hpa(), running, Kept(), {"other": "app"}, target(2), (reading,)), NOW)
    assert conditions(decision)["ScalingActive"][1:] == (
        "AmbiguousSelector",
        "pods by selector app=web are controlled by more than one HPA (e.g. [default/other default/web])",
    )


@given(
    amounts=st.lists(st.integers(0, 20_000), min_size=1, max_size=12),
    current=st.integers(1, 20),
    percent=st.integers(1, 200),
)
def test_it_stays_within_bounds_and_planning_again_changes_nothing(
    amounts: list[int], current: int, percent: int
) -> None:
    running, reading = pods(*amounts)
    scaler = hpa(utilization(percent), least=2, most=9)
    view = View(scaler, running, Kept(), {}, target(current), (reading,))
    decision = decide(view, NOW)
    result = replicas_of(view)
    assert 2 <= result <= 9
    for effect in decision.plan.effects:
        if isinstance(effect, UpdateStatus):
            scaler = effect.obj
    # The metrics still speak of the pods there were: within the same instant nothing is to be done again.
    again = View(scaler, running, decision.kept, {}, target(result), (reading,))
    if result in (current, 9):
        assert not [e for e in decide(again, NOW).plan.effects if isinstance(e, Patch)]


class Metered:
    """The fake server, with a metrics API beside it."""

    def __init__(self, server: Any, answers: dict[str, Any]) -> None:
        self._server, self.answers = server, answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    async def request(self, method: str, path: str, *rest: Any) -> Reply:
        for prefix, answer in self.answers.items():
            if path.startswith(prefix):
                return Reply(200, {}, msgspec.json.encode(answer))
        if path.startswith(("/apis/metrics.k8s.io", "/apis/external.metrics.k8s.io")):
            refused = {"kind": "Status", "status": "Failure", "code": 404, "message": "not found here"}
            return Reply(404, {}, msgspec.json.encode(refused))
        reply: Reply = await self._server.request(method, path, *rest)
        return reply


def test_what_is_read_of_the_metrics_apis() -> None:
    async def read() -> None:
        bench = Bench()
        container = {"name": "web", "usage": {"cpu": "250m", "memory": "64Mi"}}
        item = {
            "metadata": {"name": "p0"},
            "timestamp": "2030-01-01T12:00:00Z",
            "window": "1m30s",
            "containers": [container, {"name": "side", "usage": {"cpu": "50m", "memory": "1Mi"}}],
        }
        half = {"metadata": {"name": "p1"}, "containers": [{"name": "web", "usage": {"memory": "1Mi"}}]}
        value = {"metricName": "queue", "value": "1500m", "timestamp": "2030-01-01T12:00:00Z"}
        bench.server = Metered(  # type: ignore[assignment]
            bench.server,
            {
                f"{sources.RESOURCE}/namespaces/default/pods": {"items": [item, half]},
                f"{sources.EXTERNAL}/namespaces/default/queue": {"items": [value, value]},
            },
        )
        bench.client.transport = bench.server
        queue = api.ExternalMetricSource(metric=api.MetricIdentifier(name="queue"))
        missing = api.ExternalMetricSource(metric=api.MetricIdentifier(name="missing"))
        scaler = hpa(
            utilization(50),
            api.MetricSpec(
                type="ContainerResource",
                containerResource=api.ContainerResourceMetricSource(name="memory", container="web"),
            ),
            api.MetricSpec(type="External", external=queue),
            api.MetricSpec(type="External", external=missing),
        )
        discovery = sources.Discovery(bench.client)
        found = await sources.readings_of(bench.client, discovery, scaler, "app=web")
        assert found[0] == Reading({"p0": PodReading(300, NOW, 90.0)})
        assert {name: one.amount_m for name, one in found[1].pods.items()} == {
            "p0": 64 * 1024 * 1024 * 1000,
            "p1": 1024 * 1024 * 1000,
        }
        assert found[2] == Reading(amount_m=3000)
        assert found[3].error.startswith("unable to fetch metrics from external metrics API: ")

    run(read())


def test_a_target_that_is_not_there_is_told() -> None:
    async def look() -> None:
        bench = Bench()
        bench.server.put(hpa())
        controller = hpa_plan.controller()
        await bench.step(controller, key("web"))
        (scaler,) = await bench.all(api.HorizontalPodAutoscalerV2)
        (condition,) = scaler.status.conditions
        assert (condition.type, condition.status, condition.reason) == (
            "AbleToScale",
            "False",
            "FailedGetScale",
        )
        again = await bench.step(controller, key("web"))
        assert {type(effect) for effect in again.effects} == {Emit}  # events are counted, not stored again

    run(look())


def _spec(type: str, by_share: bool = False) -> Any:
    """A metric of each type, called `load`; by its whole amount, or by each pod's share."""
    amount = quantity("1")
    target = api.MetricTarget(type="AverageValue", averageValue=amount)
    if type in ("Object", "External") and not by_share:
        target = api.MetricTarget(type="Value", value=amount)
    metric = api.MetricIdentifier(name="load")
    match type:
        case "ContainerResource":
            source = api.ContainerResourceMetricSource(name="cpu", container="web", target=target)
            return api.MetricSpec(type=type, containerResource=source)
        case "Pods":
            return api.MetricSpec(type=type, pods=api.PodsMetricSource(metric=metric, target=target))
        case "Object":
            about = api.CrossVersionObjectReferenceV2(apiVersion="v1", kind="Service", name="front")
            object = api.ObjectMetricSource(metric=metric, target=target, describedObject=about)
            return api.MetricSpec(type=type, object=object)
    metric.selector = api.LabelSelector(matchLabels={"queue": "in"})
    return api.MetricSpec(type=type, external=api.ExternalMetricSource(metric=metric, target=target))


IN = (
    "&LabelSelector{MatchLabels:map[string]string{queue: in,},MatchExpressions:[]LabelSelectorRequirement{},}"
)


@pytest.mark.parametrize(
    ("spec", "inner", "whole"),
    [
        (
            _spec("ContainerResource"),
            "failed to get cpu usage: unable to get metrics for resource cpu: gone",
            "failed to get web container metric value: {}",
        ),
        (_spec("Pods"), "unable to get metric load: gone", "failed to get pods metric value: {}"),
        (
            _spec("Object"),
            "unable to get metric load on Service default/front: gone",
            "failed to get object metric value: {}",
        ),
        (
            _spec("Object", by_share=True),
            "unable to get metric load on Service default/front: gone",
            "failed to get object metric value: failed to get load object metric: {}",
        ),
        (
            _spec("External"),
            f"unable to get external metric default/load/{IN}: gone",
            "failed to get load external metric value: failed to get external metric load: {}",
        ),
        (
            _spec("External", by_share=True),
            f"unable to get external metric default/load/{IN}: gone",
            "failed to get load external metric value: failed to get load external metric: {}",
        ),
    ],
    ids=["container", "pods", "object", "object's share", "external", "external's share"],
)
def test_what_a_metric_lacks_is_said_as_kube_controller_manager_does(
    spec: Any, inner: str, whole: str
) -> None:
    running, _ = pods(1000, 1000)
    scaler = hpa(spec)
    decision = decide(View(scaler, running, Kept(), {}, target(2), (Reading(error="gone"),)), NOW)
    emitted = [(e.reason, e.message) for e in decision.plan.effects if isinstance(e, Emit)]
    assert emitted == [
        (f"FailedGet{spec.type}Metric", inner),
        (
            "FailedComputeMetricsReplicas",
            f"invalid metrics (1 invalid out of 1), first error is: {whole.format(inner)}",
        ),
    ]
    told = conditions(decision)["ScalingActive"]
    assert told[2] == f"the HPA was unable to compute the replica count: {inner}"


def test_a_target_without_a_selector_is_told_of() -> None:
    running, reading = pods(1000, 1000)
    nameless = msgspec.structs.replace(target(2), selector="")
    decision = decide(View(hpa(), running, Kept(), {}, nameless, (reading,)), NOW)
    emitted = [(e.reason, e.message) for e in decision.plan.effects if isinstance(e, Emit)]
    assert emitted == [
        ("SelectorRequired", "selector is required"),
        ("FailedComputeMetricsReplicas", "selector is required"),
    ]
    assert conditions(decision)["ScalingActive"][1:] == (
        "InvalidSelector",
        "the HPA target's scale is missing a selector",
    )
