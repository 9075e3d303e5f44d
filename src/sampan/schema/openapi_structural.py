"""Schemas of custom resource definitions as the documents of each version of OpenAPI have them."""

from __future__ import annotations

from typing import Any

from sampan.schema.definitions import Schema


def shown(schema: Schema, *, v2: bool) -> Schema:
    """A copy of a structural schema. For version 2 without what its readers stumble over."""
    made: Schema = dict(schema)
    if v2:
        _plain(made)
    elif made.get("x-kubernetes-int-or-string") and "anyOf" not in made:
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(properties := made.get("properties"), dict):
        made["properties"] = {name: shown(each, v2=v2) for name, each in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = shown(made[key], v2=v2)
    return made


def _plain(made: dict[str, Any]) -> None:
    """Leave out, of one level, what version 2 has no words for or kubectl's reader of it no use."""
    for key in ("default", "allOf"):
        made.pop(key, None)
    free, nullable = made.get("x-kubernetes-preserve-unknown-fields"), made.pop("nullable", False)
    if free or nullable:
        made.pop("items", None)
        made.pop("properties", None)
    if (
        nullable
        or (free and made.get("type") == "object")
        or (made.get("type") == "array" and "items" not in made)
    ):
        made.pop("type", None)
    properties = made.get("properties")
    if isinstance(properties, dict) and "required" in made:
        nulls = {name for name, each in properties.items() if each.get("nullable")}
        made["required"] = [name for name in made["required"] if name not in nulls]
        if not made["required"]:
            del made["required"]
