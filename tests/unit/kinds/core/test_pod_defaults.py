from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core import pod as pods
from sampan.kinds.core.images import pull_policy
from sampan.kinds.core.qos import qos_class
from tests.unit.kinds.core.objects import container, data, made, pod


def spec_of(spec: dict[str, Any]) -> Any:
    return data(pod(spec))["spec"]


def test_a_plain_pod() -> None:
    assert spec_of({}) == {
        "containers": [
            {
                "name": "main",
                "image": "example.com/app:1",
                "imagePullPolicy": "IfNotPresent",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


def test_a_negative_grace_period_is_a_second() -> None:
    assert spec_of({"terminationGracePeriodSeconds": -1})["terminationGracePeriodSeconds"] == 1
    assert spec_of({"terminationGracePeriodSeconds": 0})["terminationGracePeriodSeconds"] == 0


def test_a_template_is_not_given_what_only_pods_get() -> None:
    limits = {"limits": {"cpu": "1"}}
    controller = made(
        "ReplicationController",
        {"spec": {"template": {"spec": {"containers": [container(resources=limits)], "hostNetwork": True}}}},
    )
    spec = data(controller)["spec"]["template"]["spec"]
    assert "enableServiceLinks" not in spec
    assert spec["containers"][0]["resources"] == limits
    assert spec["dnsPolicy"] == "ClusterFirst"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry.local:5000/team/app", "Always"),
        ("registry.local:5000/team/app:v1", "IfNotPresent"),
        ("app@sha256:" + "0" * 64, "IfNotPresent"),
        ("app:latest@sha256:" + "0" * 64, "Always"),
        ("", "IfNotPresent"),
        ("Not An Image", "IfNotPresent"),
    ],
)
def test_pull_policy_by_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize("name", ["livenessProbe", "readinessProbe", "startupProbe"])
def test_probes(name: str) -> None:
    probe = {"httpGet": {"port": 80}}
    filled = spec_of({"containers": [container(**{name: probe})]})["containers"][0][name]
    assert filled == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_what_is_set_stays() -> None:
    given = {
        "restartPolicy": "Never",
        "dnsPolicy": "Default",
        "schedulerName": "mine",
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
        "containers": [
            container(
                imagePullPolicy="Never",
                terminationMessagePath="/x",
                terminationMessagePolicy="FallbackToLogsOnError",
                livenessProbe={"exec": {"command": ["x"]}, "timeoutSeconds": 7, "periodSeconds": 8},
            )
        ],
    }
    filled = spec_of(given)
    assert filled["containers"][0]["livenessProbe"]["timeoutSeconds"] == 7
    for name in ("restartPolicy", "dnsPolicy", "schedulerName", "terminationGracePeriodSeconds"):
        assert filled[name] == given[name]
    assert filled["enableServiceLinks"] is False
    assert filled["containers"][0]["imagePullPolicy"] == "Never"


def test_ports_on_the_host_network() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 53, "hostPort": 53, "protocol": "UDP"}]
    filled = spec_of({"hostNetwork": True, "containers": [container(ports=ports)]})["containers"][0]["ports"]
    assert [(p["hostPort"], p["protocol"]) for p in filled] == [(80, "TCP"), (53, "UDP")]


def test_requests_follow_limits() -> None:
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}
    init = {**container(resources={"limits": {"cpu": "2"}}), "name": "init"}
    filled = spec_of({"containers": [container(resources=resources)], "initContainers": [init]})
    assert filled["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert filled["initContainers"][0]["resources"]["requests"] == {"cpu": "2"}


def test_amounts_are_rounded_up_to_thousandths() -> None:
    resources = {"requests": {"cpu": "100u", "memory": "1"}}
    filled = spec_of({"containers": [container(resources=resources)]})["containers"][0]["resources"]
    assert filled["requests"] == {"cpu": "1m", "memory": "1"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"serviceAccount": "old"}, ("old", "old")),
        ({"serviceAccountName": "new"}, ("new", "new")),
        ({"serviceAccount": "old", "serviceAccountName": "new"}, ("new", "new")),
    ],
)
def test_both_names_of_the_service_account(given: dict[str, str], expected: tuple[str, str]) -> None:
    filled = spec_of(given)
    assert (filled["serviceAccountName"], filled["serviceAccount"]) == expected


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({}, {"emptyDir": {}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "c"}}, {"configMap": {"name": "c", "defaultMode": 420}}),
        ({"configMap": {"name": "c", "defaultMode": 0}}, {"configMap": {"name": "c", "defaultMode": 0}}),
        ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
        (
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {
                "downwardAPI": {
                    "defaultMode": 420,
                    "items": [{"path": "p", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}],
                }
            },
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {
                "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}],
                }
            },
        ),
        (
            {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "metadata": {},
                        "spec": {"resources": {}, "volumeMode": "Filesystem"},
                    }
                }
            },
        ),
        ({"image": {"reference": "a:1"}}, {"image": {"reference": "a:1", "pullPolicy": "IfNotPresent"}}),
        ({"persistentVolumeClaim": {"claimName": "c"}}, {"persistentVolumeClaim": {"claimName": "c"}}),
    ],
)
def test_volumes(volume: dict[str, Any], expected: dict[str, Any]) -> None:
    assert spec_of({"volumes": [{"name": "v", **volume}]})["volumes"] == [{"name": "v", **expected}]


