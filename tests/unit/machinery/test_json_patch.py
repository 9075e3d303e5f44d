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


@pytest.mark.parametrize("name", ["spec_tests.json", "tests.json"])
def test_the_corpus(name: str) -> None:
    cases = json.loads((shared("corpus/json-patch") / name).read_text())
    ran = 0
    for case in cases:
        if "patch" not in case or case.get("disabled"):
            continue
        ran += 1
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
            {"op": "replace", "path": "/x", "value": 1},
            "replace operation does not apply: doc is missing key: /x: missing value",
        ),
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
    with pytest.raises(PatchFailed, match="cannot move into itself"):
        apply({"a": {"b": {}}}, {"op": "move", "from": "/a", "path": "/a/b/c"})


def test_limits() -> None:
    with pytest.raises(PatchTooLarge) as refused:
        json_patch.check([{"op": "test", "path": "", "value": 1}] * 10_001)
    assert str(refused.value) == "The allowed maximum operations in a JSON patch is 10000, got 10001"
    assert refused.value.code == 413
    bomb = [{"op": "copy", "from": "", "path": f"/x{i}"} for i in range(30)]
    with pytest.raises(PatchFailed, match="accumulated size increase of copy"):
        apply({"a": "x" * 1000}, *bomb)


@pytest.mark.parametrize("data", [b"{", b"{}", b"[1]", b"["])
def test_what_is_no_patch(data: bytes) -> None:
    with pytest.raises(PatchMalformed):
        json_patch.decode(data)


@pytest.mark.parametrize("pointer", ["a", "/~2", "/~"])
def test_what_is_no_pointer(pointer: str) -> None:
    with pytest.raises(PatchError):
        json_patch.check([{"op": "remove", "path": pointer}])
