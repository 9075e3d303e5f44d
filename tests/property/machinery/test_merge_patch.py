from __future__ import annotations

from typing import Any

from hypothesis import assume, example, given

from sampan.machinery.patch import json_patch, merge_patch
from sampan.machinery.patch.values import copy, equal
from tests.property.machinery.documents import objects, values


@given(objects(), objects())
@example({"d": [[0]]}, {"d": [[False]]})
@example({"d": {"a": 1}}, {"d": {"a": True}})
def test_the_difference_makes_the_one_of_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert equal(merge_patch.apply(old, merge_patch.diff(old, new)), new)


@given(objects())
def test_an_empty_patch_changes_nothing(document: dict[str, Any]) -> None:
    assert equal(merge_patch.apply(document, {}), document)
    assert merge_patch.diff(document, copy(document)) == {}


@given(objects(), objects(nulls=True))
def test_merging_twice_is_merging_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch.apply(document, patch)
    assert equal(merge_patch.apply(once, patch), once)


@given(objects(), objects(nulls=True))
def test_the_arguments_are_left_alone(document: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy(document), copy(patch)
    merge_patch.apply(document, patch)
    assert equal(document, before[0])
    assert equal(patch, before[1])


@given(values(nulls=True), values(nulls=True))
def test_replacing_the_whole_document(old: Any, new: Any) -> None:
    assume(isinstance(new, (dict, list)))  # the library of Kubernetes takes no other for a document
    operations = json_patch.check([{"op": "replace", "path": "", "value": new}])
    assert equal(json_patch.apply(old, operations), new)
    assert equal(json_patch.apply(new, json_patch.check([{"op": "test", "path": "", "value": new}])), new)
