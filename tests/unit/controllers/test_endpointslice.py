from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from sampan.controllers.endpointslice import endpoints, hints, mirroring, slices
from sampan.controllers.endpointslice.view import TRIGGER, Backend, port_number
from sampan.machinery.quantity import quantity
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready
from tests.fakes.managed import managed
from tests.fakes.waiting import run


def service(*ports: api.ServicePort, **spec: Any) -> api.Service:
    return api.Service(
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, labels={"tier": "front"}),
        spec=api.ServiceSpec(
            **{
                "selector": {"app": "web"},
                "ports": list(ports)
                or [api.ServicePort(name="http", port=80, targetPort="http", protocol="TCP")],
                "clusterIP": "10.0.0.1",
                "ipFamilies": ["IPv4"],
                **spec,
            }
        ),
    )


def pod(name: str, ip: str, *, port: int = 8080, ready: bool = True, **spec: Any) -> api.Pod:
    container = api.Container(
        name="c", ports=[api.ContainerPort(name="http", containerPort=port, protocol="TCP")]
    )
    made = api.Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE, uid=f"uid-{name}", labels={"app": "web"}),
        spec=api.PodSpec(containers=[container], **spec),
        status=api.PodStatus(podIP=ip, podIPs=[api.PodIP(ip=ip)]),
    )
    made = make_ready(made, Bench().now)
    if not ready:
        made.status.conditions = []
    return made


async def settled(bench: Bench) -> None:
    for controller in (slices.controller(), endpoints.controller()):
        assert await bench.settle(controller, key("web")) <= 2


async def only_slice(bench: Bench) -> api.EndpointSlice:
    (found,) = await bench.all(api.EndpointSlice)
    return found


def test_ready_unready_and_leaving_pods() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        zoned = api.Node(metadata=api.ObjectMeta(name="n1", labels={"topology.kubernetes.io/zone": "z1"}))
        await bench.client.create(zoned)
        bench.server.put(pod("a", "10.1.0.1"))
        bench.server.put(pod("b", "10.1.0.2", ready=False))
        bench.server.put(pod("c", "10.1.0.3"))
        await bench.client.delete(api.Pod, "c", NAMESPACE)
        done = pod("d", "10.1.0.4")
        done.status.phase = "Succeeded"
        bench.server.put(done)
        await settled(bench)
        found = await only_slice(bench)
        told = {
            e.addresses[0]: (e.conditions.ready, e.conditions.serving, e.conditions.terminating)
            for e in found.endpoints
            if e.conditions is not None
        }
        assert told == {
            "10.1.0.1": (True, True, False),
            "10.1.0.2": (False, False, False),
            "10.1.0.3": (False, True, True),
        }
        first = found.endpoints[0]
        assert (first.nodeName, first.zone) == ("n1", "z1")
        assert first.targetRef == api.ObjectReference(kind="Pod", namespace=NAMESPACE, name="a", uid="uid-a")
        assert found.metadata.labels == {
            "tier": "front",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        assert found.metadata.ownerReferences[0].kind == "Service"
        (port,) = found.ports
        assert (port.name, port.port, port.protocol) == ("http", 8080, "TCP")
        (subset,) = (await bench.get(api.Endpoints, "web")).subsets
        assert [a.ip for a in subset.addresses] == ["10.1.0.1"]
        assert [a.ip for a in subset.notReadyAddresses] == ["10.1.0.2"]

    run(main())


def test_a_service_without_pods_has_an_empty_slice() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        await settled(bench)
        found = await only_slice(bench)
        assert (found.endpoints, found.ports, found.addressType) == ([], [], "IPv4")
        bench.server.put(pod("a", "10.1.0.1"))
        await settled(bench)
        assert len((await only_slice(bench)).endpoints) == 1
        bench.server.drop(f"/api/v1/namespaces/{NAMESPACE}/pods/a")
        await settled(bench)
        assert (await only_slice(bench)).endpoints == []

    run(main())


def test_a_slice_holds_a_hundred_endpoints_and_they_stay_where_they_are() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        for number in range(250):
            bench.server.put(pod(f"p{number:03}", f"10.1.{number // 200}.{number % 200 + 1}"))
        await settled(bench)
        before = {s.metadata.name: s for s in await bench.all(api.EndpointSlice)}
        assert sorted(len(s.endpoints) for s in before.values()) == [50, 100, 100]
        bench.server.drop(f"/api/v1/namespaces/{NAMESPACE}/pods/p000")
        bench.server.put(pod("new", "10.1.3.1"))
        await settled(bench)
        after = {s.metadata.name: s for s in await bench.all(api.EndpointSlice)}
        changed = [
            name
            for name in after
            if after[name].metadata.resourceVersion != before[name].metadata.resourceVersion
        ]
        assert len(changed) == 1
        assert sum(len(s.endpoints) for s in after.values()) == 250

    run(main())


def test_pods_whose_named_port_differs_are_in_slices_of_their_own() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        bench.server.put(pod("a", "10.1.0.1", port=8080))
        bench.server.put(pod("b", "10.1.0.2", port=9090))
        await settled(bench)
        found = {s.ports[0].port: s.endpoints[0].addresses for s in await bench.all(api.EndpointSlice)}
        assert found == {8080: ["10.1.0.1"], 9090: ["10.1.0.2"]}
        assert len((await bench.get(api.Endpoints, "web")).subsets) == 2

    run(main())


def test_a_headless_service_names_its_pods_and_may_publish_all() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(clusterIP="None", publishNotReadyAddresses=True))
        bench.server.put(pod("a", "10.1.0.1", ready=False, hostname="a-0", subdomain="web"))
        bench.server.put(pod("b", "10.1.0.2", hostname="b-0", subdomain="other"))
        await settled(bench)
        found = await only_slice(bench)
        assert found.metadata.labels["service.kubernetes.io/headless"] == ""
        assert [(e.hostname, e.conditions and e.conditions.ready) for e in found.endpoints] == [
            ("a-0", True),
            (None, True),
        ]
        (subset,) = (await bench.get(api.Endpoints, "web")).subsets
        assert len(subset.addresses) == 2

    run(main())


