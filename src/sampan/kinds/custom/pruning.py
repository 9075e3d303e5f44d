"""Pruning: what a schema does not specify goes, as apiextensions' pruning package has it."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.custom.structural import Node
from sampan.schema.custom import known_meta

_RESOURCE_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata"})


def prune(content: dict[str, Any], schema: Node) -> list[str]:
    """Remove from a custom resource, in place, what its schema does not specify; the paths of what went."""
    gone: list[str] = []
    _prune(content, schema, "", gone, embedded=True)
    return gone


def _prune(value: Any, node: Node | None, at: str, gone: list[str], *, embedded: bool = False) -> None:
    if isinstance(value, dict):
        _prune_map(value, node, at, gone, embedded=embedded or (node is not None and node.embedded))
    elif isinstance(value, list):
        items = node.items if node is not None else None
        if items is None and node is not None and node.preserve:
            return
        for position, item in enumerate(value):
            if isinstance(item, (dict, list)):
                _prune(item, items, f"{at}[{position}]", gone)


def _prune_map(value: dict[str, Any], node: Node | None, at: str, gone: list[str], *, embedded: bool) -> None:
    unknown: list[str] = []
    for name, item in value.items():
        if embedded and name in _RESOURCE_FIELDS:
            if at and name == "metadata" and isinstance(item, dict):
                value[name], strange = known_meta(item)
                gone += [f"{at}.metadata.{path}" for path in strange]
            continue
        child = node.child(name) if node is not None else None
        if child is not None:
            if isinstance(item, (dict, list)):
                _prune(item, child, f"{at}.{name}" if at else name, gone)
        elif node is None or not node.preserve:
            unknown.append(name)
    for name in unknown:
        del value[name]
        gone.append(f"{at}.{name}" if at else name)
