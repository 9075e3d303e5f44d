"""Node ranges, node TTLs, trust bundles, Leases of servers that are gone, owners in other namespaces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sampan.base.clock import micro_time
from sampan.client.effects import Create, Emit, Patch, Remove
from sampan.controllers import garbagecollector, leasecleanup, nodeipam, nodettl, trustbundle
from sampan.controllers.nodeipam import Ranges
from sampan.controllers.runtime.controller import Key
from sampan.schema import api
from tests.fakes.bench import Bench
from tests.fakes.managed import managed
from tests.fakes.waiting import run, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def node(name: str, cidr: str | None = None, **annotations: str) -> api.Node:
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(name=name, uid=name, annotations=annotations),
        spec=api.NodeSpec(podCIDR=cidr, podCIDRs=[cidr] if cidr else []),
    )


# -- node ranges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "number", "wanted"),
    [
        ("10.244.0.0/16", 0, "10.244.0.0/24"),
        ("10.244.0.0/16", 255, "10.244.255.0/24"),
        ("fd00:1::/48", 3, "fd00:1:0:3::/64"),
        ("10.0.0.0/25", 0, "10.0.0.0/24"),
    ],
)
def test_parts_of_a_network(network: str, number: int, wanted: str) -> None:
    assert Ranges((network,)).part(network, number) == wanted


async def settled_ranges(ranges: Ranges, *nodes: api.Node) -> dict[str, list[str]]:
    bench = Bench()
    controller = nodeipam.controller(ranges)
    for one in nodes:
        bench.server.put(one)
    for one in nodes:
        await bench.settle(controller, Key("", one.metadata.name or ""))
    return {one.metadata.name or "": one.spec.podCIDRs for one in await bench.all(api.Node)}


def test_each_node_gets_its_own_part() -> None:
    async def main() -> None:
        both = Ranges(("10.244.0.0/22", "fd00::/62"), fixed={"c": ("10.244.2.0/24", "fd00:0:0:2::/64")})
        found = await settled_ranges(both, node("a"), node("b"), node("c"), node("own", "10.244.3.0/24"))
        assert found["own"] == ["10.244.3.0/24"]
        assert found["c"] == ["10.244.2.0/24", "fd00:0:0:2::/64"]
        firsts = [cidrs[0] for cidrs in found.values()]
        assert sorted(firsts) == [f"10.244.{number}.0/24" for number in range(4)]
        assert len(found["a"]) == len(found["b"]) == 2

    run(main())


def test_who_finds_no_range_waits_for_one() -> None:
    async def main() -> None:
        ranges = Ranges(("10.244.0.0/23",))
        async with managed([nodeipam.controller(ranges)]) as running:
            for name in ("a", "b", "c"):
                await running.client.create(node(name))
                await running.quiet()
            left = [one for one in await all_nodes(running) if not one.spec.podCIDR]
            assert [one.metadata.name for one in left] == ["c"]
            assert "give back" in running.manager.waiting_for("node-ipam", Key("", "c"))
            (event,) = running.server.of_kind("Event")
            assert (event["reason"], event["message"]) == (
                "CIDRNotAvailable",
                "Node c status is now: CIDRNotAvailable",
            )
            await running.client.delete(api.Node, "a")
            await running.quiet()
            assert {one.spec.podCIDR for one in await all_nodes(running)} == {
                "10.244.0.0/24",
                "10.244.1.0/24",
            }

    run(main())


async def all_nodes(running: object) -> list[api.Node]:
    return (await running.client.list(api.Node)).items  # type: ignore[attr-defined]


# -- node TTLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotated", "count", "wanted"),
    [
        (None, 1, 0),
        (None, 100, 0),
        (None, 101, 15),
        ("15", 95, 15),  # within the overlap it stays
        ("0", 95, 0),
        ("15", 89, 0),
        (None, 5000, 300),
        ("300", 1, 0),
        ("nonsense", 700, 30),
    ],
)
def test_the_ttl_of_nodes(annotated: str | None, count: int, wanted: int) -> None:
    assert nodettl.seconds(annotated, count) == wanted


def test_a_node_is_annotated_once() -> None:
    (patch,) = nodettl.plan(nodettl.View(node("a"), 1), NOW).effects
    assert isinstance(patch, Patch)
    assert patch.patch["metadata"]["annotations"] == {nodettl.ANNOTATION: "0"}
    annotated = node("a", **{nodettl.ANNOTATION: "0"})
    assert nodettl.plan(nodettl.View(annotated, 1), NOW).effects == ()


# -- trust bundles --------------------------------------------------------------------------------------


def test_the_trust_bundle_of_the_server_is_published_and_the_old_one_goes() -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.settle(trustbundle.controller(PEM), trustbundle.KEY) == 1
        other = api.ClusterTrustBundle(
            metadata=api.ObjectMeta(name="example.com:mine:x"),
            spec=api.ClusterTrustBundleSpec(signerName="example.com/mine", trustBundle=PEM),
        )
        await bench.client.create(other)
        assert await bench.settle(trustbundle.controller(PEM * 2), trustbundle.KEY) == 1
        found = {one.metadata.name: one.spec.trustBundle for one in await bench.all(api.ClusterTrustBundle)}
        assert found == {trustbundle.name_of(PEM * 2): PEM * 2, "example.com:mine:x": PEM}
        assert trustbundle.name_of(PEM).startswith("kubernetes.io:kube-apiserver-serving:")

    run(main())


def test_the_new_bundle_is_there_before_the_old_one_goes() -> None:
    old = api.ClusterTrustBundle(
        metadata=api.ObjectMeta(name="kubernetes.io:kube-apiserver-serving:old"),
        spec=api.ClusterTrustBundleSpec(signerName=trustbundle.SIGNER, trustBundle="x"),
    )
    create, remove = trustbundle.plan(trustbundle.View((old,)), NOW, PEM).effects
    assert isinstance(create, Create)
    assert isinstance(remove, Remove)


# -- Leases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("renewed_s", "seen_s", "removed"),
    [(-10, -10, False), (-3601, -3601, True), (+9000, -3601, True), (None, -3601, True), (None, -5, False)],
)
def test_leases_of_servers_run_out(renewed_s: int | None, seen_s: int, removed: bool) -> None:
    renewed = micro_time(NOW + timedelta(seconds=renewed_s)) if renewed_s is not None else None
    lease = api.Lease(
        metadata=api.ObjectMeta(
            name="apiserver-1", namespace="kube-system", creationTimestamp=NOW - timedelta(seconds=-seen_s)
        ),
        spec=api.LeaseSpec(holderIdentity="x", leaseDurationSeconds=3600, renewTime=renewed),
    )
    found = leasecleanup.plan(leasecleanup.View(lease, NOW + timedelta(seconds=seen_s)), NOW)
    assert bool(found.effects) is removed
    assert (found.requeue_after_s is None) is removed


def test_only_leases_of_servers_are_removed() -> None:
    async def main() -> None:
        async with managed([leasecleanup.CONTROLLER]) as running:
            stamp = micro_time(running.clock.now())
            for name, labels in (("server", {leasecleanup.LABEL: "kube-apiserver"}), ("elected", {})):
                spec = api.LeaseSpec(holderIdentity="x", leaseDurationSeconds=60, renewTime=stamp)
                meta = api.ObjectMeta(name=name, namespace="kube-system", labels=labels)
                await running.client.create(api.Lease(metadata=meta, spec=spec))
            await running.clock.advance(30)
            await running.quiet()
            assert len(running.server.of_kind("Lease")) == 2
            await running.clock.advance(31)
            await running.quiet()
            assert [one["metadata"]["name"] for one in running.server.of_kind("Lease")] == ["elected"]

    run(main())


# -- owners in other namespaces -------------------------------------------------------------------------


def test_an_owner_in_another_namespace_is_none_and_an_event_says_so() -> None:
    async def main() -> None:
        async with managed([garbagecollector.CONTROLLER]) as running:
            owner = await running.client.create(
                api.ConfigMap(metadata=api.ObjectMeta(name="owner", namespace="far"))
            )
            reference = api.OwnerReference(
                apiVersion="v1", kind="ConfigMap", name="owner", uid=owner.metadata.uid or ""
            )
            meta = api.ObjectMeta(name="dependent", namespace="near", ownerReferences=[reference])
            await running.client.create(api.ConfigMap(metadata=meta))
            await until(lambda: bool(running.server.of_kind("Event")))
            (event,) = running.server.of_kind("Event")
            assert (event["type"], event["reason"]) == ("Warning", "OwnerRefInvalidNamespace")
            assert event["message"] == (
                f"ownerRef [v1/ConfigMap, namespace: near, name: owner, uid: {owner.metadata.uid}] "
                'does not exist in namespace "near"'
            )
            await until(lambda: len(running.server.of_kind("ConfigMap")) == 1)

    run(main())


def test_only_the_foreign_owner_is_dropped_where_another_keeps_the_object() -> None:
    reference = api.OwnerReference(apiVersion="v1", kind="ConfigMap", name="o", uid="u")
    kept = api.OwnerReference(apiVersion="v1", kind="ConfigMap", name="k", uid="k")
    meta = api.ObjectMeta(name="d", namespace="near", uid="d", ownerReferences=[reference, kept])
    ref = garbagecollector.Ref("v1", "ConfigMap", "near", "d", uid="d")
    item = garbagecollector.Item(ref, meta, None)  # type: ignore[arg-type]
    owners = (
        garbagecollector.Owner(reference, garbagecollector.ABSENT, foreign=True),
        garbagecollector.Owner(kept, garbagecollector.SOLID),
    )
    emit, patch = garbagecollector.plan(garbagecollector.View(item, owners, ()), NOW).effects
    assert isinstance(emit, Emit)
    assert isinstance(patch, Patch)
    assert [one["name"] for one in patch.patch["metadata"]["ownerReferences"]] == ["k"]
