"""The environment of containers: every kind of source, and what happens when one is missing."""

from __future__ import annotations

import pytest

from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster, lines_of

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]


def field(name: str, path: str) -> dict[str, object]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.conformance("Variable Expansion should allow composing env vars into new env vars")
@pytest.mark.conformance("Variable Expansion should allow substituting values in a container's args")
@pytest.mark.conformance("Variable Expansion should allow substituting values in a container's command")
def test_values_expand_what_is_defined_before_them(cluster: Cluster) -> None:
    env = [
        {"name": "FIRST", "value": "one"},
        {"name": "SECOND", "value": "$(FIRST)-two"},
        {"name": "ESCAPED", "value": "$$(FIRST)"},
        {"name": "UNKNOWN", "value": "$(NOBODY)"},
        {"name": "EARLY", "value": "$(LATE)"},
        {"name": "LATE", "value": "late"},
        {"name": "EMPTY", "value": ""},
    ]
    pod = cluster.pod(
        container={
            "command": ["sh", "-c", 'env; echo "ARGS=$0 $1"; echo "COMMAND=$(SECOND)"'],
            "args": ["$(SECOND)", "$$(SECOND) $(NOBODY)"],
            "env": env,
        }
    )
    pod.over()
    seen = lines_of(pod.log())
    assert seen["SECOND"] == "one-two"
    assert seen["ESCAPED"] == "$(FIRST)"
    assert seen["UNKNOWN"] == "$(NOBODY)"
    assert seen["EARLY"] == "$(LATE)"
    assert seen["EMPTY"] == ""
    assert seen["ARGS"] == "one-two $(SECOND) $(NOBODY)"
    assert seen["COMMAND"] == "one-two"


@pytest.mark.conformance("ConfigMap should be consumable as environment variable names with various prefixes")
@pytest.mark.conformance("ConfigMap should be consumable via environment variable")
@pytest.mark.conformance("ConfigMap should be consumable via the environment")
@pytest.mark.conformance(
    "Secrets should be consumable as environment variable names variable names with various prefixes"
)
@pytest.mark.conformance("Secrets should be consumable from pods in env vars")
@pytest.mark.conformance("Secrets should be consumable via the environment")
def test_config_maps_and_secrets(cluster: Cluster) -> None:
    cluster.config_map("env-map", color="red", shape="round", **{"with.dot": "dotted"})
    cluster.secret("env-secret", password="s3cret", user="admin")
    env = [
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "env-map", "key": "color"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "password"}}},
        {
            "name": "NO_KEY",
            "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "x", "optional": True}},
        },
        {"name": "NO_MAP", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        {"name": "user", "value": "$(M_color)"},
    ]
    sources = [
        {"prefix": "M_", "configMapRef": {"name": "env-map"}},
        {"secretRef": {"name": "env-secret"}},
        {"prefix": "p.", "configMapRef": {"name": "env-map"}},
        {"prefix": "s-", "secretRef": {"name": "env-secret"}},
        {"configMapRef": {"name": "none", "optional": True}},
    ]
    # Not through a shell: it would drop names that it cannot use.
    given = {"command": ["env"], "env": env, "envFrom": sources}
    seen = lines_of(cluster.output(container=given))
    assert (seen["COLOR"], seen["PASSWORD"]) == ("red", "s3cret")
    assert (seen["M_shape"], seen["M_with.dot"], seen["password"]) == ("round", "dotted", "s3cret")
    assert (seen["p.shape"], seen["s-password"]) == ("round", "s3cret")
    assert seen["user"] == "red"  # env wins over envFrom
    assert not {"NO_KEY", "NO_MAP"} & set(seen)


def test_a_missing_config_map_is_named_and_waited_for(cluster: Cluster) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late-map", "key": "a"}}}]
    pod = cluster.pod("echo A=$A", container={"env": env})
    assert pod.waits("CreateContainerConfigError") == 'configmap "late-map" not found'
    assert pod.get().status.phase == "Pending"
    pod.told("Failed", 'Error: configmap "late-map" not found')
    cluster.config_map("late-map", other="x")
    pod.until(
        lambda p: f"couldn't find key a in ConfigMap {NAMESPACE}/late-map" in str(p.status.containerStatuses),
        "missing the key",
    )
    cluster.patch(api.ConfigMap, "late-map", {"data": {"a": "here"}})
    assert pod.over().status.phase == "Succeeded"
    assert pod.log() == "A=here"


