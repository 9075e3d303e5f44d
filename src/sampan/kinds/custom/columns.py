"""Printer columns of custom resources, and what their field selectors compare."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.kinds.custom.definition import PrinterColumn, SelectableField, Version
from sampan.kinds.kind import AGE, NAME, Column, human_duration
from sampan.machinery import jsonpath
from sampan.machinery.jsonpath import JsonPath, JsonPathError
from sampan.schema import codec
from sampan.schema.custom import CustomObject

# Of custom resources kube-apiserver says that it is a date.
_AGE: Final = msgspec.structs.replace(AGE, type="date")


def columns(version: Version) -> tuple[Column, ...]:
    """The columns of a version: the name, and those it asks for or the age."""
    if not version.additionalPrinterColumns:
        return (NAME, _AGE)
    return (NAME, *(_column(asked) for asked in version.additionalPrinterColumns))


def field_selectors(version: Version) -> dict[str, Callable[[Any], str]]:
    """Selectable fields by their labels: `.spec.color` is asked for as `spec.color`."""
    return {chosen.jsonPath.removeprefix("."): _selector(chosen) for chosen in version.selectableFields}


def _column(asked: PrinterColumn) -> Column:
    path = _parsed(asked.jsonPath)

    def value(obj: Any, now: datetime) -> Any:
        if path is None:
            return None
        found = path.first(document(obj, path))
        return None if found is None else _cell(found, asked.type, now)

    description = (
        asked.description or f"Custom resource definition column (in JSONPath format): {asked.jsonPath}"
    )
    return Column(asked.name, value, asked.type, description, asked.priority, asked.format)


def document(obj: CustomObject, path: JsonPath | None = None) -> Any:
    """The object as plain JSON, for paths into it. Paths outside of metadata do not need it encoded."""
    if path is not None and path.text.lstrip("{$").startswith((".spec", ".status")):
        return obj.content
    return codec.to_builtins(obj)


def _parsed(text: str) -> JsonPath | None:
    try:
        return jsonpath.parse(text)
    except JsonPathError:
        return None


def _cell(value: Any, kind: str, now: datetime) -> Any:
    match kind:
        case "integer":
            return int(value) if _is_number(value) else None
        case "number":
            return value if _is_number(value) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return _age(value, now) if isinstance(value, str) else None
        case "string":
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _age(text: str, now: datetime) -> str:
    try:
        then = datetime.fromisoformat(text)
        return human_duration((now - then).total_seconds())
    except (ValueError, TypeError):  # TypeError: a time without its zone
        return "<invalid>"


def _selector(chosen: SelectableField) -> Callable[[Any], str]:
    path = _parsed(chosen.jsonPath)

    def value(obj: CustomObject) -> str:
        found = path.first(document(obj, path)) if path is not None else None
        if found is None:
            return ""
        return found if isinstance(found, str) else msgspec.json.encode(found).decode()

    return value
