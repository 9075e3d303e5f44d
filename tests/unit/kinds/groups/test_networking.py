# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery import names

from .objects import cells, data, errors, made, update_errors

SERVICE = {"service": {"name": "web", "port": {"number": 80}}}


def ingress(*paths: dict[str, Any], host: str = "example.com", **spec: Any) -> dict[str, Any]:
    rules = [{"host": host, "http": {"paths": list(paths)}}]
    return {"spec": {"rules": rules, **spec}}


def path(path: str = "/", type: str = "Prefix", **backend: Any) -> dict[str, Any]:
    return {"path": path, "pathType": type, "backend": backend or SERVICE}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ingress(path()), []),
        ({"spec": {"defaultBackend": SERVICE}}, []),
        (
            {"spec": {}},
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
        ),
        (ingress(), ["spec.rules[0].http.paths: Required value"]),
        (
            ingress(
                path("web", "Exact"), path("/a//b"), path("/..", "Exact"), path("x", "Guess"), path(type="")
            ),
            [
                'spec.rules[0].http.paths[0].path: Invalid value: "web": must be an absolute path',
                "spec.rules[0].http.paths[1].path: Invalid value: \"/a//b\": must not contain '//'",
                "spec.rules[0].http.paths[2].path: Invalid value: \"/..\": cannot end with '/..'",
                'spec.rules[0].http.paths[3].pathType: Unsupported value: "Guess": supported values: "Exact", '
                '"ImplementationSpecific", "Prefix"',
                "spec.rules[0].http.paths[4].pathType: Required value: pathType must be specified",
            ],
        ),
        (
            ingress(path(service={"name": "web"}), path(service={"name": "Web", "port": {"number": 70000}})),
            [
                "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
                'spec.rules[0].http.paths[1].backend.service.name: Invalid value: "Web": '
                + names.dns1123_label("Web")[0],
                "spec.rules[0].http.paths[1].backend.service.port.number: Invalid value: 70000: must be between "
                "1 and 65535, inclusive",
            ],
        ),
        (
            ingress(path(), host="10.0.0.1"),
            ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
        ),
        (
            {
                **ingress(path(), ingressClassName="a"),
                "metadata": {"annotations": {"kubernetes.io/ingress.class": "b"}},
            },
            [
                'metadata.annotations.kubernetes.io/ingress.class: Invalid value: "b": can not be set when the '
                "class field is also set"
            ],
        ),
    ],
)
def test_ingresses(value: dict[str, Any], expected: list[str]) -> None:
    assert errors("Ingress", value) == expected


def test_cells_of_an_ingress() -> None:
    rules = [{"host": f"{name}.example.com"} for name in "abcde"]
    status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.2"}, {"hostname": "a.lb"}]}}
    value = {"spec": {"rules": rules, "tls": [{}], "ingressClassName": "nginx"}, "status": status}
    assert list(cells("Ingress", value).values()) == [
        "web",
        "nginx",
        "a.example.com,b.example.com,c.example.com + 2 more...",
        "10.0.0.2,a.lb",
        "80, 443",
        "60m",
    ]
    assert list(cells("Ingress", {}).values()) == ["web", "<none>", "*", "", "80", "60m"]


def test_an_ingress_class_stays_with_its_controller() -> None:
    def value(controller: str, **parameters: Any) -> dict[str, Any]:
        return {"spec": {"controller": controller, **({"parameters": parameters} if parameters else {})}}

    obj = made("IngressClass", value("acme.io/lb", kind="Config", name="one"))
    assert obj.spec.parameters.scope == "Cluster"
    assert errors("IngressClass", value("")) == ["spec.controller: Required value"]
    assert errors("IngressClass", value("a.io/b", kind="K", name="n", scope="Namespace")) == [
        "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"
    ]
    assert update_errors("IngressClass", value("a.io/c"), value("a.io/b")) == [
        'spec.controller: Invalid value: "a.io/c": field is immutable'
    ]
    shown = cells("IngressClass", value("a.io/b", apiGroup="k.io", kind="Config", name="one"))
    assert list(shown.values()) == ["web", "a.io/b", "Config.k.io/one", "60m"]