def test_environment_references() -> None:
    env = [
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ]
    filled = spec_of({"containers": [container(env=env)]})["containers"][0]["env"]
    assert filled[0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert filled[1]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"


@pytest.mark.parametrize(
    ("mine", "containers", "expected"),
    [
        # Requests come from what the containers request, and else from the limits.
        (
            {"limits": {"cpu": "2", "memory": "1Gi"}},
            [{"requests": {"cpu": "300m"}}, {"requests": {"cpu": "500m"}}],
            {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "800m", "memory": "1Gi"}},
        ),
        # Limits are summed only where all containers have one.
        (
            {"requests": {"cpu": "1", "memory": "1Gi"}},
            [{"limits": {"cpu": "1", "memory": "1Gi"}}, {"limits": {"cpu": "2"}}],
            {"limits": {"cpu": "3"}, "requests": {"cpu": "1", "memory": "1Gi"}},
        ),
    ],
)
def test_resources_of_the_whole_pod(
    mine: dict[str, Any], containers: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    listed = [container(name=f"c{i}", resources=resources) for i, resources in enumerate(containers)]
    assert spec_of({"resources": mine, "containers": listed})["resources"] == expected


def test_a_new_pod_is_pending_whatever_its_author_says() -> None:
    fresh = pod(status={"phase": "Running", "podIP": "10.0.0.1"})
    pods.prepare_create(fresh)
    assert data(fresh.status) == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_gated_pod_says_so() -> None:
    fresh = pod({"schedulingGates": [{"name": "example.com/wait"}]})
    pods.prepare_create(fresh)
    assert data(fresh.status)["conditions"] == [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }
    ]


def test_label_keys_become_requirements() -> None:
    term = {
        "topologyKey": "zone",
        "labelSelector": {},
        "matchLabelKeys": ["app", "absent"],
        "mismatchLabelKeys": ["tenant"],
    }
    fresh = pod(
        {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}},
        metadata={"name": "web", "labels": {"app": "a", "tenant": "t"}},
    )
    pods.prepare_create(fresh)
    required = fresh.spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]
    assert data(required)["labelSelector"]["matchExpressions"] == [
        {"key": "app", "operator": "In", "values": ["a"]},
        {"key": "tenant", "operator": "NotIn", "values": ["t"]},
    ]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1"}}], "Burstable"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "0", "memory": "0"}}], "BestEffort"),
        ([{"limits": {"example.com/gpu": "1"}}], "BestEffort"),
    ],
)
def test_quality_of_service(resources: list[dict[str, Any]], expected: str) -> None:
    listed = [container(name=f"c{i}", resources=r) for i, r in enumerate(resources)]
    assert qos_class(pod({"containers": listed}).spec) == expected


@pytest.mark.parametrize(
    ("spec", "phase", "expected"),
    [
        ({}, "Pending", 0),
        ({"nodeName": "n"}, "Running", 30),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 5}, "Running", 5),
        ({"nodeName": "n", "terminationGracePeriodSeconds": -1}, "Running", 1),
        ({"nodeName": "n"}, "Succeeded", 0),
        ({"nodeName": "n"}, "Failed", 0),
    ],
)
def test_grace_period(spec: dict[str, Any], phase: str, expected: int) -> None:
    assert pods.grace_period_s(pod(spec, status={"phase": phase}), None) == expected
    asked = 60 if expected else 0
    assert pods.grace_period_s(pod(spec, status={"phase": phase}), 60) == asked


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"podIP": "10.0.0.1"}, ("10.0.0.1", ["10.0.0.1"])),
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, ("10.0.0.1", ["10.0.0.1", "fd00::1"])),
        ({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]}, ("10.0.0.2", ["10.0.0.2"])),
        ({}, (None, [])),
    ],
)
def test_both_forms_of_the_pod_addresses(status: dict[str, Any], expected: tuple[Any, list[str]]) -> None:
    filled = pod(status=status).status
    assert (filled.podIP, [address.ip for address in filled.podIPs]) == expected


UNCONFINED = {"type": "Unconfined"}
LOCAL = {"type": "Localhost", "localhostProfile": "p"}


@pytest.mark.parametrize(
    ("annotation", "of_pod", "of_container", "copied", "warned"),
    [
        ("unconfined", None, None, UNCONFINED, True),
        ("runtime/default", None, None, {"type": "RuntimeDefault"}, True),
        ("localhost/p", None, None, LOCAL, True),
        ("localhost/p", UNCONFINED, None, LOCAL, True),
        ("localhost/p", None, LOCAL, LOCAL, False),
        ("unconfined", UNCONFINED, None, None, False),
        ("localhost/", None, None, None, True),
        ("localhost/ p", None, None, None, True),
        ("localhost/" + "p" * 4096, None, None, None, True),
        ("other", None, None, None, True),
    ],
)
def test_app_armor_annotations_become_fields(
    annotation: str, of_pod: Any, of_container: Any, copied: Any, warned: bool
) -> None:
    key = "container.apparmor.security.beta.kubernetes.io/main"
    context = {"securityContext": {"appArmorProfile": of_container}} if of_container else {}
    whole = {"securityContext": {"appArmorProfile": of_pod}} if of_pod else {}
    new = pod({"containers": [container(**context)], **whole})
    new.metadata.annotations = {key: annotation}
    assert pods.KIND.early_warnings is not None
    words = 'deprecated since v1.30; use the "appArmorProfile" field instead'
    assert pods.KIND.early_warnings(new) == ([f"metadata.annotations[{key}]: {words}"] if warned else [])
    pods.prepare_create(new)
    found = data(new)["spec"]["containers"][0].get("securityContext", {}).get("appArmorProfile")
    assert found == copied


def test_pods_of_windows_have_no_app_armor() -> None:
    new = pod({"os": {"name": "windows"}})
    new.metadata.annotations = {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
    pods.prepare_create(new)
    assert pods.KIND.early_warnings is not None
    assert pods.KIND.early_warnings(new) == []
    assert "securityContext" not in data(new)["spec"]["containers"][0]
