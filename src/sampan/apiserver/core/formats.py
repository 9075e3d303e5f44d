"""Which form of answer a client accepts, and objects in that form: JSON, Table, PartialObjectMetadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from sampan.apiserver.core.request import JSON, Response
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import bad_request, not_acceptable
from sampan.kinds.kind import AGE, NAME, Column
from sampan.machinery.field import quoted
from sampan.schema import api, codec
from sampan.store.items import DELETED, Item, Render, render_json

_INCLUDED: Final = frozenset({"", "Metadata", "Object", "None"})


class Form(Enum):
    """The forms that resources can be given in."""

    JSON = "json"
    YAML = "yaml"
    TABLE = "table"
    PARTIAL = "partial"


_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Form:
    """The form that an Accept header asks for, first match first. Raises 406 where there is none."""
    if accept in ("", "*/*", JSON):
        return Form.JSON
    for clause in accept.split(","):
        media, *params = (part.strip() for part in clause.split(";"))
        if media not in (JSON, "*/*", "application/*", "application/yaml"):
            continue
        wanted = dict(p.split("=", 1) for p in params if "=" in p)
        as_kind = wanted.get("as")
        if as_kind == "Table" and wanted.get("v", "v1") in ("v1", "v1beta1"):
            return Form.TABLE
        if as_kind in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form.PARTIAL
        if as_kind is None:
            return Form.YAML if media == "application/yaml" else Form.JSON
    raise not_acceptable("application/json, application/yaml")


@lru_cache(maxsize=256)
def takes_json(accept: str) -> bool:
    """Whether a client that sends this Accept header takes plain JSON, or what is given as such."""
    for clause in accept.split(",") if accept else ("*/*",):
        media, *params = (part.strip() for part in clause.split(";"))
        known = media in (JSON, "*/*", "application/*", "application/yaml", _PROTOBUF)
        if known and not any(p.startswith("as=") for p in params):
            return True
    return False


def negotiate_whole(accept: str) -> None:
    """Raises 406 where a client takes nothing but a table, or metadata, of what has neither: a review."""
    if "as=" in accept:
        negotiate(",".join(clause for clause in accept.split(",") if "as=" not in clause) or "none")


class _Partial(msgspec.Struct):
    metadata: msgspec.Raw


_partial = msgspec.json.Decoder(_Partial)
_PARTIAL_HEAD: Final = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":'


def partial(data: bytes) -> bytes:
    """An object's metadata alone."""
    return _PARTIAL_HEAD + bytes(_partial.decode(data).metadata) + b"}"


def render_partial(event_type: str, item: Item) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), partial(item.data))


class Shown(Protocol):
    """What a table needs to know of the objects in it. Resources know it, and Scales."""

    @property
    def columns(self) -> Sequence[Column]: ...

    @property
    def struct(self) -> Any: ...

    def present(self, data: bytes) -> bytes: ...


class Scales:
    """Scales, which are shown and not stored."""

    struct = api.Scale
    columns: Sequence[Column] = (
        NAME,
        Column("Desired", lambda scale, _now: scale.spec.replicas or 0, type="integer"),
        Column("Available", lambda scale, _now: scale.status.replicas or 0, type="integer"),
        AGE,
    )

    def present(self, data: bytes) -> bytes:
        return data


