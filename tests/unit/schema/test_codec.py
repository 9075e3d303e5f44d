from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sampan.machinery.quantity import quantity
from sampan.schema import api, codec
from sampan.schema.custom import CustomObject

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


@pytest.mark.parametrize(
    "obj",
    [
        api.Pod(),
        api.Secret(metadata=api.ObjectMeta(name="a", creationTimestamp=MOMENT), data={"k": b"\x00\xff"}),
        api.Container(name="c", resources=api.ResourceRequirements(limits={"cpu": quantity("0.5")})),
        api.Event(lastTimestamp=MOMENT, involvedObject=api.ObjectReference(name="x")),
        api.ControllerRevision(data={"a": [1, 1.5, True, None, {"b": "c"}]}, revision=3),
        api.IngressBackend(service=api.IngressServiceBackend(name="s")),
        CustomObject.from_json({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}, "n": [None]}),
        [api.ObjectMeta(labels={"a": "b"}), None, 1],
    ],
)
def test_plain_values_are_what_json_holds(obj: Any) -> None:
    plain = codec.to_builtins(obj)
    assert msgspec.json.encode(plain) == codec.encode(obj)
    assert plain == msgspec.json.decode(codec.encode(obj))


def test_plain_values_share_nothing_with_the_object() -> None:
    data = {"a": [{"b": 1}]}
    plain = codec.to_builtins(api.ControllerRevision(data=data))
    plain["data"]["a"][0]["b"] = 2
    assert data == {"a": [{"b": 1}]}


@pytest.mark.parametrize("of", ["replicas", "paused", "metadata", "template", "selector"])
@pytest.mark.parametrize("value", [1, 1.0, 1.5, True, None, "1", "x", [], {}, [1], {"name": 1}])
def test_plain_values_are_read_as_json_is(of: str, value: Any) -> None:
    document = {"spec": {of: value}} if of != "metadata" else {of: value}

    def read(how: Any) -> Any:
        try:
            return codec.encode(how())
        except msgspec.ValidationError as refused:
            return str(refused)

    direct = read(lambda: codec.from_builtins(document, api.Deployment))
    assert direct == read(lambda: codec.decode(msgspec.json.encode(document), api.Deployment))
