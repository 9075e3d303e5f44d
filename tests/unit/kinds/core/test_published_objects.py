"""The objects that kubernetes/api publishes, with every field filled, and objects that people use."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml

from sampan.kinds.core import KINDS
from sampan.kinds.kind import Kind
from sampan.schema import codec
from sampan.schema.definitions import GroupVersionKind
from tests.shared import ABSENT, SHARED

CORPUS = SHARED / "corpus"
FIXTURES = CORPUS / "api-fixtures"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def published(kind: Kind) -> bytes:
    path = FIXTURES / f"core.v1.{kind.kind}.json"
    if not path.exists():
        pytest.skip(f"{path} {ABSENT}")
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_defaulting_twice_is_defaulting_once(kind: Kind) -> None:
    obj = codec.decode(published(kind), kind.type)
    kind.default(obj)
    once = codec.encode(obj)
    kind.default(obj)
    assert codec.encode(obj) == once
    again = codec.decode(once, kind.type)
    kind.default(again)
    assert codec.encode(again) == once


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_error_has_a_field_and_words(kind: Kind) -> None:
    obj = codec.decode(published(kind), kind.type)
    kind.default(obj)
    for error in (*kind.validate(obj), *kind.validate_update(obj, obj)):
        assert ": " in str(error)
        assert "kubernetes" not in error.field.lower() or "[" in error.field


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "published"])
def test_every_cell_and_field_selector_has_a_value(kind: Kind, empty: bool) -> None:
    obj = kind.type() if empty else codec.decode(published(kind), kind.type)
    kind.default(obj)
    for column in kind.columns:
        value = column.value(obj, NOW)
        assert isinstance(value, (str, int)) or (column.name == "Name" and empty)
    for name, get in kind.field_selectors.items():
        assert isinstance(get(obj), str), name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_an_update_that_changes_nothing_is_allowed(kind: Kind) -> None:
    obj = codec.decode(published(kind), kind.type)
    kind.default(obj)
    same = codec.copy(obj)
    kind.prepare_update(same, obj)
    changed = [error for error in kind.validate_update(same, obj) if "immutable" in str(error)]
    assert changed == []


@pytest.mark.parametrize("folder", ["manifests", "pod-security"])
def test_what_people_use_is_valid(folder: str) -> None:
    """Pods that a pod security level refuses are still valid pods."""
    files = sorted((CORPUS / folder).rglob("*.yaml"))
    if not files:
        pytest.skip(f"{CORPUS / folder} {ABSENT}")
    checked = 0
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            if not document or document["apiVersion"] != "v1":
                continue
            kind = next(k for k in KINDS if k.gvk == GroupVersionKind("", "v1", document["kind"]))
            obj = codec.from_builtins(document, kind.type)
            kind.default(obj)
            kind.prepare_create(obj)
            assert [str(error) for error in kind.validate(obj)] == [], file
            checked += 1
    assert checked > 0
