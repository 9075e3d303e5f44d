"""Defaulting by schema, and nulls where none may be, as apiextensions' defaulting package has it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from sampan.kinds.custom.structural import Node


def default(value: Any, node: Node) -> None:
    """Fill, in place, what is absent and has a default; a null counts as absent where it may not be."""
    if not node.defaults_below:
        return
    if isinstance(value, dict):
        for name, field in node.properties.items():
            if field.has_default and (name not in value or _is_wrong_null(value[name], field)):
                value[name] = deepcopy(field.default)
        for name, item in value.items():
            child = node.child(name)
            if child is None:
                continue
            if item is None and child.has_default and not child.nullable and name not in node.properties:
                value[name] = item = deepcopy(child.default)
            if isinstance(item, (dict, list)):
                default(item, child)
    elif isinstance(value, list) and node.items is not None:
        for position, item in enumerate(value):
            if _is_wrong_null(item, node.items) and node.items.has_default:
                value[position] = item = deepcopy(node.items.default)
            if isinstance(item, (dict, list)):
                default(item, node.items)


def drop_nulls(value: Any, node: Node) -> None:
    """Remove, in place, fields and map values that are null and may not be."""
    if isinstance(value, dict):
        wrong: list[str] = []
        for name, item in value.items():
            child = node.child(name)
            if child is None:
                continue
            if item is None:
                if not child.nullable:
                    wrong.append(name)
            elif isinstance(item, (dict, list)):
                drop_nulls(item, child)
        for name in wrong:
            del value[name]
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if isinstance(item, (dict, list)):
                drop_nulls(item, node.items)


def _is_wrong_null(value: Any, node: Node) -> bool:
    return value is None and not node.nullable
