"""The typed client: kinds are named by their struct, answers are structs, refusals are `ApiError`s."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from sampan.client.errors import ApiError, error_from
from sampan.client.resources import Partial, Resource, resource_of
from sampan.client.transport import InProcess, Reply, StreamsTogether, Transport
from sampan.schema import api, codec

__all__ = ["APPLY", "JSON_PATCH", "MERGE", "STRATEGIC", "ApiError", "Client", "Listed", "WatchEvent"]

T = TypeVar("T")

MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"

# What a struct is encoded to has no unknown or repeated fields: the server need not look for them.
_TRUST: Final = "Ignore"
ADDED: Final = "ADDED"
MODIFIED: Final = "MODIFIED"
DELETED: Final = "DELETED"
BOOKMARK: Final = "BOOKMARK"
ERROR: Final = "ERROR"


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """What a list found, at one resourceVersion; `continues` is the token of the next page, if any."""

    items: list[T]
    resource_version: str
    continues: str = ""


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """One change. A BOOKMARK's object holds nothing but its resourceVersion."""

    type: str
    object: T
    resource_version: str


class _Collection(msgspec.Struct, Generic[T]):
    metadata: api.ListMeta = msgspec.field(default_factory=lambda: api.ListMeta())
    items: list[T] | None = None


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


# How servers begin the line of a change, by the first letter of its type.
_ENVELOPES: Final = {
    each[:1].encode(): (each, b'{"type":"%b","object":' % each.encode())
    for each in (ADDED, MODIFIED, DELETED)
}
_decode_event = msgspec.json.Decoder(_RawEvent).decode