def test_both_address_families() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(ipFamilies=["IPv6", "IPv4"]))
        dual = pod("a", "10.1.0.1")
        dual.status.podIPs.append(api.PodIP(ip="fd00::1"))
        bench.server.put(dual)
        await settled(bench)
        found = {s.addressType: s.endpoints[0].addresses for s in await bench.all(api.EndpointSlice)}
        assert found == {"IPv4": ["10.1.0.1"], "IPv6": ["fd00::1"]}
        (subset,) = (await bench.get(api.Endpoints, "web")).subsets
        assert [a.ip for a in subset.addresses] == ["fd00::1"]

    run(main())


@pytest.mark.parametrize("given", [{"selector": {}}, {"type": "ExternalName"}])
def test_services_without_a_selector_are_left_alone(given: dict[str, Any]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(**given))
        mine = api.EndpointSlice(
            metadata=api.ObjectMeta(
                name="mine", namespace=NAMESPACE, labels={"kubernetes.io/service-name": "web"}
            ),
            addressType="IPv4",
        )
        await bench.client.create(mine)
        await settled(bench)
        assert (await only_slice(bench)).metadata.name == "mine"
        assert await bench.all(api.Endpoints) == []

    run(main())


def test_endpoints_go_with_their_service() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        by_hand = api.Endpoints(metadata=api.ObjectMeta(name="lock", namespace=NAMESPACE))
        await bench.client.create(by_hand)
        await settled(bench)
        await bench.client.delete(api.Service, "web", NAMESPACE)
        await bench.settle(endpoints.controller(), key("web"))
        await bench.settle(endpoints.controller(), key("lock"))
        assert [e.metadata.name for e in await bench.all(api.Endpoints)] == ["lock"]

    run(main())


@pytest.mark.parametrize(
    ("target", "protocol", "number"),
    [
        (None, "TCP", 80),
        (0, "TCP", 80),
        (81, "TCP", 81),
        ("http", "TCP", 8080),
        ("http", "UDP", None),
        ("x", "TCP", None),
    ],
)
def test_which_port_a_target_means(target: int | str | None, protocol: str, number: int | None) -> None:
    port = api.ServicePort(port=80, targetPort=target, protocol=protocol)
    assert port_number(pod("a", "10.1.0.1"), port) == number


