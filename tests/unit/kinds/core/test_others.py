"""Node, Event, Endpoints, ReplicationController, PodTemplate, ComponentStatus, Binding."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds import registry
from sampan.kinds.core import node as nodes
from sampan.kinds.core import replicationcontroller as controllers
from sampan.schema import api
from tests.unit.kinds.core.objects import ago, cells, container, data, errors, made, update_errors


def node(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **meta: Any) -> Any:
    return made("Node", {"metadata": {"name": "n", **meta}, "spec": spec or {}, "status": status or {}})


def test_allocatable_is_the_capacity() -> None:
    filled = node(status={"capacity": {"cpu": "2"}})
    assert data(filled)["status"]["allocatable"] == {"cpu": "2"}


def test_both_forms_of_the_pod_range() -> None:
    assert node({"podCIDR": "10.0.0.0/24"}).spec.podCIDRs == ["10.0.0.0/24"]
    assert node({"podCIDRs": ["10.0.0.0/24"]}).spec.podCIDR == "10.0.0.0/24"
    assert node({"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.0.0/24"]}).spec.podCIDRs == ["10.0.1.0/24"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"taints": [{"key": "k", "effect": "NoSchedule"}], "podCIDRs": ["10.0.0.0/24", "fd00::/64"]}, []),
        (
            {"taints": [{"key": "k", "effect": "Maybe"}]},
            [
                'metadata.taints[0].effect: Unsupported value: "Maybe": '
                'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'
            ],
        ),
        (
            {"taints": [{"key": "k", "effect": "NoSchedule"}, {"key": "k", "effect": "NoSchedule"}]},
            [
                'metadata.taints[1]: Duplicate value: {"Key":"k","Value":"","Effect":"NoSchedule",'
                '"TimeAdded":null}: '
                "taints must be unique by key and effect pair"
            ],
        ),
        (
            {"podCIDRs": ["10.0.0.0"]},
            [
                'spec.podCIDRs[0]: Invalid value: "10.0.0.0": '
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ],
        ),
        (
            {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]},
            [
                'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: '
                "may specify no more than one CIDR for each IP family"
            ],
        ),
    ],
)
def test_nodes(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("Node", node(spec)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"podCIDR": "10.0.0.0/24", "providerID": "x://1", "unschedulable": True}, []),
        (
            {"podCIDR": "10.0.0.0/24"},
            {"podCIDR": "10.0.1.0/24"},
            ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
        ),
        (
            {"providerID": "x://1"},
            {"providerID": "x://2"},
            ["spec.providerID: Invalid value: null: field cannot be modified once set"],
        ),
    ],
)
def test_updates_of_nodes(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert update_errors("Node", node(new), node(old)) == expected


def test_addresses_are_listed_once() -> None:
    address = {"type": "InternalIP", "address": "1.2.3.4"}
    twice = node(status={"addresses": [address, address]})
    assert [str(error) for error in nodes.validate_status_update(twice, twice)] == [
        'status.addresses[1]: Duplicate value: {"address":"1.2.3.4","type":"InternalIP"}'
    ]


def test_columns_of_nodes() -> None:
    labels = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"},
    }
    ready = node({"unschedulable": True}, status, labels=labels, creationTimestamp=ago(minutes=90))
    assert cells("Node", ready) == {
        "Name": "n",
        "Status": "Ready,SchedulingDisabled",
        "Roles": "control-plane,worker",
        "Age": "90m",
        "Version": "v1.37.0",
        "Internal-IP": "10.0.0.1",
        "External-IP": "<none>",
        "OS-Image": "Debian",
        "Kernel-Version": "<unknown>",
        "Container-Runtime": "<unknown>",
    }


@pytest.mark.parametrize(
    ("conditions", "word"),
    [([], "Unknown"), ([{"type": "Ready", "status": "Unknown"}], "NotReady")],
)
def test_status_of_nodes(conditions: list[Any], word: str) -> None:
    shown = cells("Node", node(status={"conditions": conditions}))
    assert (shown["Status"], shown["Roles"]) == (word, "<none>")


def event(**fields: Any) -> Any:
    meta = {"name": "e", "namespace": "team"}
    about = {"kind": "Pod", "name": "web", "namespace": "team"}
    return made("Event", {"metadata": meta, "involvedObject": about, **fields})


NEW = {
    "eventTime": "2030-01-02T11:59:00.000000Z",
    "reportingComponent": "example.com/x",
    "reportingInstance": "x-1",
    "action": "Binding",
    "reason": "Scheduled",
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        (NEW, []),
        (
            {"involvedObject": {"kind": "Pod", "namespace": "other"}},
            ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
        ),
        (
            {"involvedObject": {"kind": "Node"}},
            ['involvedObject.namespace: Invalid value: "": does not match event.namespace'],
        ),
        ({"involvedObject": {"kind": "Node"}, "metadata": {"name": "e", "namespace": "default"}}, []),
        (
            {**NEW, "action": "", "reason": "x" * 129, "message": "m" * 1025},
            [
                "action: Required value",
                'reason: Invalid value: "": can have at most 128 characters',
                'message: Invalid value: "": can have at most 1024 characters',
            ],
        ),
    ],
)
def test_events(fields: dict[str, Any], expected: list[str]) -> None:
    assert errors("Event", event(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "last", "first", "count"),
    [
        ({"firstTimestamp": ago(minutes=9), "lastTimestamp": ago(seconds=30), "count": 4}, "30s", "9m", 4),
        ({"eventTime": ago(seconds=60)}, "60s", "60s", 1),
        (
            {
                "eventTime": ago(minutes=5),
                "series": {"count": 7, "lastObservedTime": ago(seconds=2)},
            },
            "2s",
            "5m",
            7,
        ),
        ({}, "<unknown>", "<unknown>", 1),
    ],
)
def test_times_of_events(fields: dict[str, Any], last: str, first: str, count: int) -> None:
    shown = cells("Event", event(**fields))
    assert (shown["Last Seen"], shown["First Seen"], shown["Count"]) == (last, first, count)


def test_columns_of_events() -> None:
    shown = cells(
        "Event",
        event(
            type="Normal",
            reason="Pulled",
            message=" done \n",
            source={"component": "kubelet", "host": "n1"},
            involvedObject={"kind": "Pod", "name": "web", "namespace": "team", "fieldPath": "spec.x"},
        ),
    )
    assert list(shown) == [
        "Last Seen",
        "Type",
        "Reason",
        "Object",
        "Subobject",
        "Source",
        "Message",
        "First Seen",
        "Count",
        "Name",
    ]
    assert (shown["Object"], shown["Subobject"], shown["Source"]) == ("pod/web", "spec.x", "kubelet, n1")
    assert shown["Message"] == "done"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"source": {"component": "kubelet"}}, "kubelet"), ({"reportingComponent": "new"}, "new")],
)
def test_the_source_of_an_event(fields: dict[str, Any], expected: str) -> None:
    select = registry.by_type(api.Event).field_selectors["source"]
    assert select(event(**fields)) == expected


def endpoints(*subsets: dict[str, Any]) -> Any:
    return made("Endpoints", {"metadata": {"name": "web"}, "subsets": list(subsets)})


def addresses(*ips: str) -> list[dict[str, str]]:
    return [{"ip": ip} for ip in ips]


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({"addresses": addresses("10.0.0.1"), "ports": [{"port": 80}]}, []),
        ({}, ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        (
            {"addresses": addresses("169.254.1.1")},
            [
                'subsets[0].addresses[0].ip: Invalid value: "169.254.1.1": '
                "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
            ],
        ),
        (
            {"notReadyAddresses": addresses("10.0.0.1"), "ports": [{"port": 80}, {"port": 81, "name": "b"}]},
            ["subsets[0].ports[0].name: Required value"],
        ),
    ],
)
def test_endpoints(subset: dict[str, Any], expected: list[str]) -> None:
    assert errors("Endpoints", endpoints(subset)) == expected


@pytest.mark.parametrize(
    ("subsets", "expected"),
    [
        ([], "<none>"),
        ([{"addresses": addresses("10.0.0.1"), "ports": [{"port": 80}]}], "10.0.0.1:80"),
        ([{"addresses": addresses("fd00::1"), "ports": [{"port": 80}]}], "[fd00::1]:80"),
        ([{"addresses": addresses("10.0.0.1")}], "10.0.0.1"),
        (
            [{"addresses": addresses("10.0.0.1", "10.0.0.2"), "ports": [{"port": 80}, {"port": 81}]}],
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...",
        ),
    ],
)
def test_columns_of_endpoints(subsets: list[Any], expected: str) -> None:
    assert cells("Endpoints", endpoints(*subsets))["Endpoints"] == expected


def controller(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> Any:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container()]}}
    whole = {"template": template, **(spec or {})}
    return made("ReplicationController", {"metadata": {"name": "rc"}, "spec": whole, "status": status or {}})


def test_a_controller_takes_after_its_template() -> None:
    filled = controller()
    assert (filled.spec.replicas, filled.spec.selector) == (1, {"app": "web"})
    assert filled.metadata.labels == {"app": "web"}
    assert filled.spec.template.spec.restartPolicy == "Always"
    assert controller({"replicas": 0}).spec.replicas == 0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {"selector": {"app": "other"}},
            [
                'spec.template.metadata.labels: Invalid value: {"app":"web"}: '
                "`selector` does not match template `labels`"
            ],
        ),
        (
            {"template": {"spec": {"containers": [container()]}}},
            ["spec.selector: Required value"],
        ),
        (
            {
                "selector": {"a": "b"},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [container()], "restartPolicy": "Never"},
                },
            },
            [
                'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
            ],
        ),
    ],
)
def test_controllers(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("ReplicationController", controller(spec)) == expected


def test_counts_of_a_controller() -> None:
    wrong = controller(status={"replicas": 1, "readyReplicas": 2, "availableReplicas": 3})
    assert [str(error) for error in controllers.validate_status_update(wrong, wrong)] == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
    ]


def test_scale_and_columns_of_a_controller() -> None:
    kind, running = registry.by_type(api.ReplicationController), controller(status={"replicas": 3})
    assert kind.scale is not None
    kind.scale.set_replicas(running, 5)
    assert (kind.scale.get_replicas(running), kind.scale.status_replicas(running)) == (5, 3)
    assert kind.scale.selector(running) == "app=web"
    assert cells("ReplicationController", running) == {
        "Name": "rc",
        "Desired": 5,
        "Current": 3,
        "Ready": 0,
        "Age": "<unknown>",
        "Containers": "main",
        "Images": "example.com/app:1",
        "Selector": "app=web",
    }


def test_columns_of_pod_templates() -> None:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [container(), container(name="x")]},
    }
    assert cells("PodTemplate", made("PodTemplate", {"metadata": {"name": "t"}, "template": template})) == {
        "Name": "t",
        "Containers": "main,x",
        "Images": "example.com/app:1,example.com/app:1",
        "Pod Labels": "a=b",
    }


def test_columns_of_component_statuses() -> None:
    healthy = {"type": "Healthy", "status": "True", "message": "ok"}
    shown = cells(
        "ComponentStatus", made("ComponentStatus", {"metadata": {"name": "s"}, "conditions": [healthy]})
    )
    assert shown == {"Name": "s", "Status": "Healthy", "Message": "ok", "Error": ""}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"name": "n"}, []),
        ({"kind": "Node", "name": "n"}, []),
        ({}, ["target.name: Required value"]),
        (
            {"kind": "Pod", "name": "n"},
            ['target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"'],
        ),
    ],
)
def test_bindings(target: dict[str, Any], expected: list[str]) -> None:
    assert errors("Binding", made("Binding", {"metadata": {"name": "web"}, "target": target})) == expected
