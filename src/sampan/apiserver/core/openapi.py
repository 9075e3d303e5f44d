"""OpenAPI documents, made when first asked for.

Version 2 is one document, in JSON or protobuf. Version 3 is an index and a document for each group and
version; the index names each with a hash, so that clients may keep what they have for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.request import JSON, Request, Response
from sampan.kinds.kind import Kind
from sampan.schema import openapi_protobuf, openapi_v2, openapi_v3
from sampan.schema.definitions import Definitions, GroupVersionKind, Schema, load
from sampan.schema.openapi_resources import of_kinds

_V2: Final = "/openapi/v2"
_V3: Final = "/openapi/v3"
_FOREVER: Final = {"Cache-Control": "public, immutable", "Vary": "Accept"}
_ANY: Final = frozenset({"", "*/*", "application/*", JSON})


class _Document(msgspec.Struct, frozen=True):
    body: bytes
    content_type: str
    etag: str


class OpenApi:
    """Answers below /openapi/."""

    def __init__(self, kinds: Sequence[Kind], version: str) -> None:
        self._kinds = kinds
        self._resources = of_kinds(kinds)
        self._version = version
        self._roots = frozenset(openapi_v3.roots(self._resources))
        self._made: dict[str, _Document] = {}

    def replace_custom(self, kinds: Sequence[Kind], schemas: Mapping[GroupVersionKind, Schema]) -> None:
        """Document these custom kinds, in place of those before; what does not depend on them is kept."""
        before = {resource.root for resource in self._resources if resource.custom is not None}
        self._resources = of_kinds((*self._kinds, *kinds), schemas)
        self._roots = frozenset(openapi_v3.roots(self._resources))
        changed = before | {resource.root for resource in self._resources if resource.custom is not None}
        for name in (_V2, _V3, "protobuf", *changed):
            self._made.pop(name, None)

    def answer(self, request: Request) -> Response | None:
        """The document at the path; None where there is none. Raises 406."""
        path = request.path.rstrip("/")
        if request.method not in ("GET", "HEAD"):
            return None
        if path == _V2:
            return self._v2(request)
        if path == _V3:
            _check_json(request)
            index = self._document(_V3, lambda: openapi_v3.index(self._resources, self._definitions()))
            return _answer(request, index, {"Vary": "Accept"})
        root = path.removeprefix(_V3 + "/")
        return self._v3(request, root) if root in self._roots else None

    def _v2(self, request: Request) -> Response:
        asked = [clause.split(";")[0].strip() for clause in request.accept.split(",")]
        for media in asked:
            if media in openapi_v2.PROTOBUF_ASKED:
                return _answer(request, self._v2_protobuf(), {"Vary": "Accept"})
            if media in _ANY:
                return _answer(request, self._document(_V2, self._v2_document), {"Vary": "Accept"})
        raise status.not_acceptable(f"{JSON}, {openapi_v2.PROTOBUF}")

    def _v3(self, request: Request, root: str) -> Response:
        _check_json(request)
        current = openapi_v3.digest(root, self._resources, self._definitions())
        given = request.query.get("hash", "")
        if given and given != current:
            # The client's index is out of date: send it to the document that there is.
            headers = {"Location": f"{_V3}/{root}?hash={current}"}
            return Response(status=301, headers=headers)
        made = self._document(
            root, lambda: openapi_v3.document(root, self._resources, self._definitions()), current
        )
        return _answer(request, made, _FOREVER if given else {"Vary": "Accept"})

    def _v2_document(self) -> object:
        return openapi_v2.document(self._resources, self._definitions())

    def _v2_protobuf(self) -> _Document:
        made = self._made.get("protobuf")
        if made is None:
            body = openapi_protobuf.encode(openapi_v2.document(self._resources, self._definitions()))
            made = self._made["protobuf"] = _Document(body, openapi_v2.PROTOBUF, _digest(body))
        return made

    def _document(self, name: str, make: Callable[[], object], etag: str = "") -> _Document:
        made = self._made.get(name)
        if made is None:
            body = msgspec.json.encode(make())
            made = self._made[name] = _Document(body, JSON, etag or _digest(body))
        return made

    def _definitions(self) -> Definitions:
        return load(self._version)


def _check_json(request: Request) -> None:
    if not any(clause.split(";")[0].strip() in _ANY for clause in request.accept.split(",")):
        raise status.not_acceptable(JSON)


def _answer(request: Request, document: _Document, headers: dict[str, str]) -> Response:
    etag = f'"{document.etag}"'
    headers = {**headers, "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        # Caches put a 304's headers over those they keep, so the type must be the document's own.
        return Response(status=304, content_type=document.content_type, headers=headers)
    return Response(body=document.body, content_type=document.content_type, headers=headers)


def _digest(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()
