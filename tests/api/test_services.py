from __future__ import annotations

import asyncio
import functools
import random
from typing import Any

import pytest

from sampan.apiserver.core.admission.services import PORTS_PREFIX
from sampan.store.backend import Delete, KeyRange, Put
from tests.api.server import MERGE, SERVICES, Api, run, served

ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def _make(api: Api, name: str = "web", **spec: Any) -> Any:
    return (await api.post(SERVICES, service(name, **spec))).ok(201)["spec"]


def _ports(*node_ports: int) -> list[dict[str, Any]]:
    return [{"name": f"p{n}", "port": 80 + n, "nodePort": port} for n, port in enumerate(node_ports)]


@served
async def test_a_service_gets_an_address_that_is_an_object(api: Api) -> None:
    spec = await _make(api)
    assert spec["type"] == "ClusterIP"
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["clusterIP"].startswith("10.96.")
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    address = (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).ok()
    assert address["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "web"}


@served
async def test_an_address_can_be_asked_for_and_is_free_again_after_the_delete(api: Api) -> None:
    spec = await _make(api, clusterIP="10.96.0.50")
    assert spec["clusterIPs"] == ["10.96.0.50"]
    answer = await api.post(SERVICES, service("second", clusterIP="10.96.0.50"))
    assert answer.refused(422, "Invalid") == (
        'Service "second" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.50"]: '
        "failed to allocate IP 10.96.0.50: provided IP is already allocated"
    )
    (await api.delete(f"{SERVICES}/web")).ok()
    (await api.get(f"{ADDRESSES}/10.96.0.50")).refused(404, "NotFound")
    await _make(api, "second", clusterIP="10.96.0.50")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"clusterIP": "192.168.7.7"}, "The range of valid IPs is 10.96.0.0/16"),
        ({"clusterIP": "somewhere"}, "must be a valid IP address"),
        ({"type": "NodePort", "ports": _ports(80)}, "The range of valid ports is 30000-32767"),
        ({"type": "ClusterIP", "ports": _ports(30080)}, "may not be used when `type` is 'ClusterIP'"),
        ({"type": "ExternalName", "externalName": "x.example", "clusterIP": "10.96.0.9"}, "clusterIPs"),
        ({"type": "Sideways"}, "spec.type: Unsupported value"),
        ({"ports": []}, "spec.ports: Required value"),
    ],
)
@served
async def test_services_that_cannot_be(api: Api, spec: Any, message: str) -> None:
    before = api.server.cache.revision
    answer = await api.post(SERVICES, service(**spec))
    assert message in answer.refused(422, "Invalid")
    assert api.server.cache.revision == before


@served
async def test_headless_and_external_services_have_no_address(api: Api) -> None:
    spec = await _make(api, "headless", clusterIP="None")
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("None", ["None"])
    spec = await _make(api, "external", type="ExternalName", externalName="db.example.com", ports=[])
    assert "clusterIP" not in spec
    assert len((await api.get(ADDRESSES)).names) == 1  # the API's own


@served
async def test_node_ports_are_given_out_and_free_again(api: Api) -> None:
    spec = await _make(api, type="NodePort")
    given = spec["ports"][0]["nodePort"]
    assert 30000 <= given <= 32767
    await _make(api, "asked", type="NodePort", ports=_ports(31000, 31001))
    answer = await api.post(SERVICES, service("second", type="NodePort", ports=_ports(31001)))
    assert answer.refused(422, "Invalid") == (
        'Service "second" is invalid: spec.ports[0].nodePort: Invalid value: 31001: '
        "provided port is already allocated"
    )
    (await api.delete(f"{SERVICES}/asked")).ok()
    await _make(api, "second", type="NodePort", ports=_ports(31001))


@served
async def test_what_an_update_leaves_out_is_kept(api: Api) -> None:
    spec = await _make(api, type="NodePort", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}])
    given = {p["name"]: p["nodePort"] for p in spec["ports"]}
    body = service(type="NodePort", ports=[{"name": "b", "port": 82}, {"name": "c", "port": 80}])
    after = (await api.put(f"{SERVICES}/web", body)).ok()["spec"]
    assert after["clusterIP"] == spec["clusterIP"]
    ports = {p["name"]: p["nodePort"] for p in after["ports"]}
    assert ports["b"] == given["b"]
    # The port that went can be had again.
    if ports["c"] != given["a"]:
        await _make(api, "second", type="NodePort", ports=_ports(given["a"]))


@pytest.mark.conformance("Services should be able to change the type from ClusterIP to ExternalName")
@pytest.mark.conformance("Services should be able to change the type from ExternalName to ClusterIP")
@served
async def test_changes_of_type(api: Api) -> None:
    first = await _make(api, type="NodePort", ports=_ports(30500))
    plain = (await api.patch(f"{SERVICES}/web", {"spec": {"type": "ClusterIP"}}, MERGE)).ok()["spec"]
    assert plain["clusterIP"] == first["clusterIP"]
    assert "nodePort" not in plain["ports"][0]
    await _make(api, "second", type="NodePort", ports=_ports(30500))
    away = {"spec": {"type": "ExternalName", "externalName": "x.example.com"}}
    external = (await api.patch(f"{SERVICES}/web", away, MERGE)).ok()["spec"]
    assert "clusterIP" not in external
    (await api.get(f"{ADDRESSES}/{first['clusterIP']}")).refused(404, "NotFound")
    back = {"spec": {"type": "ClusterIP", "externalName": None}}
    again = (await api.patch(f"{SERVICES}/web", back, MERGE)).ok()["spec"]
    (await api.get(f"{ADDRESSES}/{again['clusterIP']}")).ok()


