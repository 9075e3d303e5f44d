"""What is decoded for field selectors alone says the same as the whole object."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core import pod
from sampan.kinds.registry import KNOWN
from sampan.schema import api, codec

PODS: tuple[dict[str, Any], ...] = (
    {},
    {"spec": {"nodeName": "node-1", "restartPolicy": "Never", "schedulerName": "mine"}},
    {"spec": {"serviceAccountName": "builder", "hostNetwork": True, "containers": [{"name": "main"}]}},
    {"status": {"phase": "Running", "podIP": "10.0.0.1", "nominatedNodeName": "node-2"}},
    {"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "qosClass": "BestEffort"}},
    {"metadata": {"name": "web", "labels": {"spec": "x"}}, "spec": {"hostNetwork": False}},
)


@pytest.mark.parametrize("given", PODS)
def test_a_pods_fields(given: dict[str, Any]) -> None:
    data = codec.encode(codec.from_builtins(given, api.Pod))
    whole, part = codec.decode(data, api.Pod), codec.decode(data, pod.Selected)
    for name, value in pod.KIND.field_selectors.items():
        assert value(part) == value(whole), name


def test_no_field_is_forgotten() -> None:
    """A selector that reads what the part does not have fails for every object, not only where it is set."""
    for kind in KNOWN:
        if kind.selected is not None:
            empty = kind.selected()
            assert all(isinstance(value(empty), str) for value in kind.field_selectors.values()), kind.kind
