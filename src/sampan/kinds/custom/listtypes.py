"""Lists whose items are told apart: none of a set or keyed list comes twice. Embedded resources are whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sampan.kinds.custom.structural import Node
from sampan.kinds.custom.validation import key_of
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema.custom import object_meta


def list_errors(value: Any, node: Node, at: str = "") -> list[FieldError]:
    """Duplicates in sets and keyed lists."""
    return list(_lists(value, node, at)) if node.shapes_below else []


def embedded_errors(value: Any, node: Node, at: str = "") -> list[FieldError]:
    """What is missing or wrong in the embedded resources of a value."""
    return list(_embedded(value, node, at)) if node.shapes_below else []


def _lists(value: Any, node: Node, at: str) -> Iterator[FieldError]:
    if isinstance(value, dict):
        for name, item in value.items():
            child = node.child(name)
            if child is not None and child.shapes_below and isinstance(item, (dict, list)):
                yield from _lists(item, child, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        if node.list_type in ("set", "map"):
            yield from _duplicates(value, node, at)
        if node.items is not None and node.items.shapes_below:
            for position, item in enumerate(value):
                yield from _lists(item, node.items, f"{at}[{position}]")


def _duplicates(value: list[Any], node: Node, at: str) -> Iterator[FieldError]:
    seen: set[bytes] = set()
    keys = list(node.list_keys)
    for position, item in enumerate(value):
        shown: Any = item
        if node.list_type == "map":
            if not isinstance(item, dict):
                continue
            key = key_of(item, keys)
            shown = {name: item[name] for name in keys if name in item}
        else:
            key = msgspec.json.encode(item, order="sorted")
        if key in seen:
            yield field.duplicate(Path(f"{at}[{position}]"), shown)
        seen.add(key)


def _embedded(value: Any, node: Node, at: str) -> Iterator[FieldError]:
    if isinstance(value, dict):
        if node.embedded and at:
            yield from _resource(value, at)
        for name, item in value.items():
            child = node.child(name)
            if child is not None and child.shapes_below and isinstance(item, (dict, list)):
                yield from _embedded(item, child, f"{at}.{name}" if at else name)
    elif isinstance(value, list) and node.items is not None and node.items.shapes_below:
        for position, item in enumerate(value):
            yield from _embedded(item, node.items, f"{at}[{position}]")


def _resource(value: dict[str, Any], at: str) -> Iterator[FieldError]:
    path = Path(at)
    for name in ("apiVersion", "kind"):
        text = value.get(name)
        if not text or not isinstance(text, str):
            yield field.required(path[name], "must not be empty")
    kind = value.get("kind")
    if isinstance(kind, str) and kind:
        for message in names.dns1035_label(kind.lower()):
            detail = f"may have mixed case, but should otherwise match: {message}"
            yield field.invalid(path["kind"], kind, detail)
    if "metadata" in value:
        try:
            typed = object_meta(value["metadata"])
        except ValueError as problem:
            yield field.invalid(path["metadata"], value["metadata"], str(problem))
            return
        at_meta = path["metadata"]
        if typed.name:
            for message in names.dns1123_subdomain(typed.name):
                yield field.invalid(at_meta["name"], typed.name, message)
        yield from meta.validate_labels(typed.labels, at_meta["labels"])
        yield from meta.validate_annotations(typed.annotations, at_meta["annotations"])
