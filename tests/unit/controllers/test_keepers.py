"""Controllers that keep small things right: tokens, addresses, quotas, device claims and device taints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Create, Emit, Patch, Plan, Update, UpdateStatus
from sampan.client.resources import resource_of
from sampan.controllers import addressrepair, resourcequota, tokens
from sampan.controllers.devicetaints import evicting, telling
from sampan.controllers.resourceclaim import making, releasing
from sampan.kinds.core.secret import SERVICE_ACCOUNT_NAME, SERVICE_ACCOUNT_TOKEN, SERVICE_ACCOUNT_UID
from sampan.machinery.quantity import quantity
from sampan.schema import api
from tests.fakes.bench import Bench, key
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def meta(name: str, **more: Any) -> api.ObjectMeta:
    return api.ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", **more)


def typed(obj: Any) -> Any:
    """With its type meta, as a server has it."""
    resource = resource_of(type(obj))
    obj.apiVersion, obj.kind = resource.api_version, resource.kind
    return obj


def told(plan: Plan) -> list[str | None]:
    return [e.reason for e in (*plan.effects, *plan.notices) if isinstance(e, Emit)]


def done(plan: Plan) -> list[str]:
    return [type(e).__name__ for e in plan.effects if not isinstance(e, Emit)]


# -- tokens --------------------------------------------------------------------------------------------


def secret(data: dict[str, bytes] | None = None, **annotations: str) -> api.Secret:
    marks = {SERVICE_ACCOUNT_NAME: "builder", **annotations}
    return api.Secret(metadata=meta("t", annotations=marks), type=SERVICE_ACCOUNT_TOKEN, data=data or {})


ACCOUNT = api.ServiceAccount(metadata=meta("builder"))
FULL = {"ca.crt": b"pem", "namespace": b"default", "token": b"default/t/builder/uid-builder"}
MARKED = {SERVICE_ACCOUNT_UID: "uid-builder"}


@pytest.mark.parametrize(
    ("held", "account", "data"),
    [
        (secret(), ACCOUNT, FULL),
        (secret({"ca.crt": b"old"}, **MARKED), ACCOUNT, FULL),
        (secret({**FULL, "token": b"own"}), ACCOUNT, {**FULL, "token": b"own"}),
        (secret({**FULL, "more": b"x"}, **{SERVICE_ACCOUNT_UID: ""}), ACCOUNT, {**FULL, "more": b"x"}),
        (secret(FULL, **MARKED), ACCOUNT, None),
    ],
)
def test_a_secret_gets_what_it_lacks(held: api.Secret, account: Any, data: dict[str, bytes] | None) -> None:
    def issue(*words: str) -> str:
        return "/".join(words)

    view = tokens.View(held, account)
    plan = tokens.plan(view, NOW, b"pem", issue)
    if data is None:
        assert plan.effects == ()
        return
    (effect,) = plan.effects
    assert isinstance(effect, Update)
    assert effect.obj.data == data
    assert effect.obj.metadata.annotations[SERVICE_ACCOUNT_UID] == "uid-builder"
    assert tokens.plan(tokens.View(effect.obj, account), NOW, b"pem", issue).effects == ()


def test_a_secret_goes_with_its_account() -> None:
    assert done(tokens.plan(tokens.View(secret(), None), NOW, b"pem", lambda *_: "")) == ["Remove"]


# -- addresses -----------------------------------------------------------------------------------------


def service(*ips: str, **spec: Any) -> api.Service:
    return api.Service(metadata=meta("web"), spec=api.ServiceSpec(clusterIPs=list(ips), **spec))


def address(name: str, of: str = "web", age_s: float = 0.0) -> api.IPAddress:
    parent = api.ParentReference(resource="services", namespace="default", name=of)
    made = api.ObjectMeta(name=name, creationTimestamp=NOW - timedelta(seconds=age_s))
    return api.IPAddress(metadata=made, spec=api.IPAddressSpec(parentRef=parent))


@pytest.mark.parametrize(
    ("held", "effects", "events"),
    [
        ({"10.96.0.1": address("10.96.0.1")}, [], []),
        ({"10.96.0.1": None}, ["Create"], ["ClusterIPNotAllocated"]),
        ({"10.96.0.1": address("10.96.0.1", "other")}, [], ["ClusterIPAlreadyAllocated"]),
        (
            {"10.96.0.1": None, "fd00::1": None},
            ["Create", "Create"],
            ["ClusterIPNotAllocated", "ClusterIPNotAllocated"],
        ),
    ],
)
def test_a_service_has_the_addresses_that_it_holds(held: Any, effects: Any, events: Any) -> None:
    plan = addressrepair.plan(addressrepair.ServiceView(service(*held), tuple(held.items())), NOW)
    assert (done(plan), told(plan)) == (effects, events)
    made = [e.obj for e in plan.effects if isinstance(e, Create)]
    again = {**held, **{one.metadata.name: one for one in made}}
    view = addressrepair.ServiceView(service(*held), tuple(again.items()))
    assert addressrepair.plan(view, NOW).effects == ()


@pytest.mark.parametrize(
    ("owner", "age_s", "effects", "again_s"),
    [
        (service("10.96.0.1"), 600, [], None),
        (None, 59, [], 1.0),
        (None, 60, ["Remove"], None),
        (service("10.96.0.2"), 60, ["Remove"], None),
        (service("10.96.0.1", type="ExternalName"), 60, ["Remove"], None),
    ],
)
def test_an_address_that_nobody_needs_goes(
    owner: Any, age_s: float, effects: Any, again_s: float | None
) -> None:
    view = addressrepair.AddressView(address("10.96.0.1", age_s=age_s), owner)
    plan = addressrepair.plan_address(view, NOW)
    assert (done(plan), plan.requeue_after_s) == (effects, again_s)


# -- quotas --------------------------------------------------------------------------------------------


def test_a_quota_is_put_right_and_then_left_alone() -> None:
    hard, used = {"pods": quantity("5")}, {"pods": quantity("2")}
    quota = api.ResourceQuota(metadata=meta("q"), spec=api.ResourceQuotaSpec(hard=hard))
    plan = resourcequota.plan(resourcequota.View(quota, used), NOW)
    (effect,) = plan.effects
    assert isinstance(effect, UpdateStatus)
    assert (effect.obj.status.hard, effect.obj.status.used) == (hard, used)
    again = resourcequota.plan(resourcequota.View(effect.obj, used), NOW)
    assert (again.effects, again.requeue_after_s) == ((), resourcequota.RESYNC_S)
    assert done(resourcequota.plan(resourcequota.View(effect.obj, {"pods": quantity("3")}), NOW)) == [
        "UpdateStatus"
    ]


# -- device claims -------------------------------------------------------------------------------------


def claimant(**status: Any) -> api.Pod:
    wanted = [
        api.PodResourceClaim(name=name, resourceClaimTemplateName=f"{name}-template") for name in ("a", "b")
    ]
    return api.Pod(
        metadata=meta("web"), spec=api.PodSpec(resourceClaims=wanted), status=api.PodStatus(**status)
    )


def template(name: str) -> api.ResourceClaimTemplate:
    return api.ResourceClaimTemplate(metadata=meta(f"{name}-template"))


def claim(name: str) -> api.ResourceClaim:
    return api.ResourceClaim(metadata=meta(f"web-{name}-x", annotations={making.POD_CLAIM_NAME: name}))


NAMED = [api.PodResourceClaimStatus(name=n, resourceClaimName=f"web-{n}-x") for n in ("a", "b")]
NEEDLESS = [api.PodResourceClaimStatus(name=n) for n in ("a", "b")]


@pytest.mark.parametrize(
    ("pod", "claims", "templates", "effects", "events"),
    [
        (claimant(), "", "ab", ["Create", "Create"], []),
        (claimant(), "", "a", ["Create"], ["FailedResourceClaimCreation"]),
        # Somebody said that the pod needs no claims.
        (claimant(resourceClaimStatuses=NEEDLESS), "", "ab", [], []),
        (claimant(resourceClaimStatuses=NEEDLESS[:1]), "", "b", ["Create"], []),
        (claimant(), "a", "ab", ["Patch", "Create"], []),
        (claimant(), "ab", "ab", ["Patch"], []),
        (claimant(resourceClaimStatuses=NAMED), "ab", "", [], []),
        (claimant(resourceClaimStatuses=NAMED), "a", "ab", ["Patch", "Create"], []),
    ],
)
def test_a_pod_s_claims_are_made_and_named(
    pod: api.Pod, claims: str, templates: str, effects: Any, events: Any
) -> None:
    view = making.View(pod, tuple(map(claim, claims)), tuple(map(template, templates)))
    plan = making.plan(view, NOW)
    assert (done(plan), told(plan)) == (effects, events)


async def make_claims(cut: int | None) -> list[Any]:
    bench = Bench()
    for obj in (claimant(), template("a"), template("b")):
        bench.server.put(typed(obj))
    view = making.CONTROLLER.gather(bench.caches(making.CONTROLLER), key("web"))
    plan = making.CONTROLLER.plan(view, bench.now)
    assert len(plan.effects) == 2
    await bench.executor.carry_out(Plan(plan.effects[:cut]))
    await bench.settle(making.CONTROLLER, key("web"))
    pod = await bench.get(api.Pod, "web")
    names = {s.name: s.resourceClaimName for s in pod.status.resourceClaimStatuses}
    made = await bench.all(api.ResourceClaim)
    assert {c.metadata.annotations[making.POD_CLAIM_NAME]: c.metadata.name for c in made} == names
    return sorted(names)


@pytest.mark.parametrize("cut", [None, 0, 1])
def test_claims_that_were_made_in_part_are_made_whole(cut: int | None) -> None:
    assert run(make_claims(cut)) == ["a", "b"]


def reserved(*uids: str, going: bool = False, allocated: bool = True) -> api.ResourceClaim:
    users = [api.ResourceClaimConsumerReference(resource="pods", name=f"pod-{u}", uid=u) for u in uids]
    status = api.ResourceClaimStatus(
        reservedFor=users, allocation=api.AllocationResult() if allocated else None
    )
    gone = {"deletionTimestamp": NOW} if going else {}
    return api.ResourceClaim(metadata=meta("c", finalizers=[releasing.PROTECTION], **gone), status=status)


@pytest.mark.parametrize(
    ("held", "over", "owner_finished", "effects", "left"),
    [
        (reserved("1", "2"), "", False, [], None),
        (reserved("1", "2"), "1", False, ["UpdateStatus"], ["2"]),
        (reserved("1"), "1", False, ["UpdateStatus"], []),
        (reserved("1"), "1", True, ["UpdateStatus", "Remove"], []),
        (reserved(allocated=False), "", True, ["Remove"], None),
        (reserved(), "", False, [], None),
        (reserved(going=True), "", False, ["UpdateStatus"], []),
        (reserved("1", going=True), "", False, [], None),
        (reserved(going=True, allocated=False), "", False, ["Patch"], None),
    ],
)
def test_a_claim_is_given_back(
    held: api.ResourceClaim, over: str, owner_finished: bool, effects: Any, left: list[str] | None
) -> None:
    plan = releasing.plan(releasing.View(held, frozenset(over), frozenset(), owner_finished), NOW)
    assert done(plan) == effects
    if left is not None:
        (update,) = (e for e in plan.effects if isinstance(e, UpdateStatus))
        assert [user.uid for user in update.obj.status.reservedFor] == left
        assert (update.obj.status.allocation is None) is (not left)
        again = releasing.plan(releasing.View(update.obj), NOW)
        assert "UpdateStatus" not in done(again)


# -- device taints -------------------------------------------------------------------------------------

DISRUPTED = "DeletionByDeviceTaintManager"
DEVICE = ("d.example.com", "pool", "gpu-0")


def tainted(effect: str = "NoExecute") -> api.DeviceTaint:
    return api.DeviceTaint(key="broken", value="yes", effect=effect, timeAdded=NOW)


def using(*tolerations: api.DeviceToleration) -> api.ResourceClaim:
    driver, pool, device = DEVICE
    result = api.DeviceRequestAllocationResult(
        request="r", driver=driver, pool=pool, device=device, tolerations=list(tolerations)
    )
    allocation = api.AllocationResult(devices=api.DeviceAllocationResult(results=[result]))
    user = api.ResourceClaimConsumerReference(resource="pods", name="web", uid="uid-web")
    status = api.ResourceClaimStatus(allocation=allocation, reservedFor=[user])
    return api.ResourceClaim(metadata=meta("gpu"), status=status)


def tolerating(seconds: int | None) -> api.DeviceToleration:
    return api.DeviceToleration(
        key="broken", operator="Exists", effect="NoExecute", tolerationSeconds=seconds
    )


@pytest.mark.parametrize(
    ("tolerations", "effects", "again_s"),
    [
        ((), ["Patch", "Remove"], None),
        ((tolerating(None),), [], None),
        ((tolerating(30),), [], 30.0),
        ((tolerating(0),), ["Patch", "Remove"], None),
        ((tolerating(60), tolerating(20)), [], 20.0),
    ],
)
def test_a_pod_leaves_a_device_whose_taint_it_does_not_tolerate(
    tolerations: tuple[Any, ...], effects: Any, again_s: float | None
) -> None:
    pod = api.Pod(metadata=meta("web"), spec=api.PodSpec(nodeName="n"))
    taints = {DEVICE: [evicting.Evicting(tainted())]}
    plan = evicting.plan(evicting.View(pod, (using(*tolerations),), taints), NOW)
    assert (done(plan), plan.requeue_after_s) == (effects, again_s)


async def evict(cut: int | None) -> tuple[bool, list[str | None]]:
    """Whether the pod goes in the end, and what it was said to be disrupted by when the plan broke off."""
    bench = Bench()
    claims = [api.PodResourceClaim(name="gpu", resourceClaimName="gpu")]
    pod = api.Pod(metadata=meta("web"), spec=api.PodSpec(nodeName="n", resourceClaims=claims))
    rule = api.DeviceTaintRule(
        metadata=api.ObjectMeta(name="broken", uid="rule"),
        spec=api.DeviceTaintRuleSpec(
            deviceSelector=api.DeviceTaintSelector(driver=DEVICE[0]), taint=tainted()
        ),
    )
    for obj in (pod, using(), rule):
        bench.server.put(typed(obj))
    one = evicting.CONTROLLER
    view = one.gather(bench.caches(one), key("web"))
    plan = one.plan(view, NOW)
    assert done(plan) == ["Patch", "Remove"]
    await bench.executor.carry_out(Plan(plan.effects[:cut]))
    reasons = [c.reason for p in await bench.all(api.Pod) for c in p.status.conditions]
    await bench.settle(one, key("web"))
    (left,) = await bench.all(api.Pod)  # until its node has ended it
    assert [c.reason for c in left.status.conditions] == [DISRUPTED]
    return left.metadata.deletionTimestamp is not None, reasons


@pytest.mark.parametrize(("cut", "reasons"), [(None, [DISRUPTED]), (0, []), (1, []), (2, [DISRUPTED])])
def test_an_eviction_that_broke_off_is_finished(cut: int | None, reasons: list[str]) -> None:
    assert run(evict(cut)) == (True, reasons)


@pytest.mark.parametrize(
    ("effect", "leaving", "word"),
    [
        ("NoExecute", ("a", "a", "b"), ("True", "PodsPendingEviction")),
        ("NoExecute", (), ("False", "NotStarted")),
        ("NoSchedule", (), ("False", "OtherEffect")),
        ("None", ("a",), ("False", "NoEffect")),
    ],
)
def test_a_rule_says_what_it_comes_to(effect: str, leaving: tuple[str, ...], word: tuple[str, str]) -> None:
    rule = api.DeviceTaintRule(
        metadata=api.ObjectMeta(name="broken", generation=1),
        spec=api.DeviceTaintRuleSpec(taint=tainted(effect)),
    )
    plan = telling.plan(telling.View(rule, 1, 1, leaving), NOW)
    (patch,) = plan.effects
    assert isinstance(patch, Patch)
    (condition,) = patch.patch["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == word
    rule.status.conditions = [
        api.Condition(
            type=telling.IN_PROGRESS,
            status=condition["status"],
            reason=condition["reason"],
            message=condition["message"],
            observedGeneration=1,
            lastTransitionTime=NOW,
        )
    ]
    for later_s in (0.0, 60.0):
        again = telling.plan(telling.View(rule, 1, 1, leaving), NOW + timedelta(seconds=later_s))
        assert again.effects == ()