class Tables:
    """Tables as `kubectl get` prints them."""

    def __init__(self, resource: Shown, now: Callable[[], datetime], include: str) -> None:
        self._resource = resource
        self._now = now
        if include not in _INCLUDED:
            why = "must be 'Metadata', 'Object', 'None', or empty"
            at = f"includeObject: Invalid value: {quoted(include)}"
            raise bad_request(f"Unable to convert to Table as requested: {at}: {why}")
        self._include = include or "Metadata"

    def table(self, items: Sequence[bytes], metadata: dict[str, Any], columns: bool = True) -> bytes:
        now = self._now()
        head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        body: dict[str, Any] = {
            **head,
            "columnDefinitions": self._definitions() if columns else None,
            "rows": [self._row(data, now) for data in items],
        }
        return _encode(body)

    def render(self, event_type: str, item: Item) -> bytes:
        """A watch line that tells the columns too: nobody knows which one is a watcher's first."""
        return self._line(event_type, item, columns=True)

    def render_rows(self, event_type: str, item: Item) -> bytes:
        """A watch line for those who have been told the columns."""
        return self._line(event_type, item, columns=False)

    def _line(self, event_type: str, item: Item, *, columns: bool) -> bytes:
        data = self._resource.present(item.data)
        table = self.table([data], {"resourceVersion": str(item.revision)}, columns)
        return b'{"type":"%b","object":%b}\n' % (event_type.encode(), table)

    def _definitions(self) -> list[dict[str, Any]]:
        return [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in self._resource.columns
        ]

    def _row(self, data: bytes, now: datetime) -> dict[str, Any]:
        obj = codec.decode(data, self._resource.struct)
        cells = [column.value(obj, now) for column in self._resource.columns]
        row: dict[str, Any] = {"cells": cells}
        if self._include == "Object":
            row["object"] = msgspec.Raw(data)
        else:
            row["object"] = msgspec.Raw(partial(data)) if self._include != "None" else None
        return row


def renderer(form: Form, resource: Resource, tables: Tables) -> Render:
    """How a watch in this form writes its lines. Watches of the same form share them."""
    if form is Form.TABLE:
        return tables.render
    plain = render_partial if form is Form.PARTIAL else render_json
    return resource.rendering(plain) if resource.converts else plain


def one(form: Form, data: bytes, tables: Tables, revision: int, status: int = 200) -> Response:
    """A single object in the form asked for."""
    if form is Form.JSON:
        return Response(status=status, body=data)
    if form is Form.TABLE:
        body = tables.table([data], {"resourceVersion": str(revision)})
        return Response(status=status, body=body)
    if form is Form.PARTIAL:
        return Response(status=status, body=partial(data))
    return Response(status=status, body=as_yaml(data), content_type="application/yaml")


def many(
    form: Form, resource: Resource, items: Sequence[bytes], metadata: dict[str, Any], tables: Tables
) -> Response:
    """A list in the form asked for; plain JSON joins the stored bytes.

    Items of typed lists do not say again what kind they are of; objects of custom resources, the metadata of
    partial lists and the objects of tables do.
    """
    if form is Form.TABLE:
        return Response(body=tables.table(items, metadata))
    if form is Form.PARTIAL:
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return Response(body=_joined(head, metadata, [partial(data) for data in items]))
    head = {"kind": resource.list_kind, "apiVersion": resource.api_version}
    body = _joined(head, metadata, items, resource.type_meta)
    if form is Form.YAML:
        return Response(body=as_yaml(body), content_type="application/yaml")
    return Response(body=body)


def _joined(
    head: dict[str, str], metadata: dict[str, Any], items: Sequence[bytes], type_meta: bytes = b""
) -> bytes:
    """A list's bytes; `type_meta` is left out of each item that begins with it."""
    start = _encode({**head, "metadata": metadata})[:-1] + b',"items":['
    if not items:
        return start + b"]}"
    between, parts = b",", list(items)
    if type_meta:
        start, between, skipped = start + b"{", b",{", len(type_meta)
        parts = [data[skipped:] if data.startswith(type_meta) else data[1:] for data in items]
    # Joined once, since a long list is copied at the speed of memory.
    parts[0] = start + parts[0]
    parts[-1] += b"]}"
    return between.join(parts)


def as_yaml(data: bytes) -> bytes:
    import yaml  # late: few clients ask for it

    text: str = yaml.safe_dump(msgspec.json.decode(data), sort_keys=False, allow_unicode=True)
    return text.encode()


__all__ = ["DELETED", "Form", "Tables", "many", "negotiate", "one", "renderer"]