def zoned_node(name: str, zone: str, cpu: str = "4") -> api.Node:
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(name=name, labels={"topology.kubernetes.io/zone": zone}),
        status=api.NodeStatus(
            conditions=[api.NodeCondition(type="Ready", status="True")], allocatable={"cpu": quantity(cpu)}
        ),
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"trafficDistribution": "PreferClose"}, {"a": (["z1"], []), "b": (["z2"], []), "sick": ([], [])}),
        ({"trafficDistribution": "PreferSameZone"}, {"a": (["z1"], []), "b": (["z2"], []), "sick": ([], [])}),
        (
            {"trafficDistribution": "PreferSameNode"},
            {"a": (["z1"], ["n1"]), "b": (["z2"], ["n2"]), "sick": ([], [])},
        ),
        ({}, {"a": ([], []), "b": ([], []), "sick": ([], [])}),
    ],
)
def test_hints_go_by_what_the_service_prefers(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(**spec))
        for name, zone in (("n1", "z1"), ("n2", "z2")):
            bench.server.put(zoned_node(name, zone))
        for name, ip, on, ready in (
            ("a", "10.1.0.1", "n1", True),
            ("b", "10.1.0.2", "n2", True),
            ("sick", "10.1.0.3", "n2", False),
        ):
            made = pod(name, ip, ready=ready)
            made.spec.nodeName = on
            bench.server.put(made)
        await settled(bench)
        told = {}
        for endpoint in (await only_slice(bench)).endpoints:
            assert endpoint.targetRef is not None
            found = endpoint.hints or api.EndpointHints()
            told[endpoint.targetRef.name] = (
                [z.name for z in found.forZones],
                [n.name for n in found.forNodes],
            )
        assert told == expected

    run(main())


@pytest.mark.parametrize(
    ("where", "cpus", "expected"),
    [
        ("aabb", {"a": 4000, "b": 4000}, {"a": 2, "b": 2}),
        ("aaaa", {"a": 4000, "b": 4000}, {"a": 2, "b": 2}),
        ("aaabbb", {"a": 8000, "b": 4000}, {"a": 4, "b": 2}),
        ("a", {"a": 4000, "b": 4000}, {}),  # too few for both
        ("aabb", {"a": 4000}, {}),  # one zone needs no hints
        ("aabx", {"a": 4000, "b": 4000}, {}),  # one endpoint is nowhere
        ("ab", {"a": 9000, "b": 1000}, {}),  # would overload a
    ],
)
def test_endpoints_are_shared_out_by_the_zones_cpus(
    where: str, cpus: dict[str, int], expected: dict[str, int]
) -> None:
    annotated = service()
    annotated.metadata.annotations["service.kubernetes.io/topology-mode"] = "Auto"
    backends = [(Backend(pod(f"p{n}", f"10.1.0.{n}"), zone), True) for n, zone in enumerate(where, 1)]
    found = hints.hints(annotated, backends, hints.Zones(cpus))
    assert Counter(hint.forZones[0].name for hint in found.values()) == expected


def test_the_time_of_what_changed_the_endpoints_is_told() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        await settled(bench)
        created = (await only_slice(bench)).metadata.annotations[TRIGGER]
        await bench.clock.advance(60)
        made = pod("a", "10.1.0.1")
        make_ready(made, bench.now)
        bench.server.put(made)
        await bench.clock.advance(5)
        await settled(bench)
        changed = (await only_slice(bench)).metadata.annotations[TRIGGER]
        assert changed == (bench.now - timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ") > created

    run(main())


# -- mirroring ----------------------------------------------------------------------------------------


def own_endpoints(*addresses: str, not_ready: tuple[str, ...] = (), **meta: Any) -> api.Endpoints:
    port = api.EndpointPort(name="http", port=8080, protocol="TCP")
    subset = api.EndpointSubset(
        addresses=[api.EndpointAddress(ip=ip) for ip in addresses],
        notReadyAddresses=[api.EndpointAddress(ip=ip) for ip in not_ready],
        ports=[port],
    )
    return api.Endpoints(
        apiVersion="v1",
        kind="Endpoints",
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, **meta),
        subsets=[subset],
    )


async def mirrored(bench: Bench) -> dict[str, list[tuple[str, bool | None]]]:
    await bench.settle(mirroring.controller(), key("web"))
    assert (await bench.step(mirroring.controller(), key("web"))).effects == ()
    return {
        one.addressType: [
            (e.addresses[0], e.conditions.ready if e.conditions is not None else None) for e in one.endpoints
        ]
        for one in await bench.all(api.EndpointSlice)
    }


