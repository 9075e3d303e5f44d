"""Every kind, with every field filled: defaults settle, cells can be made, checks do not fall over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sampan.kinds.groups import CONVERSIONS, KINDS, OPTIONAL, Conversion
from sampan.kinds.kind import Kind
from sampan.schema import codec
from tests.shared import ABSENT, SHARED

FIXTURES = SHARED / "corpus" / "api-fixtures"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# These two live outside kubernetes/api, whose fixtures they are.
WITHOUT = ("APIService", "CustomResourceDefinition")
PUBLISHED = [kind for kind in KINDS if kind.kind not in WITHOUT]
STORED = [kind for kind in PUBLISHED if not kind.virtual]
EVERY = [*PUBLISHED, *OPTIONAL]


def of(kind: Kind) -> bytes:
    path = FIXTURES / f"{kind.group}.{kind.version}.{kind.kind}.json"
    if not path.exists():
        pytest.skip(f"{path} {ABSENT}")
    return path.read_bytes()


def named(kind: Kind) -> str:
    return f"{kind.api_version}/{kind.kind}"


@pytest.mark.parametrize("kind", EVERY, ids=named)
def test_defaults_settle(kind: Kind) -> None:
    obj = codec.decode(of(kind), kind.type)
    kind.default(obj)
    once = codec.encode(obj)
    kind.default(obj)
    assert codec.encode(obj) == once


@pytest.mark.parametrize("kind", [*KINDS, *OPTIONAL], ids=named)
def test_defaults_fill_what_is_empty_and_settle(kind: Kind) -> None:
    obj = kind.type()
    kind.default(obj)
    once = codec.encode(obj)
    again = codec.decode(once, kind.type)
    kind.default(again)
    assert codec.encode(again) == once


@pytest.mark.parametrize("kind", STORED, ids=named)
def test_cells_and_checks_take_any_object(kind: Kind) -> None:
    for obj in (codec.decode(of(kind), kind.type), kind.type()):
        obj.metadata.name = "one"
        kind.default(obj)
        cells = [column.value(obj, NOW) for column in kind.columns]
        assert len(cells) == len(kind.columns) >= 2
        assert all(isinstance(cell, (str, int, bool)) for cell in cells), cells
        for error in kind.validate(obj):
            assert str(error).partition(":")[0]
        assert kind.validate_update(obj, codec.copy(obj)) == []
        for select in kind.field_selectors.values():
            assert isinstance(select(obj), str)


@pytest.mark.parametrize("kind", [k for k in STORED if k.status], ids=named)
def test_checks_of_the_status_take_any_object(kind: Kind) -> None:
    obj = codec.decode(of(kind), kind.type)
    kind.default(obj)
    for error in kind.validate_status_update(obj, codec.copy(obj)):
        assert str(error)


@pytest.mark.parametrize("kind", [k for k in STORED if k.status], ids=named)
def test_something_new_has_no_status_of_its_makers(kind: Kind) -> None:
    obj = codec.decode(of(kind), kind.type)
    kind.prepare_create(obj)
    # Counts that are always there begin at nothing.
    assert not any(codec.to_builtins(obj.status).values())


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: named(c.served))
def test_conversion_there_and_back_loses_nothing(conversion: Conversion) -> None:
    for kind, there, back in (
        (conversion.served, conversion.to_hub, conversion.from_hub),
        (conversion.hub, conversion.from_hub, conversion.to_hub),
    ):
        path = FIXTURES / f"{kind.group or 'core'}.{kind.version}.{kind.kind}.json"
        if not path.exists():
            pytest.skip(f"{path} {ABSENT}")
        obj = codec.decode(path.read_bytes(), kind.type)
        before = codec.encode(obj)
        assert codec.encode(back(there(obj))) == before
        assert codec.encode(obj) == before
