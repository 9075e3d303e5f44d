"""What the storage controllers decide, case by case; planning again changes nothing; crashes heal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sampan.client.effects import Plan
from sampan.controllers.runtime.controller import Key
from sampan.controllers.storage import binder, claims, ephemeral, expansion, localpath, protection
from sampan.controllers.storage.matching import best_match, mismatch
from sampan.controllers.storage.names import BIND_COMPLETED, SELECTED_NODE
from sampan.kinds import localpath as words
from sampan.kinds.groups.storage.classes import default_class
from sampan.machinery.quantity import quantity
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, Bench
from tests.fakes.managed import managed
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def claim(name: str = "data", size: str = "1Gi", **given: Any) -> api.PersistentVolumeClaim:
    meta = {k: given.pop(k) for k in ("annotations", "finalizers", "deletionTimestamp") if k in given}
    status = given.pop("status", {})
    return api.PersistentVolumeClaim(
        apiVersion="v1",
        kind="PersistentVolumeClaim",
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE, uid=f"uid-{name}", **meta),
        spec=api.PersistentVolumeClaimSpec(
            accessModes=given.pop("accessModes", ["ReadWriteOnce"]),
            resources=api.VolumeResourceRequirements(requests={"storage": quantity(size)}),
            **given,
        ),
        status=api.PersistentVolumeClaimStatus(**{"phase": "Pending", **status}),
    )


def volume(name: str = "disk", size: str = "1Gi", **given: Any) -> api.PersistentVolume:
    meta = {k: given.pop(k) for k in ("annotations", "labels", "finalizers") if k in given}
    return api.PersistentVolume(
        apiVersion="v1",
        kind="PersistentVolume",
        metadata=api.ObjectMeta(name=name, uid=f"uid-{name}", **meta),
        status=api.PersistentVolumeStatus(phase=given.pop("phase", "Available")),
        spec=api.PersistentVolumeSpec(
            accessModes=given.pop("accessModes", ["ReadWriteOnce"]),
            capacity={"storage": quantity(size)},
            hostPath=api.HostPathVolumeSource(path="/srv"),
            **given,
        ),
    )


def storage_class(name: str = "local-path", **given: Any) -> api.StorageClass:
    values = {"provisioner": words.PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer", **given}
    meta = api.ObjectMeta(name=name, annotations=values.pop("annotations", {}))
    return api.StorageClass(
        apiVersion="storage.k8s.io/v1", kind="StorageClass", metadata=meta, reclaimPolicy="Delete", **values
    )


def node(name: str = "n1") -> api.Node:
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(
            name=name,
            labels={"kubernetes.io/hostname": name},
            annotations={words.NODE_DIRECTORY: f"/data/{name}"},
        ),
        status=api.NodeStatus(conditions=[api.NodeCondition(type="Ready", status="True")]),
    )


def pod(name: str = "web", claim_name: str = "data", on: str | None = None) -> api.Pod:
    source = api.PersistentVolumeClaimVolumeSource(claimName=claim_name)
    return api.Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE, uid=f"uid-{name}"),
        spec=api.PodSpec(
            nodeName=on,
            containers=[api.Container(name="main", image="main:1")],
            volumes=[api.Volume(name="data", persistentVolumeClaim=source)],
        ),
    )


def ref(name: str, uid: str | None = None) -> api.ObjectReference:
    return api.ObjectReference(namespace=NAMESPACE, name=name, uid=uid)


# -- matching ---------------------------------------------------------------------------------------------

MATCHES: list[tuple[str, dict[str, Any], list[api.PersistentVolume], str | None]] = [
    ("the smallest", {}, [volume("big", "9Gi"), volume("fit", "2Gi")], "fit"),
    ("large enough", {"size": "5Gi"}, [volume("a", "4Gi")], None),
    ("fewest modes first", {}, [volume("b", "1Gi", accessModes=["ReadWriteOnce", "ReadWriteMany"]),
                                volume("a", "2Gi")], "a"),
    ("every mode", {"accessModes": ["ReadWriteMany"]}, [volume("a")], None),
    ("one pod only", {"accessModes": ["ReadWriteOncePod"]},
     [volume("a"), volume("b", accessModes=["ReadWriteOncePod"])], "b"),
    ("of its class", {"storageClassName": "fast"}, [volume("a"), volume("b", storageClassName="fast")], "b"),
    ("of its mode", {"volumeMode": "Block"}, [volume("a"), volume("b", volumeMode="Block")], "b"),
    ("available", {}, [volume("a", phase="Pending"), volume("b", "2Gi")], "b"),
    ("not somebody else's", {}, [volume("a", claimRef=ref("other")), volume("b", "2Gi")], "b"),
    ("reserved before better", {}, [volume("a"), volume("b", "7Gi", claimRef=ref("data"))], "b"),
    ("reserved for one of this name that is gone", {}, [volume("a", claimRef=ref("data", "old"))], None),
    ("selected", {"selector": api.LabelSelector(matchLabels={"tier": "gold"})},
     [volume("a"), volume("b", "2Gi", labels={"tier": "gold"})], "b"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "wish", "volumes", "expected"), MATCHES, ids=[m[0] for m in MATCHES])
def test_which_volume_suits_a_claim(
    what: str, wish: dict[str, Any], volumes: list[api.PersistentVolume], expected: str | None
) -> None:
    found = best_match(claim(**wish), volumes)
    assert (found.metadata.name if found is not None else None) == expected


def test_a_volume_must_be_within_reach_and_reserved_while_nobody_knows_where() -> None:
    expression = api.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=["n1"])
    terms = [api.NodeSelectorTerm(matchExpressions=[expression])]
    affinity = api.VolumeNodeAffinity(required=api.NodeSelector(nodeSelectorTerms=terms))
    there = volume("a", nodeAffinity=affinity)
    assert best_match(claim(), [there], node=node("n1")) is there
    assert best_match(claim(), [there], node=node("n2")) is None
    assert best_match(claim(), [there], reserved_only=True) is None


@pytest.mark.parametrize(
    ("wish", "given", "why"),
    [
        ({"size": "2Gi"}, {}, "requested PV is too small"),
        ({"storageClassName": "a"}, {}, "storageClassName does not match"),
        ({"volumeMode": "Block"}, {}, "incompatible volumeMode"),
        ({"accessModes": ["ReadWriteMany"]}, {}, "incompatible accessMode"),
        ({}, {}, ""),
    ],
)
def test_why_a_named_volume_cannot_serve(wish: dict[str, Any], given: dict[str, Any], why: str) -> None:
    assert mismatch(claim(**wish), volume(**given)) == why


def test_of_several_default_classes_the_youngest_is_it() -> None:
    marks = {"storageclass.kubernetes.io/is-default-class": "true"}
    old, new, other = (storage_class(n, annotations=dict(marks)) for n in ("old", "new", "other"))
    old.metadata.creationTimestamp = NOW
    new.metadata.creationTimestamp = other.metadata.creationTimestamp = NOW.replace(year=2027)
    assert default_class([old, other, new, storage_class("none")]) is new
    assert default_class([storage_class()]) is None


# -- what a claim waits for -------------------------------------------------------------------------------


def view(one: api.PersistentVolumeClaim, **given: Any) -> claims.ClaimView:
    return claims.ClaimView(one, **given)


WAITS: list[tuple[claims.ClaimView, str, str]] = [
    (view(claim(storageClassName="")), "FailedBinding", "no storage class is set"),
    (view(claim(storageClassName="x")), "ProvisioningFailed", 'storageclass.storage.k8s.io "x" not found'),
    (view(claim(storageClassName="x"), storage_class=storage_class()), "WaitForFirstConsumer",
     "waiting for first consumer to be created before binding"),
    (view(claim(storageClassName="x"), storage_class=storage_class(), consumers=(pod(),)),
     "WaitForPodScheduled", "waiting for pod web to be scheduled"),
    (view(claim(storageClassName="x"), storage_class=storage_class(volumeBindingMode="Immediate")),
     "ExternalProvisioning", "either by the external provisioner 'sampan.io/local-path'"),
    (view(claim(storageClassName="x"), storage_class=storage_class(
        volumeBindingMode="Immediate", provisioner="kubernetes.io/no-provisioner")),
     "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"),
    (view(claim(volumeName="disk"), volume=volume(claimRef=ref("other", "x"))), "FailedBinding",
     'volume "disk" already bound to a different claim.'),
    (view(claim(volumeName="disk", size="9Gi"), volume=volume()), "VolumeMismatch",
     'Cannot bind to requested volume "disk": requested PV is too small'),
]  # fmt: skip


@pytest.mark.parametrize(("known", "reason", "words_of_it"), WAITS)
def test_what_a_claim_waits_for(known: claims.ClaimView, reason: str, words_of_it: str) -> None:
    decided = claims.plan(known, NOW)
    assert [notice.reason for notice in decided.notices] == [reason]
    assert words_of_it in decided.notices[0].message
    assert words_of_it in decided.waiting_for


@pytest.mark.parametrize(
    ("one", "found", "reason"),
    [
        (claim(), None, "ClaimLost"),
        (claim(volumeName="disk"), None, "ClaimLost"),
        (claim(volumeName="disk"), volume(claimRef=ref("other", "x")), "ClaimMisbound"),
    ],
)
def test_a_bound_claim_can_be_lost(
    one: api.PersistentVolumeClaim, found: api.PersistentVolume | None, reason: str
) -> None:
    one.metadata.annotations[BIND_COMPLETED] = "yes"
    decided: Any = claims.plan(view(one, volume=found), NOW)
    assert decided.effects[0].patch["status"]["phase"] == "Lost"
    assert decided.effects[1].reason == reason


def test_a_pod_that_was_put_on_a_node_decides_where_its_claim_goes() -> None:
    known = view(
        claim(storageClassName="x"),
        storage_class=storage_class(),
        consumers=(pod(on="n1"),),
        nodes=frozenset({"n1"}),
    )
    decided: Any = claims.plan(known, NOW)
    assert decided.effects[0].patch["metadata"]["annotations"] == {SELECTED_NODE: "n1"}


# -- volumes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "annotations", "phase", "reason"),
    [
        ("Retain", {}, None, None),
        ("Delete", {}, "Failed", "VolumeFailedDelete"),
        ("Delete", {"pv.kubernetes.io/provisioned-by": "example.com/disks"}, None, None),
        ("Recycle", {}, "Failed", "VolumeFailedRecycle"),
        ("Whatever", {}, "Failed", "VolumeUnknownReclaimPolicy"),
    ],
)
def test_what_becomes_of_a_released_volume(
    policy: str, annotations: dict[str, str], phase: str | None, reason: str | None
) -> None:
    one = volume(
        phase="Released",
        claimRef=ref("data", "old"),
        persistentVolumeReclaimPolicy=policy,
        annotations=annotations,
    )
    decided: Any = binder.plan(binder.VolumeView(one), NOW)
    if phase is None:
        assert decided.effects == ()
    else:
        assert decided.effects[0].patch["status"]["phase"] == phase
        assert decided.effects[1].reason == reason


def test_a_volume_that_was_found_for_a_claim_that_took_another_is_free_again() -> None:
    mark = {"pv.kubernetes.io/bound-by-controller": "yes"}
    one = volume(phase="Bound", claimRef=ref("data", "uid-data"), annotations=mark)
    decided: Any = binder.plan(binder.VolumeView(one, claim(volumeName="other")), NOW)
    assert decided.effects[0].patch["spec"] == {"claimRef": None}
    assert decided.effects[1].patch["status"]["phase"] == "Available"


# -- the others -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"volumeMode": "Block"}, "block volumes"),
        ({"selector": api.LabelSelector(matchLabels={"a": "b"})}, "claim.Spec.Selector is not supported"),
        (
            {"dataSource": api.TypedLocalObjectReference(kind="Other", name="x")},
            "data sources",
        ),
        ({"annotations": {SELECTED_NODE: "gone"}}, 'node "gone" not found'),
        ({}, "no node that is ready"),
    ],
)
def test_why_a_directory_cannot_be_had(wish: dict[str, Any], why: str) -> None:
    decided = localpath.plan(localpath.ClaimView(claim(**wish), storage_class()), NOW)
    assert why in decided.notices[0].message
    assert decided.notices[0].reason == "ProvisioningFailed"


@pytest.mark.parametrize("user", [None, pod(), pod(on="n1")], ids=["nobody", "unscheduled", "used"])
def test_a_claim_that_a_pod_on_a_node_uses_stays(user: api.Pod | None) -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.put(claim(finalizers=["kubernetes.io/pvc-protection"]))
        if user is not None:
            bench.server.put(user)
        await bench.client.delete(api.PersistentVolumeClaim, "data", NAMESPACE)
        await bench.settle(protection.CLAIMS, Key(NAMESPACE, "data"))
        left = await bench.all(api.PersistentVolumeClaim)
        assert bool(left) == (user is not None and user.spec.nodeName is not None)

    run(main())


def test_a_claim_of_somebody_else_is_not_taken_for_an_ephemeral_volume() -> None:
    one = pod()
    template = api.PersistentVolumeClaimTemplate(spec=claim().spec)
    one.spec.volumes = [
        api.Volume(name="data", ephemeral=api.EphemeralVolumeSource(volumeClaimTemplate=template))
    ]
    decided = ephemeral.plan(ephemeral.View(one, (claim("web-data"),)), NOW)
    assert decided.effects == ()
    assert decided.notices[0].message == (
        'ephemeral volume data: PVC "default/web-data" was not created for pod "default/web" '
        "(pod is not owner)"
    )


def test_a_volume_that_nobody_here_can_grow_is_left_to_others() -> None:
    one = claim(size="2Gi", status={"phase": "Bound", "capacity": {"storage": quantity("1Gi")}})
    decided = expansion.plan(expansion.View(one, volume()), NOW)
    assert (decided.effects, decided.notices[0].reason) == ((), "ExternalExpanding")


# -- again, and after a crash -----------------------------------------------------------------------------


async def until_bound(cut: int | None) -> int:
    """Bind a claim to a new volume step by step; the first plan of each breaks off after `cut` effects."""
    bench = Bench()
    for obj in (claim(storageClassName="local-path"), storage_class(), node(), pod(on="n1")):
        bench.server.put(obj)
    keys: list[tuple[Any, Any]] = [
        (binder.CONTROLLER, binder.ClaimKey(NAMESPACE, "data")),
        (localpath.PROVISION, Key(NAMESPACE, "data")),
        (binder.CONTROLLER, binder.VolumeKey("pvc-uid-data")),
    ]
    most = 0
    for controller, key in keys * 2:
        known = controller.gather(bench.caches(controller), key)
        if known is not None and cut is not None:
            first = controller.plan(known, bench.now)
            most = max(most, len(first.effects))
            await bench.executor.carry_out(Plan(first.effects[:cut]))
        await bench.settle(controller, key)
    for controller, key in keys:
        assert (await bench.step(controller, key)).effects == ()
    bound = await bench.get(api.PersistentVolumeClaim, "data")
    found = await bench.get(api.PersistentVolume, "pvc-uid-data", "")
    assert (bound.status.phase, bound.spec.volumeName) == ("Bound", "pvc-uid-data")
    assert found.status.phase == "Bound"
    assert found.spec.local is not None
    assert found.spec.local.path == "/data/n1/pvc-uid-data_default_data"
    return most


def test_binding_may_break_off_anywhere() -> None:
    async def main() -> None:
        most = await until_bound(0)
        assert most >= 3
        for cut in range(1, most):
            await until_bound(cut)

    run(main())


def test_claims_that_wait_cost_nothing_and_say_so_once() -> None:
    async def main() -> None:
        async with managed([binder.CONTROLLER, localpath.PROVISION, expansion.CONTROLLER]) as running:
            for obj in (
                claim("a", storageClassName=""),
                claim("b", storageClassName="none"),
                storage_class(),
            ):
                running.server.put(obj)
            running.server.put(claim("c", storageClassName="local-path"))
            await running.clock.advance(5)
            await running.quiet()
            told = [event["reason"] for event in running.server.of_kind("Event")]
            assert sorted(told) == ["FailedBinding", "ProvisioningFailed", "WaitForFirstConsumer"]
            running.server.requests.clear()
            await running.clock.advance(3600)
            await running.quiet()
            assert [r for r in running.server.requests if r[0] != "GET"] == []

    run(main())


def test_volumes_that_are_refused_are_tried_less_and_less_often() -> None:
    async def main() -> None:
        def refuse(method: str, path: str, _body: Any) -> None:
            if method == "POST" and path.endswith("/persistentvolumes"):
                raise Refuse(403, "Forbidden", "a webhook says no")

        async with managed([binder.CONTROLLER, localpath.PROVISION]) as running:
            running.server.intercept = refuse
            for obj in (claim(storageClassName="local-path"), storage_class(), node(), pod(on="n1")):
                running.server.put(obj)
            await running.clock.advance(60)
            tries = [m for m, path in running.server.requests if path.endswith("/persistentvolumes")]
            assert 0 < tries.count("POST") <= 20
            running.server.intercept = lambda _method, _path, _body: None
            await running.clock.advance(1200)
            await running.quiet()
            assert (await running.client.get(api.PersistentVolumeClaim, "data", NAMESPACE)).spec.volumeName

    run(main())


def attributes_class(**meta: Any) -> api.VolumeAttributesClass:
    return api.VolumeAttributesClass(
        apiVersion="storage.k8s.io/v1",
        kind="VolumeAttributesClass",
        metadata=api.ObjectMeta(name="gold", **meta),
        driverName="disks.example.com",
        parameters={"iops": "1000"},
    )


NAMERS: dict[str, Any] = {
    "nobody": None,
    "another": lambda: claim(volumeAttributesClassName="silver"),
    "wanted": lambda: claim(volumeAttributesClassName="gold"),
    "current": lambda: claim(status={"currentVolumeAttributesClassName": "gold"}),
    "changing": lambda: claim(
        status={"modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "gold"}}
    ),
    "volume": lambda: volume(volumeAttributesClassName="gold"),
}


@pytest.mark.parametrize("namer", NAMERS)
def test_a_class_of_attributes_that_a_claim_or_volume_names_stays(namer: str) -> None:
    async def main() -> None:
        bench, make = Bench(), NAMERS[namer]
        bench.server.put(attributes_class())
        if make is not None:
            bench.server.put(make())
        key = Key("", "gold")
        await bench.settle(protection.CLASSES, key)
        (made,) = await bench.all(api.VolumeAttributesClass)
        assert made.metadata.finalizers == ["kubernetes.io/vac-protection"]
        await bench.client.delete(api.VolumeAttributesClass, "gold")
        await bench.settle(protection.CLASSES, key)
        left = await bench.all(api.VolumeAttributesClass)
        assert bool(left) == (namer in ("wanted", "current", "changing", "volume"))
        if left:
            waits = (await bench.step(protection.CLASSES, key)).waiting_for
            user = "volume disk" if namer == "volume" else "claim default/data"
            assert waits == f"the {user} to use it no longer"

    run(main())
