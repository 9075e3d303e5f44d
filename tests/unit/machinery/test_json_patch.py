from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.machinery.patch import json_patch
from sampan.machinery.patch.errors import PatchError, PatchFailed, PatchMalformed, PatchTooLarge
from sampan.machinery.patch.values import equal
from tests.shared import shared


def apply(document: Any, *operations: dict[str, Any]) -> Any:
    return json_patch.apply(document, json_patch.check(list(operations)))


# Cases of the standard's tests that the library of Kubernetes answers otherwise: it puts nothing in the
# place of the whole document, counts from the end of a list, and takes what is not there for null.
OTHERWISE = {
    (json.dumps(document), json.dumps([operation]))
    for document, operation in (
        ({}, {"op": "add", "path": "", "value": []}),
        ([], {"op": "add", "path": "", "value": {}}),
        ({"foo": "bar"}, {"op": "add", "path": "", "value": {"baz": "qux"}}),
        ({"bar": [1, 2]}, {"op": "add", "path": "/bar/-1", "value": "5"}),
        ([1], {"op": "add", "path": "/-"}),
        ([1], {"op": "replace", "path": "/0"}),
        ([None], {"op": "test", "path": "/0"}),
        ({"foo": 1}, {"op": "copy", "from": "/bar", "path": "/foo"}),
        (["foo", "bar"], {"op": "test", "path": "/00", "value": "foo"}),
        (["foo", "bar"], {"op": "test", "path": "/01", "value": "bar"}),
    )
}


@pytest.mark.parametrize("name", ["spec_tests.json", "tests.json"])
def test_the_corpus(name: str) -> None:
    cases = json.loads((shared("corpus/json-patch") / name).read_text())
    ran = 0
    for case in cases:
        if "patch" not in case or case.get("disabled"):
            continue
        ran += 1
        if (json.dumps(case["doc"]), json.dumps(case["patch"])) in OTHERWISE:
            continue
        if "error" in case:
            with pytest.raises(PatchError):
                apply(case["doc"], *case["patch"])
        else:
            result = apply(case["doc"], *case["patch"])
            assert equal(result, case.get("expected", case["doc"])), case
    assert ran > 15


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            {"op": "add", "path": "/x/y", "value": 1},
            'add operation does not apply: doc is missing path: "/x/y": missing value',
        ),
        (
            {"op": "remove", "path": "/x"},
            "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
        ),
        (
            {"op": "replace", "path": "/l/0", "value": 1},
            "replace operation does not apply: doc is missing key: /l/0: missing value",
        ),
        (
            {"op": "add", "path": "", "value": {}},
            'add operation does not apply: doc is missing path: "": missing value',
        ),
        (
            {"op": "move", "from": "/x", "path": "/y"},
            "error in move for path: 'x': Unable to remove nonexistent key: x: missing value",
        ),
        ({"op": "fly", "path": "/a"}, "Unexpected kind: fly"),
        ({"path": "/a"}, "Unexpected kind: unknown"),
        ({"op": "test", "path": "/a", "value": 2}, "testing value /a failed: test failed"),
        (
            {"op": "copy", "from": "/x/y", "path": "/z"},
            "copy operation does not apply: doc is missing from path: /x/y: missing value",
        ),
        (
            {"op": "add", "path": "/l/7", "value": 1},
            "error in add for path: '/l/7': Unable to access invalid index: 7: invalid index referenced",
        ),
    ],
)
def test_refusals(operation: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchFailed) as refused:
        apply({"a": 1, "l": []}, operation)
    assert str(refused.value) == message
    assert refused.value.code == 422


def test_the_document_is_left_alone() -> None:
    document = {"a": {"b": [1]}}
    value = {"c": []}
    result = apply(
        document,
        {"op": "add", "path": "/a/b/0", "value": value},
        {"op": "add", "path": "/a/b/0/c/-", "value": 1},
    )
    assert document == {"a": {"b": [1]}}
    assert value == {"c": []}
    assert result == {"a": {"b": [{"c": [1]}, 1]}}


def test_an_absent_key_tests_equal_to_null() -> None:
    assert apply({}, {"op": "test", "path": "/x", "value": None}) == {}


def test_true_is_not_one() -> None:
    with pytest.raises(PatchFailed):
        apply({"a": True}, {"op": "test", "path": "/a", "value": 1})


def test_a_value_cannot_move_into_itself() -> None:
    with pytest.raises(PatchFailed, match="missing destination path"):
        apply({"a": {"b": {}}}, {"op": "move", "from": "/a", "path": "/a/b/c"})


def test_limits() -> None:
    with pytest.raises(PatchTooLarge) as refused:
        json_patch.check([{"op": "test", "path": "", "value": 1}] * 10_001)
    assert str(refused.value) == "The allowed maximum operations in a JSON patch is 10000, got 10001"
    assert refused.value.code == 413
    bomb = [{"op": "copy", "from": "/a", "path": f"/a/x{i}"} for i in range(30)]
    with pytest.raises(PatchFailed, match="accumulated size increase of copy"):
        apply({"a": {"b": "x" * 1000}}, *bomb)


@pytest.mark.parametrize("data", [b"{", b"{}", b"[1]", b"["])
def test_what_is_no_patch(data: bytes) -> None:
    with pytest.raises(PatchMalformed):
        json_patch.decode(data)


@pytest.mark.parametrize(
    ("pointer", "parts"),
    [("", ()), ("a", None), ("a/b", ("b",)), ("/~2", ("~2",)), ("/~", ("~",)), ("/a~1b/~0c", ("a/b", "~c"))],
)
def test_pointers_as_the_library_of_kubernetes_reads_them(pointer: str, parts: Any) -> None:
    assert json_patch.pointer(pointer) == parts


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "replace", "path": "/x", "value": 1}, {"a": [1, 2], "x": 1}),
        ({"op": "add", "path": "/x"}, {"a": [1, 2], "x": None}),
        ({"op": "copy", "from": "/none", "path": "/x"}, {"a": [1, 2], "x": None}),
        ({"op": "add", "path": "/a/-1", "value": 3}, {"a": [1, 2, 3]}),
        ({"op": "remove", "path": "/a/-1"}, {"a": [1]}),
        ({"op": "replace", "path": "/a/-2", "value": 0}, {"a": [0, 2]}),
        ({"op": "add", "path": "/a/01", "value": 3}, {"a": [1, 3, 2]}),
    ],
)
def test_what_kube_apiserver_does_beyond_the_standard(operation: dict[str, Any], result: Any) -> None:
    assert apply({"a": [1, 2]}, operation) == result


def test_members_that_no_operation_has() -> None:
    patch = b'[{"op":"add","path":"/x","value":1,"zz":1},{"op":"remove","path":"/x"},null]'
    assert json_patch.unknown_fields(patch) == ["[0].zz"]
    assert json_patch.unknown_fields(b"null") == []
