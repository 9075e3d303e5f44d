"""What is the same to Kubernetes though it is written otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.schema import api, codec
from sampan.schema.semantic import changes, same


def container(**fields: Any) -> Any:
    return codec.from_builtins({"name": "c", **fields}, api.Container)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"workingDir": ""}),
        ({}, {"tty": False, "args": [], "resources": {}}),
        ({"env": [{"name": "a"}]}, {"env": [{"name": "a", "value": ""}]}),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "1000m"}}}),
        ({"livenessProbe": {"initialDelaySeconds": 0}}, {"livenessProbe": {}}),
    ],
)
def test_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same(container(**one), container(**other))
    assert same(container(**other), container(**one))


@pytest.mark.parametrize(
    ("one", "other", "field"),
    [
        ({}, {"workingDir": "/"}, "workingDir"),
        ({}, {"restartPolicy": ""}, "restartPolicy"),
        ({}, {"securityContext": {}}, "securityContext"),
        ({"securityContext": {}}, {"securityContext": {"runAsUser": 0}}, "securityContext"),
        ({"env": [{"name": "a"}]}, {"env": [{"name": "b"}]}, "env"),
        ({"args": ["a"]}, {"args": ["a", "b"]}, "args"),
    ],
)
def test_not_the_same(one: dict[str, Any], other: dict[str, Any], field: str) -> None:
    old, new = container(**one), container(**other)
    assert not same(old, new)
    assert [name for name, _, _ in changes(old, new)] == [field]


def test_amounts_may_be_absent() -> None:
    none, zero = api.RollingUpdateDeployment(), api.RollingUpdateDeployment(maxSurge=0)
    assert not same(none, zero)


def test_things_of_different_types() -> None:
    assert not same(api.Pod(), api.Service())
    assert not same({"a": 1}, [1])
    assert not same([1], {"a": 1})
    assert not same({"a": 1}, {"b": 1})
