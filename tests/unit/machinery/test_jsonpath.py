from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery import jsonpath
from sampan.machinery.jsonpath import JsonPathError

DOCUMENT = {
    "metadata": {"name": "web", "labels": {"a.b/c": "x", "plain": "y"}},
    "spec": {"ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53}], "replicas": 3},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "n": 2, "ok": True},
            {"type": "Other", "status": "False", "n": 5},
        ]
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".metadata.name", ["web"]),
        ("metadata.name", ["web"]),
        ("{.metadata.name}", ["web"]),
        ("$.metadata.name", ["web"]),
        (".metadata.labels['a.b/c']", ["x"]),
        (r".metadata.labels.a\.b/c", ["x"]),
        (".spec.ports[0].port", [80]),
        (".spec.ports[-1].name", ["dns"]),
        (".spec.ports[7].name", []),
        (".spec.ports[*].port", [80, 53]),
        (".spec.ports[0:1].port", [80]),
        (".spec.ports[0,1].port", [80, 53]),
        (".spec.ports[*]['name','port']", ["http", "dns", 80, 53]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type != 'Ready')].status", ["False"]),
        (".status.conditions[?(@.n > 2)].type", ["Other"]),
        (".status.conditions[?(@.n <= 2)].type", ["Ready"]),
        (".status.conditions[?(@.ok)].type", ["Ready"]),
        (".status.conditions[?(@.ok==true)].type", ["Ready"]),
        (".status.conditions[?(@.n==true)].type", []),
        ("..port", [80, 53]),
        ("..type", ["Ready", "Other"]),
        (".metadata.labels.*", ["x", "y"]),
        (".absent.deeper", []),
        (".metadata.name.deeper", []),
        ("", [DOCUMENT]),
    ],
)
def test_find(path: str, found: list[Any]) -> None:
    assert jsonpath.parse(path).find(DOCUMENT) == found


def test_what_kubectl_prints() -> None:
    assert jsonpath.parse(".spec.ports[*].port").shown(DOCUMENT) == "80 53"
    assert jsonpath.parse(".spec.ports[0]").shown(DOCUMENT) == '{"name":"http","port":80}'
    assert jsonpath.parse(".spec.replicas").first(DOCUMENT) == 3
    assert jsonpath.parse(".nothing").first(DOCUMENT) is None


@pytest.mark.parametrize(
    "path", [".a[", ".a[x y]", ".a[?(@.b==c)]", ".a[0:1:0]", ".a b", ".a.'", ".a[?(@.b='x')"]
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(JsonPathError, match="JSONPath"):
        jsonpath.parse(path)
