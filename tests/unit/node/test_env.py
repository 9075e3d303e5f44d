"""Environments, expansion, downward fields, service variables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.env import EnvSources, container_env, env_needs
from sampan.node.errors import ConfigError
from sampan.node.expansion import expand, expand_strictly
from sampan.node.service_env import service_env
from sampan.schema import api, codec
from tests.unit.node.bench import NODE
from tests.unit.node.fakes import container, make_pod

SOURCES = EnvSources(
    config_maps={"settings": api.ConfigMap(data={"color": "blue", "bad=name": "x"})},
    secrets={"keys": api.Secret(data={"token": b"s3cret"})},
    services={"KUBERNETES_SERVICE_HOST": "10.96.0.1"},
)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A", "$A"),
        ("$", "$"),
        ("$(A", "$(A"),
        ("cost: $$5", "cost: $5"),
        ("$(A)$", "1$"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == result


@given(st.text(alphabet="ab $()", max_size=20))
def test_text_with_every_dollar_doubled_expands_to_itself(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"a": "1"}) == text


def test_strict_expansion_refuses_what_is_missing() -> None:
    assert expand_strictly("$(A)/x", {"A": "1"}) == "1/x"
    with pytest.raises(ConfigError, match="missing value for 'B'"):
        expand_strictly("$(B)", {"A": "1"})


def resolve(env: list[dict[str, Any]], env_from: list[dict[str, Any]] | None = None) -> dict[str, str]:
    spec = container(env=env, envFrom=env_from or [], resources={"limits": {"cpu": "1500m"}})
    pod = make_pod(containers=[spec], meta={"labels": {"app": "web"}}, serviceAccountName="robot")
    values = container_env(pod, pod.spec.containers[0], SOURCES, NODE, ("10.0.0.9",))
    values.pop("KUBERNETES_SERVICE_HOST", None)
    return values


def field(path: str) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "web-uid"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "robot"),
        ("status.hostIP", "192.0.2.1"),
        ("status.podIP", "10.0.0.9"),
    ],
)
def test_field_refs(path: str, value: str) -> None:
    assert resolve([field(path)]) == {"V": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "", "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1m", "1500"),
        ("limits.memory", "1Mi", "8192"),
        ("limits.memory", "", str(8 << 30)),
        ("requests.memory", "", "0"),
    ],
)
def test_resource_field_refs(resource: str, divisor: str, value: str) -> None:
    ref = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    assert resolve([{"name": "V", "valueFrom": {"resourceFieldRef": ref}}]) == {"V": value}


def test_sources_and_references_between_variables() -> None:
    env = [
        {"name": "A", "value": "$(color) $(KUBERNETES_SERVICE_HOST) $(LATER)"},
        {"name": "LATER", "value": "x"},
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "P_color", "value": "own"},
    ]
    env_from = [
        {"configMapRef": {"name": "settings"}},
        {"prefix": "P_", "configMapRef": {"name": "settings"}},
    ]
    assert resolve(env, env_from) == {
        "color": "blue",
        "P_color": "own",
        "A": "blue 10.96.0.1 $(LATER)",
        "LATER": "x",
        "T": "s3cret",
    }


@pytest.mark.parametrize(
    ("env", "env_from", "message"),
    [
        ([], [{"configMapRef": {"name": "none"}}], 'configmap "none" not found'),
        ([], [{"secretRef": {"name": "none"}}], 'secret "none" not found'),
        (
            [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "size"}}}],
            [],
            "couldn't find key size in ConfigMap default/settings",
        ),
        (
            [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "x"}}}],
            [],
            "couldn't find key x in Secret default/keys",
        ),
        ([field("status.phase")], [], "unsupported fieldPath: status.phase"),
    ],
)
def test_what_is_missing_is_said_in_kubelets_words(
    env: list[dict[str, Any]], env_from: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve(env, env_from)
    assert str(raised.value) == message


def test_what_is_optional_may_be_missing() -> None:
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k", "optional": True}}},
    ]
    assert resolve(env, [{"secretRef": {"name": "none", "optional": True}}]) == {}


def test_needs_name_what_has_to_be_read() -> None:
    spec = container(
        env=[{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}],
        envFrom=[{"secretRef": {"name": "s"}}],
    )
    needs = env_needs(make_pod(containers=[spec]).spec.containers[0])
    assert (needs.config_maps, needs.secrets) == ({"m"}, {"s"})


def service(name: str, namespace: str, ip: str, *ports: dict[str, Any]) -> api.Service:
    return codec.from_builtins(
        {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": list(ports)},
        },
        api.Service,
    )


SERVICES = [
    service("kubernetes", "default", "10.96.0.1", {"name": "https", "port": 443}),
    service(
        "my-db", "shop", "10.96.0.7", {"port": 5432}, {"name": "admin-ui", "port": 80, "protocol": "UDP"}
    ),
    service("headless", "shop", "None", {"port": 1}),
    service("elsewhere", "other", "10.96.0.8", {"port": 1}),
]


def test_service_variables() -> None:
    assert service_env(SERVICES, "shop") == {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        "KUBERNETES_PORT": "tcp://10.96.0.1:443",
        "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": "443",
        "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_ADMIN_UI": "80",
        "MY_DB_PORT": "tcp://10.96.0.7:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.0.7:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.0.7",
        "MY_DB_PORT_80_UDP": "udp://10.96.0.7:80",
        "MY_DB_PORT_80_UDP_PROTO": "udp",
        "MY_DB_PORT_80_UDP_PORT": "80",
        "MY_DB_PORT_80_UDP_ADDR": "10.96.0.7",
    }


def test_without_service_links_only_the_api_server_is_told_of() -> None:
    assert {k.split("_")[0] for k in service_env(SERVICES, "shop", False)} == {"KUBERNETES"}
