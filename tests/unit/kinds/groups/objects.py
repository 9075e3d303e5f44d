"""Objects for the tests of this folder: written as plain data, decoded, filled in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sampan.kinds.groups import KINDS
from sampan.kinds.kind import Kind
from sampan.schema import codec

NOW = datetime.fromisoformat("2030-01-02T12:00:00+00:00")
BY_NAME = {kind.kind: kind for kind in reversed(KINDS)}


def kind_of(name: str, version: str = "") -> Kind:
    """The kind of this name; of several versions the one that is stored, unless `version` says."""
    if not version:
        return BY_NAME[name]
    return next(kind for kind in KINDS if kind.kind == name and kind.version == version)


def made(kind: Kind | str, value: dict[str, Any], *, default: bool = True) -> Any:
    """`value` as a struct, with its defaults; `metadata.name` is "web" where nothing is said."""
    found = kind_of(kind) if isinstance(kind, str) else kind
    meta = {"name": "web", **({"namespace": "default"} if found.namespaced else {})}
    obj = codec.from_builtins({**value, "metadata": {**meta, **value.get("metadata", {})}}, found.type)
    if default:
        found.default(obj)
    return obj


def data(obj: Any) -> Any:
    return codec.to_builtins(obj)


def errors(kind: Kind | str, value: dict[str, Any], *, default: bool = True) -> list[str]:
    found = kind_of(kind) if isinstance(kind, str) else kind
    return [str(error) for error in found.validate(made(found, value, default=default))]


def update_errors(kind: Kind | str, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    found = kind_of(kind) if isinstance(kind, str) else kind
    return [str(error) for error in found.validate_update(made(found, new), made(found, old))]


def status_errors(kind: Kind | str, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    found = kind_of(kind) if isinstance(kind, str) else kind
    return [str(error) for error in found.validate_status_update(made(found, new), made(found, old))]


def cells(kind: Kind | str, value: dict[str, Any], *, wide: bool = True) -> dict[str, Any]:
    """The row of `kubectl get -o wide`, made an hour ago where nothing is said."""
    found = kind_of(kind) if isinstance(kind, str) else kind
    meta = {"creationTimestamp": ago(hours=1), **value.get("metadata", {})}
    obj = made(found, {**value, "metadata": meta})
    return {c.name: c.value(obj, NOW) for c in found.columns if wide or not c.priority}


def ago(**parts: float) -> str:
    return (NOW - timedelta(**parts)).isoformat()


def template(**spec: Any) -> dict[str, Any]:
    """A pod template with the label app=web and one container."""
    whole = {"containers": [{"name": "main", "image": "example.com/app:1"}], **spec}
    return {"metadata": {"labels": {"app": "web"}}, "spec": whole}


SELECTOR = {"matchLabels": {"app": "web"}}