@served
async def test_an_address_does_not_change(api: Api) -> None:
    await _make(api, clusterIP="10.96.0.50")
    patch = {"spec": {"clusterIP": "10.96.0.51", "clusterIPs": ["10.96.0.51"]}}
    message = (await api.patch(f"{SERVICES}/web", patch, MERGE)).refused(422, "Invalid")
    assert "may not change once set" in message
    (await api.get(f"{ADDRESSES}/10.96.0.51")).refused(404, "NotFound")


@served
async def test_load_balancers(api: Api) -> None:
    spec = await _make(api, type="LoadBalancer")
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["ports"][0]["nodePort"]
    spec = await _make(api, "bare", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "nodePort" not in spec["ports"][0]
    spec = await _make(api, "local", type="LoadBalancer", externalTrafficPolicy="Local")
    check = spec["healthCheckNodePort"]
    assert 30000 <= check <= 32767
    assert check != spec["ports"][0]["nodePort"]
    answer = await api.post(SERVICES, service("second", type="NodePort", ports=_ports(check)))
    assert "already allocated" in answer.refused(422, "Invalid")
    (await api.delete(f"{SERVICES}/local")).ok()
    await _make(api, "second", type="NodePort", ports=_ports(check))


@served
async def test_one_port_for_two_protocols(api: Api) -> None:
    same = {"port": 53, "nodePort": 30053}
    ports = [{"name": "tcp", "protocol": "TCP", **same}, {"name": "udp", "protocol": "UDP", **same}]
    await _make(api, type="NodePort", ports=ports)
    (await api.delete(f"{SERVICES}/web")).ok()
    await _make(api, type="NodePort", ports=ports)


@served
async def test_dry_runs_take_nothing(api: Api) -> None:
    before = api.server.cache.revision
    spec = (await api.post(SERVICES, service(type="NodePort"), dryRun="All")).ok(201)["spec"]
    assert spec["clusterIP"]
    assert spec["ports"][0]["nodePort"]
    assert api.server.cache.revision == before
    await _make(api)
    (await api.delete(f"{SERVICES}/web", dryRun="All")).ok()
    (await api.get(f"{SERVICES}/web")).ok()


@served
async def test_a_service_that_is_held_keeps_its_address_until_it_goes(api: Api) -> None:
    body = service(clusterIP="10.96.0.60")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    (await api.post(SERVICES, body)).ok(201)
    (await api.delete(f"{SERVICES}/web")).ok()
    (await api.get(f"{ADDRESSES}/10.96.0.60")).ok()
    (await api.patch(f"{SERVICES}/web", {"metadata": {"finalizers": None}}, MERGE)).ok()
    (await api.get(f"{SERVICES}/web")).refused(404, "NotFound")
    (await api.get(f"{ADDRESSES}/10.96.0.60")).refused(404, "NotFound")


def test_many_at_once_never_share_and_a_full_range_says_so() -> None:
    async def check(api: Api) -> None:
        # /27: 30 addresses, of which the API has one.
        bodies = [service(f"s{number}", type="NodePort") for number in range(29)]
        answers = await asyncio.gather(*(api.post(SERVICES, body) for body in bodies))
        assert {answer.code for answer in answers} == {201}
        specs = [answer.json["spec"] for answer in answers]
        assert len({spec["clusterIP"] for spec in specs}) == 29
        assert len({spec["ports"][0]["nodePort"] for spec in specs}) == 29
        answer = await api.post(SERVICES, service("late"))
        assert "range is full" in answer.message
        assert answer.code == 500

    asyncio.run(run(check, service_cidr="10.96.0.0/27"))


def test_two_servers_of_one_store_never_give_the_same_address() -> None:
    async def check(api: Api) -> None:
        other = type(api.server)(
            api.store, api.clock, api.server._writer._ids, api.server.settings, chance=random.Random(7)
        )
        await other.start()
        try:
            second = Api(other, api.clock, api.store)
            makers = [
                functools.partial(server.post, SERVICES, service(f"{name}{number}", type="NodePort"))
                for number in range(10)
                for name, server in (("a", api), ("b", second))
            ]
            answers = await asyncio.gather(*(make() for make in makers))
        finally:
            await other.close()
        assert {answer.code for answer in answers} == {201}
        assert len({answer.json["spec"]["clusterIP"] for answer in answers}) == 20

    asyncio.run(run(check))


@served
async def test_node_ports_that_the_store_lost_or_kept_are_put_right(api: Api) -> None:
    spec = {"type": "NodePort", "ports": [{"port": 80}]}
    made = (await api.post(SERVICES, {"metadata": {"name": "web"}, "spec": spec})).ok(201)
    port = made["spec"]["ports"][0]["nodePort"]
    leaked = 30000 if port != 30000 else 30001
    await api.store.commit([], [Delete(f"{PORTS_PREFIX}{port}")])
    await api.store.commit([], [Put(f"{PORTS_PREFIX}{leaked}", b'{"metadata":{"resourceVersion":""}}')])
    await api.clock.advance(181)
    held = (await api.store.read(KeyRange.prefix(PORTS_PREFIX))).entries
    assert [entry.key for entry in held] == [f"{PORTS_PREFIX}{port}"]
    (event,) = (await api.get("/api/v1/namespaces/default/events")).ok()["items"]
    assert (event["reason"], event["involvedObject"]["name"]) == ("PortNotAllocated", "web")
    taken = {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}
    answer = await api.post(SERVICES, {"metadata": {"name": "other"}, "spec": taken})
    assert "provided port is already allocated" in answer.refused(422, "Invalid")