class Client:
    """One user's view of one API server. Every method raises ApiError, or ConnectionError."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._in_process = transport if isinstance(transport, InProcess) else None

    @property
    def changes_in_place(self) -> bool:
        """Whether `change` and `change_all` do something: the server is in this process."""
        return self._in_place is not None

    @property
    def _in_place(self) -> InProcess | None:
        """The server, where it is in this process and need not be shown what is sent."""
        direct = self._in_process
        return direct if direct is not None and direct.changes_in_place else None

    async def get(self, kind: type[T] | Resource[T], name: str, namespace: str = "") -> T:
        resource = resource_of(kind)
        reply = await self._ask("GET", resource.path(namespace, name))
        return _decode(reply.body, resource)

    async def list(
        self,
        kind: type[T] | Resource[T],
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continues: str = "",
        resource_version: str = "",
    ) -> Listed[T]:
        """All that match, or with `limit` one page (then `continues` asks for the one after it)."""
        resource = resource_of(kind)
        query = _query(
            labelSelector=labels,
            fieldSelector=fields,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
        )
        if continues:
            query["continue"] = continues
        reply = await self._ask("GET", resource.path(namespace), query)
        found = codec.decode(reply.body, _Collection[resource.type])  # type: ignore[name-defined]
        items: list[T] = found.items or []
        for item in items:
            _name_kind(item, resource)
        meta = found.metadata
        return Listed(items, meta.resourceVersion or "", meta.continue_ or "")

    async def create(self, obj: T, namespace: str = "", *, dry_run: bool = False, manager: str = "") -> T:
        resource = resource_of(type(obj))
        path = resource.path(namespace or _meta(obj).namespace or "")
        query = _query(dryRun="All" if dry_run else "", fieldManager=manager, fieldValidation=_TRUST)
        reply = await self._ask("POST", path, query, _encode(obj, resource))
        return _decode(reply.body, resource)

    async def update(self, obj: T, *, subresource: str = "") -> T:
        """Replace the object; a resourceVersion in its metadata guards it."""
        resource = resource_of(type(obj))
        meta = _meta(obj)
        path = resource.path(meta.namespace or "", meta.name or "", subresource)
        reply = await self._ask("PUT", path, {"fieldValidation": _TRUST}, _encode(obj, resource))
        return _decode(reply.body, resource)

    async def update_status(self, obj: T) -> T:
        return await self.update(obj, subresource="status")

    async def patch(
        self,
        kind: type[T] | Resource[T],
        name: str,
        namespace: str,
        patch: Any,
        *,
        patch_type: str = MERGE,
        subresource: str = "",
        manager: str = "",
    ) -> T:
        resource = resource_of(kind)
        path = resource.path(namespace, name, subresource)
        query = _query(fieldManager=manager, fieldValidation=_TRUST)
        reply = await self._ask("PATCH", path, query, codec.encode(patch), patch_type)
        return _decode(reply.body, resource)

    async def change(
        self,
        kind: type[T] | Resource[T],
        name: str,
        namespace: str,
        make: Callable[[T], T],
        *,
        subresource: str = "",
    ) -> bool:
        """Change the object in place of a patch, where the server is in this process; see InProcess.change.

        False where it is not, and nothing was done. Nothing is read back either, so it costs half of a patch.
        """
        direct = self._in_place
        if direct is None:
            return False
        reply = await direct.change(resource_of(kind).path(namespace, name, subresource), make)
        if reply.status >= 300:
            raise error_from(reply.status, reply.body)
        return True

    async def change_all(
        self,
        kind: type[T] | Resource[T],
        wanted: Sequence[tuple[str, str, Callable[[T], T]]],
        *,
        subresource: str = "",
    ) -> Sequence[Exception | None] | None:
        """`change` for many objects, each given by name, namespace and what makes it another.

        None where the server is not in this process, and nothing was done; else what went wrong with each.
        """
        direct = self._in_place
        if direct is None:
            return None
        if not wanted:
            return []
        resource = resource_of(kind)
        return await direct.change_all(
            [(resource.path(namespace, name, subresource), make) for name, namespace, make in wanted]
        )

    async def apply(self, obj: T, manager: str, *, force: bool = True, subresource: str = "") -> T:
        """Server-side apply of exactly the fields that `obj` sets."""
        resource = resource_of(type(obj))
        meta = _meta(obj)
        path = resource.path(meta.namespace or "", meta.name or "", subresource)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        reply = await self._ask("PATCH", path, query, _encode(obj, resource), APPLY)
        return _decode(reply.body, resource)

    async def delete(
        self,
        kind: type[T] | Resource[T],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete, or mark for deletion. `uid` and `resource_version` are preconditions (409 if they fail)."""
        path = resource_of(kind).path(namespace, name)
        options = delete_options(uid, resource_version, propagation, grace_s)
        await self._ask("DELETE", path, None, codec.encode(options))

    async def delete_all(
        self,
        kind: type[T] | Resource[T],
        namespace: str = "",
        *,
        labels: str = "",
        propagation: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete what is in a namespace (or everywhere) and matches, by one request."""
        path = resource_of(kind).path(namespace)
        options = delete_options(propagation=propagation, grace_s=grace_s)
        await self._ask("DELETE", path, _query(labelSelector=labels), codec.encode(options))

    async def delete_each(
        self, kind: type[T] | Resource[T], wanted: Sequence[tuple[str, str, str]]
    ) -> Sequence[Exception | None] | None:
        """`delete` without grace for many objects, each given by name, namespace and uid.

        None where the server is not in this process, and nothing was done; else what went wrong with each.
        """
        direct = self._in_place
        if direct is None:
            return None
        if not wanted:
            return []
        resource = resource_of(kind)
        return await direct.delete_all(
            [(resource.path(namespace, name), uid) for name, namespace, uid in wanted]
        )

    async def post(self, path: str, obj: Any, answer: type[T]) -> T:
        """POST to any path: bindings, evictions, tokens, reviews."""
        reply = await self._ask("POST", path, None, codec.encode(obj))
        return codec.decode(reply.body, answer)

    async def read(self, path: str, answer: type[T], query: Mapping[str, str] | None = None) -> T:
        """GET any path that answers JSON: discovery, version."""
        reply = await self._ask("GET", path, query)
        return codec.decode(reply.body, answer)

    async def watch(
        self,
        kind: type[T] | Resource[T],
        namespace: str = "",
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes after `resource_version`, until the server ends the stream.

        Raises ApiError for an ERROR event also; `is_gone` of it means that the list must be read again.
        """
        batches = self.watch_together(
            kind,
            namespace,
            resource_version=resource_version,
            labels=labels,
            fields=fields,
            bookmarks=bookmarks,
        )
        async with aclosing(batches):
            async for events in batches:
                for event in events:
                    yield event

    async def watch_together(
        self,
        kind: type[T] | Resource[T],
        namespace: str = "",
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncGenerator[Iterator[WatchEvent[T]], None]:
        """As `watch`, with what came at the same time together, where the transport can tell.

        Iterating raises what `watch` raises, after the events before it.
        """
        resource = resource_of(kind)
        query = _query(
            watch="true",
            resourceVersion=resource_version,
            labelSelector=labels,
            fieldSelector=fields,
            allowWatchBookmarks="true" if bookmarks else "",
        )
        path = resource.path(namespace)
        if isinstance(self.transport, StreamsTogether):
            async with aclosing(self.transport.stream_together(path, query)) as batches:
                async for batch in batches:
                    yield (_event(line, resource) for line in batch if line.strip())
            return
        lines = self.transport.stream(path, query)
        try:
            async for line in lines:
                if line.strip():
                    yield iter((_event(line, resource),))
        finally:
            close = getattr(lines, "aclose", None)
            if close is not None:
                await close()

    async def close(self) -> None:
        await self.transport.close()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
    ) -> Reply:
        reply = await self.transport.request(method, path, query, body, content_type)
        if reply.status >= 300:
            raise error_from(reply.status, reply.body)
        return reply


def delete_options(
    uid: str = "", resource_version: str = "", propagation: str | None = None, grace_s: int | None = None
) -> api.DeleteOptions:
    """DeleteOptions with the preconditions that are not empty."""
    guarded = bool(uid or resource_version)
    preconditions = api.Preconditions(uid=uid or None, resourceVersion=resource_version or None)
    return api.DeleteOptions(
        apiVersion="v1",
        kind="DeleteOptions",
        preconditions=preconditions if guarded else None,
        propagationPolicy=propagation,
        gracePeriodSeconds=grace_s,
    )


def _event(line: bytes, resource: Resource[T]) -> WatchEvent[T]:
    plain = _plain_event(line, resource)
    if plain is not None:
        return plain
    raw = _decode_event(line)
    if raw.type == ERROR:
        raise error_from(500, bytes(raw.object))
    if raw.type == BOOKMARK:
        mark = codec.decode(bytes(raw.object), Partial)
        return WatchEvent(BOOKMARK, cast(T, mark), mark.metadata.resourceVersion or "")
    obj = _decode(memoryview(raw.object), resource)
    return WatchEvent(raw.type, obj, _meta(obj).resourceVersion or "")


def _plain_event(line: bytes, resource: Resource[T]) -> WatchEvent[T] | None:
    """A change written as servers write it, of which the envelope need not be decoded; None for others."""
    event_type, envelope = _ENVELOPES.get(line[9:10], ("", b""))
    if not envelope or not line.startswith(envelope):
        return None
    try:
        obj = _decode(memoryview(line.rstrip())[len(envelope) : -1], resource)
    except msgspec.DecodeError:  # there is more in it
        return None
    return WatchEvent(event_type, obj, _meta(obj).resourceVersion or "")


def _decode(body: bytes | memoryview, resource: Resource[T]) -> T:
    obj = codec.decode(cast(bytes, body), resource.type)
    _name_kind(obj, resource)
    return obj


def _name_kind(obj: Any, resource: Resource[Any]) -> None:
    # Lists of typed items leave kind and apiVersion out of each; every object here knows what it is.
    if obj.kind is None:
        obj.kind = resource.kind
        obj.apiVersion = resource.api_version


def _encode(obj: Any, resource: Resource[Any]) -> bytes:
    if not obj.kind or not obj.apiVersion:
        obj = msgspec.structs.replace(obj, kind=resource.kind, apiVersion=resource.api_version)
    return codec.encode(obj)


def _meta(obj: Any) -> api.ObjectMeta:
    meta: api.ObjectMeta = obj.metadata
    return meta


def _query(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}