@pytest.mark.conformance("Downward API should provide host IP as an env var")
@pytest.mark.conformance("Downward API should provide hostIPs as an env var")
@pytest.mark.conformance("Downward API should provide pod UID as env vars")
@pytest.mark.conformance("Downward API should provide pod name, namespace and IP address as env vars")
def test_fields_of_the_pod(cluster: Cluster) -> None:
    paths = {
        "NAME": "metadata.name",
        "SPACE": "metadata.namespace",
        "ID": "metadata.uid",
        "LABEL": "metadata.labels['app']",
        "NOTE": "metadata.annotations['example.com/note']",
        "NODE": "spec.nodeName",
        "ACCOUNT": "spec.serviceAccountName",
        "HOST": "status.hostIP",
        "HOSTS": "status.hostIPs",
        "IP": "status.podIP",
        "IPS": "status.podIPs",
    }
    pod = cluster.pod(
        "env",
        labels={"app": "fields"},
        annotations={"example.com/note": "well noted"},
        container={"env": [field(name, path) for name, path in paths.items()]},
    )
    status = pod.over().status
    seen = lines_of(pod.log())
    assert {name: seen[name] for name in paths} == {
        "NAME": pod.name,
        "SPACE": NAMESPACE,
        "ID": pod.uid,
        "LABEL": "fields",
        "NOTE": "well noted",
        "NODE": "node-1",
        "ACCOUNT": "default",
        "HOST": status.hostIP,
        "HOSTS": status.hostIP,
        "IP": status.podIP,
        "IPS": status.podIP,
    }


@pytest.mark.conformance(
    "Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars"
)
def test_resources_of_the_container(cluster: Cluster) -> None:
    wanted = {
        "CPU_LIMIT": ("limits.cpu", "1m", "400"),
        "CPU_REQUEST": ("requests.cpu", None, "1"),  # rounded up
        "MEMORY_LIMIT": ("limits.memory", "1Mi", "64"),
        "MEMORY_REQUEST": ("requests.memory", None, str(32 << 20)),
    }
    env = [
        {
            "name": name,
            "valueFrom": {"resourceFieldRef": {"resource": what} | ({"divisor": by} if by else {})},
        }
        for name, (what, by, _) in wanted.items()
    ]
    resources = {"limits": {"cpu": "400m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}
    seen = lines_of(cluster.output("env", container={"env": env, "resources": resources}))
    assert {name: seen[name] for name in wanted} == {name: value for name, (_, _, value) in wanted.items()}


@pytest.mark.conformance("Downward API should provide default limits.cpu/memory from node allocatable")
def test_without_limits_they_are_the_nodes(cluster: Cluster) -> None:
    env = [
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
    ]
    seen = lines_of(cluster.output("env", container={"env": env}))
    node = cluster.run(cluster.client.get(api.Node, "node-1"))
    assert int(seen["CPU"]) == node.status.allocatable["cpu"].whole()
    assert int(seen["MEMORY"]) == node.status.allocatable["memory"].whole()


@pytest.mark.conformance("Pods should contain environment variables for services")
@pytest.mark.parametrize("links", [True, False])
def test_services_of_the_namespace(cluster: Cluster, links: bool) -> None:
    seen = lines_of(cluster.output("env", enableServiceLinks=links))
    assert seen["KUBERNETES_SERVICE_PORT"] == "443"
    assert seen["KUBERNETES_PORT"].startswith("tcp://")
    assert ("EARLY_BIRD_SERVICE_HOST" in seen) is links
    if links:
        host = seen["EARLY_BIRD_SERVICE_HOST"]
        assert seen["EARLY_BIRD_PORT_7070_TCP"] == f"tcp://{host}:7070"
        assert seen["EARLY_BIRD_PORT_7070_TCP_ADDR"] == host
