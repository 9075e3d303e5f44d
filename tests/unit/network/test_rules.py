"""What a node does for services, as tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sampan.network.proxy.book import RuleBook
from sampan.network.proxy.endpoints import Endpoint
from sampan.network.proxy.rules import Frontend, HealthCheck, NodeFacts, RuleSet, rule_set
from sampan.schema import api
from tests.unit.network.objects import NODE, endpoint_slice, remote, service

A, B = "10.88.0.2", "10.88.0.3"
FAR = "10.88.1.2"


def one(made: api.Service, *slices: api.EndpointSlice, node: NodeFacts = NODE) -> Any:
    rules = rule_set([made], slices, node).services
    assert len(rules) == 1
    return rules[0]


def endpoints(rule: Any) -> tuple[list[str], list[str]]:
    return [e.ip for e in rule.endpoints.cluster], [e.ip for e in rule.endpoints.local]


def condition(ip: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": "node-a", "conditions": conditions}


READY = condition(A, ready=True, serving=True, terminating=False)
NOT_READY = condition(A, ready=False, serving=False, terminating=False)
DRAINING = condition(A, ready=False, serving=True, terminating=True)
ENDING = condition(A, ready=False, serving=False, terminating=True)
REMOTE_DRAINING = remote(FAR, conditions={"ready": False, "serving": True, "terminating": True})


@pytest.mark.parametrize(
    ("given", "cluster", "local"),
    [
        ([], [], []),
        ([A, B], [A, B], [A, B]),
        ([A, remote(FAR)], [A, FAR], [A]),
        ([condition(A)], [A], [A]),  # unknown counts as ready
        ([NOT_READY], [], []),
        ([NOT_READY, B], [B], [B]),
        ([DRAINING], [A], [A]),  # better than nothing
        ([DRAINING, B], [B], [B]),
        ([DRAINING, remote(FAR)], [FAR], [A]),  # the local ones fall back by themselves
        ([ENDING], [], []),
        ([REMOTE_DRAINING, B], [B], [B]),
        ([A, A], [A], [A]),
    ],
)
def test_which_endpoints_count(given: list[Any], cluster: list[str], local: list[str]) -> None:
    assert endpoints(one(service(), endpoint_slice(*given))) == (cluster, local)


@pytest.mark.parametrize(
    ("hints", "cluster"),
    [
        ([{"forZones": [{"name": "zone-1"}]}, {"forZones": [{"name": "zone-2"}]}], [A]),
        ([{"forZones": [{"name": "zone-2"}]}, {"forZones": [{"name": "zone-3"}]}], [A, FAR]),  # none for us
        ([{"forZones": [{"name": "zone-1"}]}, {}], [A, FAR]),  # not all carry hints
        ([{"forNodes": [{"name": "node-b"}]}, {"forNodes": [{"name": "node-a"}]}], [FAR]),
    ],
)
def test_topology_hints_narrow_only_when_they_are_complete(hints: list[Any], cluster: list[str]) -> None:
    given = [
        {"addresses": [ip], "nodeName": node, "hints": hint}
        for ip, node, hint in zip((A, FAR), ("node-a", "node-b"), hints, strict=True)
    ]
    assert endpoints(one(service(), endpoint_slice(*given)))[0] == cluster


def test_slices_are_joined_and_ports_matched_by_name() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    made = service(ports=ports)
    slices = (
        endpoint_slice(A, name="one", ports=[{"name": "http", "port": 8080, "protocol": "TCP"}]),
        endpoint_slice(B, name="two", ports=[{"name": "http", "port": 9090, "protocol": "TCP"}]),
        endpoint_slice(A, name="three", ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}]),
        endpoint_slice("10.88.0.9", name="other", service="another"),
    )
    dns, http = rule_set([made], slices, NODE).services
    assert (http.protocol, http.endpoints.cluster) == (
        "tcp",
        (Endpoint(A, 8080, True), Endpoint(B, 9090, True)),
    )
    assert (dns.protocol, dns.endpoints.cluster) == ("udp", (Endpoint(A, 5353, True),))
    assert (http.key, dns.key) == ("default/web/tcp/http", "default/web/udp/dns")


NODE_PORT = [{"port": 80, "protocol": "TCP", "nodePort": 30080}]
BALANCED = {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}


@pytest.mark.parametrize(
    ("spec", "given", "frontends"),
    [
        ({}, [A], [("10.96.0.10", 80, "cluster")]),
        ({}, [], [("10.96.0.10", 80, "reject")]),
        ({"internalTrafficPolicy": "Local"}, [A], [("10.96.0.10", 80, "local")]),
        ({"internalTrafficPolicy": "Local"}, [remote(FAR)], [("10.96.0.10", 80, "drop")]),
        ({"internalTrafficPolicy": "Local"}, [], [("10.96.0.10", 80, "reject")]),
        (
            {"externalIPs": ["192.0.2.7", "10.96.0.10"]},
            [A],
            [("10.96.0.10", 80, "cluster"), ("192.0.2.7", 80, "external")],
        ),
        (
            {"type": "NodePort", "ports": NODE_PORT},
            [A],
            [("", 30080, "external"), ("10.96.0.10", 80, "cluster")],
        ),
        (
            {"type": "NodePort", "ports": NODE_PORT},
            [],
            [("", 30080, "reject"), ("10.96.0.10", 80, "reject")],
        ),
        (
            {"type": "NodePort", "ports": NODE_PORT, "externalTrafficPolicy": "Local"},
            [remote(FAR)],
            [("", 30080, "external-local"), ("10.96.0.10", 80, "cluster")],
        ),
        (
            {"type": "LoadBalancer", "ports": NODE_PORT, "status": BALANCED},
            [A],
            [("", 30080, "external"), ("10.96.0.10", 80, "cluster"), ("203.0.113.5", 80, "external")],
        ),
        (
            {
                "type": "LoadBalancer",
                "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5", "ipMode": "Proxy"}]}},
            },
            [A],
            [("10.96.0.10", 80, "cluster")],
        ),
        # What an update of the type has left behind is not served.
        ({"ports": NODE_PORT, "status": BALANCED}, [A], [("10.96.0.10", 80, "cluster")]),
    ],
)
def test_frontends(spec: dict[str, Any], given: list[Any], frontends: list[tuple[str, int, Any]]) -> None:
    rule = one(service(**spec), endpoint_slice(*given))
    assert rule.frontends == tuple(Frontend(*f) for f in frontends)


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        ({"clusterIP": "None"}, {}),
        ({"clusterIP": ""}, {}),
        ({"type": "ExternalName", "externalName": "example.com", "clusterIP": ""}, {}),
        ({}, {"service.kubernetes.io/service-proxy-name": "other"}),
    ],
)
def test_services_that_are_not_ours(spec: dict[str, Any], labels: dict[str, str]) -> None:
    assert rule_set([service(labels=labels, **spec)], [endpoint_slice(A)], NODE) == RuleSet(NODE)


def test_affinity_has_a_default_timeout() -> None:
    own = {"clientIP": {"timeoutSeconds": 60}}
    assert one(service(sessionAffinity="ClientIP")).affinity_s == 10800
    assert one(service(sessionAffinity="ClientIP", sessionAffinityConfig=own)).affinity_s == 60
    assert one(service(sessionAffinity="None", sessionAffinityConfig=own)).affinity_s == 0


def test_source_ranges_hold_for_load_balancer_addresses_only() -> None:
    made = service(
        type="LoadBalancer",
        status=BALANCED,
        externalIPs=["192.0.2.7"],
        loadBalancerSourceRanges=["198.51.100.0/24", " 192.0.2.9/32 ", "2001:db8::/32"],
    )
    sources = {f.ip: f.sources for f in one(made, endpoint_slice(A)).frontends}
    assert sources == {
        "10.96.0.10": (),
        "192.0.2.7": (),
        "203.0.113.5": ("192.0.2.9/32", "198.51.100.0/24"),
    }


def test_each_family_has_its_own_rules() -> None:
    made = service(clusterIPs=["10.96.0.10", "fd00:96::10"], ipFamilies=["IPv4", "IPv6"])
    slices = (endpoint_slice(A), endpoint_slice("fd00:88::2", name="six", family="IPv6"))
    four, six = rule_set([made], slices, NODE).services
    assert (four.family, four.cluster_ip, endpoints(four)[0]) == (4, "10.96.0.10", [A])
    assert (six.family, six.cluster_ip, endpoints(six)[0]) == (6, "fd00:96::10", ["fd00:88::2"])
    assert four.key != six.key


def test_health_check_port_tells_how_many_endpoints_are_here() -> None:
    made = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=31000)
    rules = rule_set([made], [endpoint_slice(A, B, remote(FAR))], NODE)
    assert rules.health_checks == (HealthCheck("default", "web", 31000, 2),)
    everywhere = msgspec.structs.replace(made.spec, externalTrafficPolicy="Cluster")
    made = msgspec.structs.replace(made, spec=everywhere)
    assert rule_set([made], [endpoint_slice(A)], NODE).health_checks == ()


def test_a_book_kept_service_by_service_says_the_same_as_everything_at_once() -> None:
    services = [service(name, clusterIP=f"10.96.0.{i}") for i, name in enumerate("cab", 10)]
    slices = [endpoint_slice(A, service=name) for name in "ab"]
    book = RuleBook(NODE)
    for made in services:
        book.put(("default", made.metadata.name or ""), made, slices)
    assert book.rules() == rule_set(services, slices, NODE)
    book.put(("default", "b"), None, slices)
    assert book.rules() == rule_set(services[:2], slices, NODE)