def test_endpoints_of_a_service_without_selector_are_mirrored_through_their_life() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(selector={}))
        await bench.client.create(own_endpoints("10.9.0.1", "fd00::1", not_ready=("10.9.0.2",)))
        found = await mirrored(bench)
        assert found == {"IPv4": [("10.9.0.1", True), ("10.9.0.2", False)], "IPv6": [("fd00::1", True)]}
        for one in await bench.all(api.EndpointSlice):
            assert one.metadata.labels["endpointslice.kubernetes.io/managed-by"] == mirroring.MANAGER
            assert one.metadata.labels["kubernetes.io/service-name"] == "web"
        names = {one.metadata.name for one in await bench.all(api.EndpointSlice)}
        held = await bench.get(api.Endpoints, "web")
        held.subsets = own_endpoints("10.9.0.7").subsets
        await bench.client.update(held)
        assert await mirrored(bench) == {"IPv4": [("10.9.0.7", True)]}
        assert {one.metadata.name for one in await bench.all(api.EndpointSlice)} < names
        await bench.client.delete(api.Endpoints, "web", NAMESPACE)
        assert await mirrored(bench) == {}

    run(main())


@pytest.mark.parametrize(
    ("spec", "meta"),
    [
        ({}, {}),
        ({"selector": {}}, {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}),
        ({"selector": {}}, {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}),
    ],
    ids=["has a selector", "says so", "is a lock"],
)
def test_what_is_not_mirrored(spec: dict[str, Any], meta: dict[str, Any]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(**spec))
        await bench.client.create(own_endpoints("10.9.0.1", **meta))
        assert await mirrored(bench) == {}

    run(main())


def test_more_addresses_than_are_mirrored_are_told_of() -> None:
    addresses = [f"10.9.{n // 250}.{n % 250}" for n in range(1003)]
    decided = mirroring.plan(mirroring.View(own_endpoints(*addresses)), Bench().now)
    assert len(decided.effects) == 10
    assert "3 addresses were skipped" in decided.notices[0].message


@pytest.mark.parametrize("batch_s", [0.0, 5.0], ids=["at once", "together"])
def test_changes_of_pods_are_looked_at_together(batch_s: float) -> None:
    """--endpoint-updates-batch-period and --endpointslice-updates-batch-period."""

    async def main() -> None:
        made = [slices.controller(batch_s), endpoints.controller(batch_s)]
        async with managed(made) as running:
            await running.client.create(service())
            await running.quiet()
            running.server.requests.clear()
            for number in range(4):
                running.server.put(pod(f"p{number}", f"10.1.0.{number + 1}"))
                await running.clock.advance(1)
                await running.quiet()
            await running.clock.advance(10)
            await running.quiet()
            writes = Counter(
                kind
                for method, path in running.server.requests
                for kind in ("endpointslices", "endpoints")
                if method != "GET" and f"/{kind}/" in path
            )
            found = (await running.client.list(api.EndpointSlice)).items
            assert [len(one.endpoints) for one in found] == [4]
            changes = 1 if batch_s else 4
            assert writes == {"endpointslices": changes, "endpoints": changes}

    run(main())


def test_changes_of_endpoints_are_mirrored_together() -> None:
    """--mirroring-endpointslice-updates-batch-period."""

    async def main() -> None:
        async with managed([mirroring.controller(5.0)]) as running:
            owner = service(selector={})
            owner.apiVersion, owner.kind = "v1", "Service"
            running.server.put(owner)
            for last in range(1, 4):
                running.server.put(own_endpoints(*(f"10.9.0.{n}" for n in range(1, last + 1))))
                await running.clock.advance(1)
                await running.quiet()
            assert not [m for m, path in running.server.requests if m == "POST" and "endpointslices" in path]
            await running.clock.advance(5)
            await running.quiet()
            (found,) = (await running.client.list(api.EndpointSlice)).items
            assert len(found.endpoints) == 3
            asked = [m for m, path in running.server.requests if "endpointslices" in path]
            writes = [method for method in asked if method not in ("GET", "WATCH")]
            assert writes == ["POST"]

    run(main())