def test_a_network_policy_is_about_what_it_has_rules_for() -> None:
    spec = data(made("NetworkPolicy", {"spec": {"egress": [{"ports": [{"port": 53}]}]}}))["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]
    assert spec["podSelector"] == {}
    assert made("NetworkPolicy", {"spec": {}}).spec.policyTypes == ["Ingress"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"ingress": [{"from": [{}]}]},
            ["spec.ingress[0].from[0]: Required value: must specify a peer"],
        ),
        (
            {
                "ingress": [
                    {"ports": [{"port": 9, "endPort": 5}, {"endPort": 5}, {"port": "x!", "protocol": "ICMP"}]}
                ]
            },
            [
                "spec.ingress[0].ports[0].endPort: Invalid value: 5: must be greater than or equal to `port`",
                "spec.ingress[0].ports[1].endPort: Invalid value: 5: may not be specified when `port` is not "
                "specified",
                'spec.ingress[0].ports[2].protocol: Unsupported value: "ICMP": supported values: "TCP", '
                '"UDP", "SCTP"',
                'spec.ingress[0].ports[2].port: Invalid value: "x!": must contain only alpha-numeric characters '
                "(a-z, 0-9), and hyphens (-)",
            ],
        ),
        (
            {
                "egress": [
                    {
                        "to": [
                            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}, "podSelector": {}},
                            {"ipBlock": {"cidr": "here"}},
                        ]
                    }
                ]
            },
            [
                'spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/8": must be a strict subset '
                "of `cidr`",
                "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
                'spec.egress[0].to[1].ipBlock.cidr: Invalid value: "here": must be a valid CIDR value, (e.g. '
                "10.9.8.0/24 or 2001:db8::/64)",
            ],
        ),
        (
            {"policyTypes": ["Sideways"]},
            ['spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'],
        ),
    ],
)
def test_invalid_network_policies(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("NetworkPolicy", {"spec": spec}) == expected


def test_cells_of_network_policies_and_addresses() -> None:
    selector = {"matchLabels": {"app": "web"}}
    assert cells("NetworkPolicy", {"spec": {"podSelector": selector}})["Pod-Selector"] == "app=web"
    assert cells("NetworkPolicy", {})["Pod-Selector"] == "<none>"
    parent = {"resource": "services", "namespace": "default", "name": "web"}
    shown = cells("IPAddress", {"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}})
    assert list(shown.values()) == ["10.0.0.1", "services/default/web"]
    shown = cells("ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/16", "fd00::/112"]}})
    assert shown["CIDRs"] == "10.0.0.0/16,fd00::/112"


def test_addresses_and_ranges_are_written_one_way() -> None:
    assert errors("IPAddress", {}) == ["spec.parentRef: Required value"]
    assert errors("ServiceCIDR", {"spec": {}}) == ["spec.cidrs: Required value: at least one CIDR required"]
    assert errors("ServiceCIDR", {"spec": {"cidrs": ["10.0.0.1/16"]}}) == [
        'spec.cidrs[0]: Invalid value: "10.0.0.1/16": must be in canonical form ("10.0.0.0/16")'
    ]
    assert errors("ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/16", "10.1.0.0/16"]}})[0].endswith(
        "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
    )
    one, both = {"spec": {"cidrs": ["10.0.0.0/16"]}}, {"spec": {"cidrs": ["10.0.0.0/16", "fd00::/112"]}}
    assert update_errors("ServiceCIDR", both, one) == []
    assert update_errors("ServiceCIDR", one, both) == [
        'spec.cidrs: Invalid value: ["10.0.0.0/16"]: field is immutable'
    ]
