"""OpenAPI documents, made when first asked for.

Version 2 is one document, in JSON or protobuf. Version 3 is an index and a document for each group and
version; the index names each with a hash, so that clients may keep what they have for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.aggregation.openapi import Documents, merged_v2
from sampan.apiserver.core.request import JSON, Request, Response
from sampan.kinds.kind import Kind
from sampan.schema import openapi_protobuf, openapi_singles, openapi_v2, openapi_v3
from sampan.schema.definitions import Definitions, GroupVersionKind, Schema, load
from sampan.schema.openapi_resources import ServedResource, of_kinds

_V2: Final = "/openapi/v2"
_V3: Final = "/openapi/v3"
_PROTOBUF: Final = "protobuf"
# From this many custom resources on, documents are made in another thread.
MANY: Final = 200
# What is named by its hash never changes, so that clients need not even ask whether it has. They go by the
# Expires header: without it, kubectl takes what it keeps to be out of date.
_FOREVER: Final = {"Cache-Control": "public, immutable", "Vary": "Accept"}
_FOREVER_S: Final = 365 * 24 * 3600
# Maps of more entries are encoded entry by entry, and what holds such maps map by map.
_IN_ONE: Final = 64
_OF_MANY: Final = frozenset({"paths", "components", "schemas", "definitions"})
_ANY: Final = frozenset({"", "*/*", "application/*", JSON})


class _Document(msgspec.Struct, frozen=True):
    body: bytes
    content_type: str
    etag: str


class _State:
    """The resources of one moment, and the documents made of them so far.

    Whoever makes a document in another thread writes into the state that he began with; if that is not the
    present one any more, nobody sees it.
    """

    def __init__(
        self,
        resources: Sequence[ServedResource],
        made: dict[str, _Document],
        extensions: Mapping[str, Documents],
    ) -> None:
        self.resources = resources
        # What extension servers say of theirs, by `apis/GROUP/VERSION`.
        self.extensions = extensions
        self.by_root: dict[str, list[ServedResource]] = {}
        for resource in resources:
            self.by_root.setdefault(resource.root, []).append(resource)
        self.customs = sum(resource.custom is not None for resource in resources)
        self.made = made
        self.digests: dict[str, str] = {}


class OpenApi:
    """Answers below /openapi/."""

    def __init__(self, kinds: Sequence[Kind], version: str) -> None:
        self._kinds = kinds
        self._version = version
        self._state = _State(of_kinds(kinds), {}, {})
        self._making = asyncio.Lock()
        self._singles = openapi_singles.singles({kind.group for kind in kinds})

    def replace_custom(self, kinds: Sequence[Kind], schemas: Mapping[GroupVersionKind, Schema]) -> None:
        """Document these custom kinds, in place of those before; what does not depend on them is kept."""
        old = self._state
        resources = of_kinds((*self._kinds, *kinds), schemas)
        customs = {r.root for r in (*old.resources, *resources) if r.custom is not None}
        made = {k: v for k, v in old.made.items() if k not in customs and k not in (_V2, _V3, _PROTOBUF)}
        self._state = _State(resources, made, old.extensions)

    def replace_extensions(self, extensions: Mapping[str, Documents]) -> None:
        """Document what these extension servers serve, in place of those before."""
        old = self._state
        made = {
            k: v
            for k, v in old.made.items()
            if k not in old.extensions and k not in extensions and k not in (_V2, _V3, _PROTOBUF)
        }
        self._state = _State(old.resources, made, dict(extensions))

    async def prepared(self, request: Request) -> None:
        """Make the document that is asked for, where that takes long: others are served meanwhile."""
        if self._state.customs < MANY or request.method not in ("GET", "HEAD"):
            return
        async with self._making:
            with suppress(status.StatusError):  # `answer` will say it
                await asyncio.to_thread(self.answer, request)

    def answer(self, request: Request) -> Response | None:
        """The document at the path, whatever the method; None where there is none. Raises 406."""
        state, path = self._state, request.path.rstrip("/")
        if path == _V2:
            return self._v2(request, state)
        if path == _V3:
            _check_json(request)
            index = self._document(state, _V3, lambda: self._index(state))
            return _answer(request, index, {"Vary": "Accept"})
        root = path.removeprefix(_V3 + "/")
        there = root in state.by_root or root in state.extensions or root in self._singles
        return self._v3(request, state, root) if there else None

    def _v2(self, request: Request, state: _State) -> Response:
        asked = [clause.split(";")[0].strip() for clause in request.accept.split(",")]
        for media in asked:
            if media in openapi_v2.PROTOBUF_ASKED:
                return _answer(request, self._v2_protobuf(state), {"Vary": "Accept"})
            if media in _ANY:
                made = self._document(state, _V2, lambda: self._v2_document(state))
                return _answer(request, made, {"Vary": "Accept"})
        raise status.not_acceptable(f"{JSON}, {openapi_v2.PROTOBUF}")

    def _v3(self, request: Request, state: _State, root: str) -> Response:
        _check_json(request)
        current = self._hash(state, root)
        given = request.query.get("hash", "")
        if given and given != current:
            # The client's index is out of date: send it to the document that there is.
            headers = {"Location": f"{_V3}/{root}?hash={current}"}
            return Response(status=301, headers=headers)
        theirs, single = state.extensions.get(root), self._singles.get(root)
        if theirs is not None:
            made = _Document(theirs.v3, JSON, current)
        elif single is not None:
            alone = partial(openapi_singles.document, root, single, self._definitions())
            made = self._document(state, root, alone, current)
        else:
            made = self._document(
                state,
                root,
                lambda: openapi_v3.document(root, state.by_root[root], self._definitions()),
                current,
            )
        return _answer(request, made, _kept_for_ever() if given else {"Vary": "Accept"})

    def _index(self, state: _State) -> object:
        hashes = {
            root: self._hash(state, root)
            for root in sorted({*state.by_root, *state.extensions, *self._singles})
        }
        return openapi_v3.index_of(hashes)

    def _hash(self, state: _State, root: str) -> str:
        found = state.digests.get(root)
        if found is None:
            if root in state.extensions:
                found = _digest(state.extensions[root].v3)
            elif (single := self._singles.get(root)) is not None:
                found = openapi_singles.digest(root, single, self._definitions())
            else:
                found = openapi_v3.digest(root, state.by_root[root], self._definitions())
            state.digests[root] = found
        return found

    def _v2_document(self, state: _State) -> dict[str, Any]:
        own = openapi_v2.document(state.resources, self._definitions(), self._singles)
        if not state.extensions:
            return own
        return merged_v2(own, (each.v2 for _, each in sorted(state.extensions.items())))

    def _v2_protobuf(self, state: _State) -> _Document:
        made = state.made.get(_PROTOBUF)
        if made is None:
            body = openapi_protobuf.encode(self._v2_document(state))
            made = state.made[_PROTOBUF] = _Document(body, openapi_v2.PROTOBUF, _digest(body))
        return made

    def _document(self, state: _State, name: str, make: Callable[[], object], etag: str = "") -> _Document:
        made = state.made.get(name)
        if made is None:
            body = b"".join(_pieces(make()))
            made = state.made[name] = _Document(body, JSON, etag or _digest(body))
        return made

    def _definitions(self) -> Definitions:
        return load(self._version)


def _pieces(document: object) -> Iterator[bytes]:
    """A document's JSON, no piece of which takes long to make: nobody else runs while one is made."""
    if not isinstance(document, dict) or not document:
        yield msgspec.json.encode(document)
        return
    before = b"{"
    for name, value in document.items():
        yield b"%b%b:" % (before, msgspec.json.encode(name))
        if isinstance(value, dict) and (len(value) > _IN_ONE or name in _OF_MANY):
            yield from _pieces(value)
        else:
            yield msgspec.json.encode(value)
        before = b","
    yield b"}"


def _kept_for_ever() -> dict[str, str]:
    return {**_FOREVER, "Expires": formatdate(time.time() + _FOREVER_S, usegmt=True)}


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
