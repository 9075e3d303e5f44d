"""Objects for the tests of this folder: written as plain data, decoded, filled in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sampan.kinds import registry
from sampan.schema import codec
from sampan.schema.definitions import GroupVersionKind

NOW = datetime.fromisoformat("2030-01-02T12:00:00+00:00")


def made(kind: str, value: dict[str, Any], *, default: bool = True) -> Any:
    """`value` as a struct of a core kind, with its defaults."""
    found = registry.by_gvk(GroupVersionKind("", "v1", kind))
    assert found is not None
    obj = codec.from_builtins(value, found.type)
    if default:
        found.default(obj)
    return obj


def data(obj: Any) -> Any:
    return codec.to_builtins(obj)


def pod(spec: dict[str, Any] | None = None, **others: Any) -> Any:
    """A pod with one container, whose spec is overlaid with `spec`."""
    whole = {"containers": [container()], **(spec or {})}
    meta = {"name": "web", "namespace": "default"}
    return made("Pod", {"metadata": meta, "spec": whole, **others})


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": "example.com/app:1", **fields}


def errors(kind: str, obj: Any) -> list[str]:
    found = registry.by_gvk(GroupVersionKind("", "v1", kind))
    assert found is not None
    return [str(error) for error in found.validate(obj)]


def update_errors(kind: str, new: Any, old: Any) -> list[str]:
    found = registry.by_gvk(GroupVersionKind("", "v1", kind))
    assert found is not None
    return [str(error) for error in found.validate_update(new, old)]


def cells(kind: str, obj: Any) -> dict[str, Any]:
    found = registry.by_gvk(GroupVersionKind("", "v1", kind))
    assert found is not None
    return {column.name: column.value(obj, NOW) for column in found.columns}


def ago(**parts: float) -> str:
    return (NOW - timedelta(**parts)).isoformat()
