"""Fields that an older Kubernetes does not have: taken out of objects as if they were unknown.

Objects are structs of the newest version whatever version is served. What the served one has yet to get is
told by comparing the published definitions of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sampan.schema.definitions import Definitions, Schema, ref_of
from sampan.schema.names import attribute


class Newer:
    """The fields of one definition that are newer than the version served, and where more of them lie."""

    __slots__ = ("names", "parts")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.parts: dict[str, Newer] = {}

    def take(self, obj: Any, at: str = "") -> Iterator[str]:
        """Set the newer fields of a struct to what they are when absent; gives the path of each that was."""
        for name in self.names:
            member = attribute(name)
            absent = _absent(type(obj), member)
            if getattr(obj, member) != absent:
                setattr(obj, member, absent)
                yield f"{at}{name}"
        for name, part in self.parts.items():
            value = getattr(obj, attribute(name))
            if not value:
                continue
            if isinstance(value, list):
                for position, item in enumerate(value):
                    yield from part.take(item, f"{at}{name}[{position}].")
            elif isinstance(value, dict):
                for key, item in value.items():
                    yield from part.take(item, f"{at}{name}.{key}.")
            else:
                yield from part.take(value, f"{at}{name}.")


class _Compared(msgspec.Struct, frozen=True):
    """One definition beside its older self: the new fields, and the definitions of the others."""

    new: tuple[str, ...]
    parts: dict[str, str]


def newer_fields(full: str, newest: Definitions, served: Definitions) -> Newer | None:
    """What of the definition `full` is newer than `served`; None where nothing is."""
    compared: dict[str, _Compared] = {}
    _compare(full, newest, served, compared)
    leading = {name for name, each in compared.items() if each.new}
    while more := {
        name
        for name, each in compared.items()
        if name not in leading and not leading.isdisjoint(each.parts.values())
    }:
        leading |= more
    made = {name: Newer(compared[name].new) for name in leading}
    for name, newer in made.items():
        parts = compared[name].parts
        newer.parts = {field: made[part] for field, part in parts.items() if part in made}
    return made.get(full)


def _compare(full: str, newest: Definitions, served: Definitions, compared: dict[str, _Compared]) -> None:
    if full in compared:
        return
    after = newest.schemas[full].get("properties", {})
    before = served.schemas.get(full, {}).get("properties")
    if before is None:  # a whole type that is new hangs on a field that is
        compared[full] = _Compared((), {})
        return
    parts = {name: part for name in after if name in before and (part := _part(after[name])) is not None}
    compared[full] = _Compared(tuple(name for name in after if name not in before), parts)
    for part in parts.values():
        _compare(part, newest, served, compared)


def _part(schema: Schema) -> str | None:
    """The definition of a field's values: of the field, of a list's items, of a map's values."""
    for each in (schema, schema.get("items"), schema.get("additionalProperties")):
        if isinstance(each, dict) and (full := ref_of(each)) is not None:
            return full
    return None


def _absent(struct: type[msgspec.Struct], member: str) -> Any:
    for field in msgspec.structs.fields(struct):
        if field.name == member:
            if field.default_factory is not msgspec.NODEFAULT:
                return field.default_factory()
            return None if field.default is msgspec.NODEFAULT else field.default
    return None
