from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core import service as services
from sampan.kinds.core.service_update import prepare_update
from sampan.kinds.core.service_validation import validate_service_status_update
from tests.unit.kinds.core.objects import cells, data, errors, made, update_errors


def service(spec: dict[str, Any] | None = None, *, create: bool = True, **others: Any) -> Any:
    whole = {"ports": [{"port": 80}], **(spec or {})}
    obj = made("Service", {"metadata": {"name": "web", "namespace": "default"}, "spec": whole, **others})
    if create:
        services.prepare_create(obj)
    return obj


def spec_of(spec: dict[str, Any]) -> Any:
    return data(service(spec))["spec"]


def test_a_plain_service() -> None:
    assert data(service())["spec"] == {
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    assert data(service())["status"] == {"loadBalancer": {}}


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ({"type": "NodePort"}, "externalTrafficPolicy", "Cluster"),
        ({"type": "LoadBalancer"}, "allocateLoadBalancerNodePorts", True),
        ({"externalIPs": ["1.2.3.4"]}, "externalTrafficPolicy", "Cluster"),
        ({"clusterIP": "10.0.0.1"}, "clusterIPs", ["10.0.0.1"]),
        ({"clusterIP": "fd00::1"}, "ipFamilies", ["IPv6"]),
        ({"clusterIP": "None", "selector": {"a": "b"}}, "ipFamilyPolicy", "SingleStack"),
        ({"clusterIP": "None"}, "ipFamilyPolicy", "RequireDualStack"),
        ({"sessionAffinity": "ClientIP"}, "sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}}),
        (
            {"ports": [{"port": 80, "targetPort": "http"}]},
            "ports",
            [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
        ),
    ],
)
def test_defaults(spec: dict[str, Any], field: str, expected: Any) -> None:
    assert spec_of(spec)[field] == expected


def test_an_external_name_has_no_addresses() -> None:
    filled = spec_of({"type": "ExternalName", "externalName": "example.com", "ports": []})
    assert filled == {"externalName": "example.com", "sessionAffinity": "None", "type": "ExternalName"}


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"ports": []}, ["spec.ports: Required value"]),
    ({"clusterIP": "None", "ports": []}, []),
    (
        {"type": "Magic"},
        [
            'spec.type: Unsupported value: "Magic": '
            'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
        ],
    ),
    (
        {"type": "NodePort", "clusterIP": "None"},
        ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    ),
    ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
    (
        {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.0.0.1"},
        ["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
    ),
    (
        {"ports": [{"port": 80}, {"port": 81}]},
        ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    ),
    (
        {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
        ['spec.ports[1].name: Duplicate value: "a"'],
    ),
    (
        {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
        ['spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}'],
    ),
    (
        {"ports": [{"port": 0, "targetPort": 80}]},
        ["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    ),
    (
        {"ports": [{"port": 80, "nodePort": 30000}]},
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    (
        {
            "type": "NodePort",
            "ports": [
                {"port": 80, "name": "a", "nodePort": 30000},
                {"port": 81, "name": "b", "nodePort": 30000},
            ],
        },
        ["spec.ports[1].nodePort: Duplicate value: 30000"],
    ),
    (
        {"ports": [{"port": 80, "protocol": "QUIC"}]},
        [
            'spec.ports[0].protocol: Unsupported value: "QUIC": supported values: "SCTP", "TCP", "UDP"',
        ],
    ),
    (
        {"ports": [{"port": 80, "targetPort": "x--y"}]},
        ['spec.ports[0].targetPort: Invalid value: "x--y": must not contain consecutive hyphens'],
    ),
    (
        {"sessionAffinity": "Cookie"},
        [
            'spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"',
        ],
    ),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
        [
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: "
            "must be greater than 0 and less than 86400"
        ],
    ),
    (
        {"clusterIP": "here"},
        [
            'spec.clusterIPs[0]: Invalid value: "here": '
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        ],
    ),
    (
        {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]},
        ['spec.clusterIPs: Invalid value: ["10.0.0.2"]: first value must match `clusterIP`'],
    ),
    (
        {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"], "ipFamilies": ["IPv4"]},
        [
            'spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: '
            "may specify no more than one IP for each IP family"
        ],
    ),
    (
        {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv6"]},
        [
            'spec.clusterIPs[0]: Invalid value: "10.0.0.1": '
            "expected an IPv6 value as indicated by `ipFamilies[0]`"
        ],
    ),
    (
        {"externalIPs": ["127.0.0.1"]},
        [
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": '
            "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        ],
    ),
    (
        {"externalTrafficPolicy": "Local"},
        [
            'spec.externalTrafficPolicy: Invalid value: "Local": '
            "may only be set for externally-accessible services"
        ],
    ),
    (
        {"internalTrafficPolicy": "Far"},
        ['spec.internalTrafficPolicy: Unsupported value: "Far": supported values: "Cluster", "Local"'],
    ),
    (
        {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
        ["spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    ),
    (
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/40"]},
        [
            'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0/40": '
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        ],
    ),
    (
        {"loadBalancerClass": "x.y/z"},
        ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_validation(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("Service", service(spec)) == expected


def updated(new: dict[str, Any], old: dict[str, Any]) -> tuple[Any, Any]:
    before = service(old)
    after = service(new, create=False)
    prepare_update(after, before)
    return after, before


def test_an_update_keeps_what_was_given_out() -> None:
    given = {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30080}]}
    after, before = updated({"type": "NodePort", "ports": [{"port": 8080}]}, given)
    assert (after.spec.clusterIP, after.spec.clusterIPs) == ("10.0.0.1", ["10.0.0.1"])
    assert after.spec.ports[0].nodePort == 30080
    assert update_errors("Service", after, before) == []


def test_a_changed_type_drops_what_it_cannot_hold() -> None:
    given = {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30080}]}
    after, before = updated({**data(service(given))["spec"], "type": "ClusterIP"}, given)
    assert after.spec.ports[0].nodePort is None
    assert after.spec.allocateLoadBalancerNodePorts is None
    assert after.spec.externalTrafficPolicy is None
    assert errors("Service", after) == []
    assert update_errors("Service", after, before) == []


def test_becoming_an_external_name() -> None:
    given = {"clusterIP": "10.0.0.1"}
    spec = {**data(service(given))["spec"], "type": "ExternalName", "externalName": "example.com"}
    after, _ = updated(spec, given)
    assert errors("Service", after) == []
    assert after.spec.clusterIP is None


def test_the_cluster_ip_stays() -> None:
    after, before = updated({"clusterIP": "10.0.0.2"}, {"clusterIP": "10.0.0.1"})
    assert update_errors("Service", after, before) == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]


def test_the_load_balancer_class_stays() -> None:
    old = {"type": "LoadBalancer", "loadBalancerClass": "a.b/c"}
    after, before = updated({"type": "LoadBalancer", "loadBalancerClass": "a.b/d"}, old)
    assert update_errors("Service", after, before) == [
        'spec.loadBalancerClass: Invalid value: "a.b/d": may not change once set'
    ]


def test_only_load_balancers_report_ingress() -> None:
    reported = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}
    plain = service(create=False, status=reported)
    assert [str(error) for error in validate_service_status_update(plain, plain)] == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    ]
    balancer = service({"type": "LoadBalancer"}, create=False, status=reported)
    assert balancer.status.loadBalancer.ingress[0].ipMode == "VIP"
    assert validate_service_status_update(balancer, balancer) == []


@pytest.mark.parametrize(
    ("spec", "ingress", "expected"),
    [
        ({"clusterIP": "10.0.0.1"}, [], ("ClusterIP", "10.0.0.1", "<none>", "80/TCP")),
        ({"clusterIP": "None"}, [], ("ClusterIP", "None", "<none>", "80/TCP")),
        (
            {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30080}]},
            [],
            ("NodePort", "10.0.0.1", "<none>", "80:30080/TCP"),
        ),
        ({"type": "LoadBalancer"}, [], ("LoadBalancer", "<none>", "<pending>", "80/TCP")),
        (
            {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
            [{"ip": "2.2.2.2"}, {"hostname": "lb.example.com"}, {"ip": "1.1.1.1"}],
            ("LoadBalancer", "<none>", "1.1.1.1,2.2.2.2,lb.example.com,9.9.9.9", "80/TCP"),
        ),
        (
            {"type": "ExternalName", "externalName": "example.com", "ports": []},
            [],
            ("ExternalName", "<none>", "example.com", "<none>"),
        ),
    ],
)
def test_columns(spec: dict[str, Any], ingress: list[Any], expected: tuple[str, ...]) -> None:
    shown = cells("Service", service(spec, create=False, status={"loadBalancer": {"ingress": ingress}}))
    assert (shown["Type"], shown["Cluster-IP"], shown["External-IP"], shown["Port(s)"]) == (
        expected[0],
        "<none>" if expected[1] == "<none>" else expected[1],
        *expected[2:],
    )


def test_selector_column() -> None:
    assert cells("Service", service({"selector": {"b": "2", "a": "1"}}))["Selector"] == "a=1,b=2"
    assert cells("Service", service())["Selector"] == "<none>"
