"""GET, LIST and WATCH, answered from the watch cache."""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.apiserver.core import formats
from sampan.apiserver.core.formats import Form, Tables
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError, bad_request, expired, expired_watch_line, not_found
from sampan.base.clock import Clock
from sampan.machinery import field_selectors, selectors
from sampan.machinery.field_selectors import FieldSelector
from sampan.machinery.selectors import Selector
from sampan.store.backend import Compacted, FutureRevision, KeyRange, Page, Store
from sampan.store.watchcache import ADDED, BOOKMARK, Item, KindCache, WatchCache, Watcher, splice

# kube-apiserver ends a watch without timeoutSeconds after 30 to 60 minutes, so that clients spread out again.
MIN_WATCH_S: Final = 1800
BOOKMARK_EVERY_S: Final = 60.0
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"

_encode = msgspec.json.Encoder().encode


class _Continue(msgspec.Struct):
    """A continue token: the snapshot's revision and the key to go on from."""

    rv: int
    start: str
    v: str = "meta.k8s.io/v1"


class Selection(msgspec.Struct, frozen=True):
    """The selectors of a list, watch or deletecollection."""

    labels: Selector | None
    fields: FieldSelector | None
    name: str


def selection(request: Request, resource: Resource, name: str = "") -> Selection:
    """Parse the selectors of a request. Raises 400 for what cannot be parsed or is not supported."""
    labels = fields = None
    try:
        if request.query.get("labelSelector"):
            labels = selectors.parse(request.query["labelSelector"])
        if request.query.get("fieldSelector"):
            fields = field_selectors.parse(request.query["fieldSelector"])
    except ValueError as problem:
        raise bad_request(str(problem)) from None
    if fields is not None:
        known = {"metadata.name", *resource.kind.field_selectors}
        if resource.kind.namespaced:
            known.add("metadata.namespace")
        for field in fields.fields:
            if field not in known:
                raise bad_request(f"field label not supported: {field}")
    return Selection(labels, fields, name)


def revision_of(request: Request) -> int | None:
    """The resourceVersion parameter; None where it is absent or empty."""
    text = request.query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise StatusError(
            400,
            "BadRequest",
            f'Invalid value: "{text}": resourceVersion: invalid resource version {text!r}: '
            "it must be a number that this server gave out",
        )
    return int(text)


class Reader:
    """Answers what changes nothing."""

    def __init__(self, store: Store, cache: WatchCache, clock: Clock, chance: random.Random) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._chance = chance

    def tables(self, request: Request, resource: Resource) -> Tables:
        return Tables(resource, self._now, request.query.get("includeObject", ""))

    def _now(self) -> datetime:
        return self._clock.now()

    def get(self, request: Request, target: Target, resource: Resource) -> Response:
        item = resource.cache.get(target.namespace, target.name)
        if item is None:
            raise not_found(resource.kind, target.name)
        form = formats.negotiate(request.accept)
        if form is Form.JSON:
            return Response(body=item.data)
        return formats.one(form, item.data, self.tables(request, resource), item.revision)

    async def list_objects(self, request: Request, target: Target, resource: Resource) -> Response:
        form = formats.negotiate(request.accept)
        chosen = selection(request, resource, target.name)
        match = resource.match(chosen.labels, chosen.fields, chosen.name)
        limit = _number(request, "limit")
        token = request.query.get("continue", "")
        at = self._snapshot(request) if not token else None
        metadata: dict[str, Any]
        if token or at is not None:
            datas, metadata = await self._list_stored(resource, target.namespace, token, at, limit, match)
        else:
            items = resource.cache.items(target.namespace)
            if match is not None:
                items = [item for item in items if match(item)]
            metadata = {"resourceVersion": str(self._cache.revision)}
            if 0 < limit < len(items):
                metadata["continue"] = _token(self._cache.revision, items[limit - 1].key)
                if match is None:
                    metadata["remainingItemCount"] = len(items) - limit
                items = items[:limit]
            datas = [item.data for item in items]
        return formats.many(form, resource, datas, metadata, self.tables(request, resource))

    def _snapshot(self, request: Request) -> int | None:
        """The revision that the list must be of exactly; None where the newest will do."""
        revision = revision_of(request)
        wanted = request.query.get("resourceVersionMatch", "")
        if wanted not in ("", "Exact", "NotOlderThan"):
            raise bad_request(f'resourceVersionMatch: Unsupported value: "{wanted}"')
        if wanted and revision is None:
            raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
        if wanted == "Exact" and revision == 0:
            raise bad_request('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
        if revision is not None and revision > self._cache.revision:
            raise StatusError(
                504,
                "Timeout",
                f"Too large resource version: {revision}, current: {self._cache.revision}",
                {
                    "causes": [
                        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
                    ],
                    "retryAfterSeconds": 1,
                },
            )
        return revision if wanted == "Exact" and revision != self._cache.revision else None

    async def _list_stored(
        self,
        resource: Resource,
        namespace: str,
        token: str,
        at: int | None,
        limit: int,
        match: Callable[[Item], bool] | None,
    ) -> tuple[list[bytes], dict[str, Any]]:
        """A page of an older snapshot, read from the store."""
        whole = KeyRange.prefix(resource.prefix + (f"{namespace}/" if namespace else ""))
        start = whole.start
        if token:
            goes_on = _parse_token(token)
            at, start = goes_on.rv, goes_on.start
            if start not in whole:
                raise bad_request("continue key is not valid: it belongs to another list")
        found: list[bytes] = []
        while True:
            page = await self._page(KeyRange(start, whole.end), at, limit)
            last = page.entries[-1].key if page.entries else ""
            for entry in page.entries:
                item = Item(entry.key, entry.value, entry.mod_revision, entry.create_revision)
                if match is None or match(item):
                    found.append(item.data)
                    if len(found) == limit:
                        last = entry.key
                        break
            more = page.remaining or (page.entries and last != page.entries[-1].key)
            if not more or len(found) == limit:
                break
            start = last + "\0"
        metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
        if more:
            metadata["continue"] = _token(page.revision, last)
            if match is None:
                metadata["remainingItemCount"] = page.remaining
        return found, metadata

    async def _page(self, keys: KeyRange, at: int | None, limit: int) -> Page:
        try:
            return await self._store.read(keys, at=at, limit=limit)
        except Compacted:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            ) from None
        except FutureRevision:
            raise bad_request("continue key is not valid: its revision has not happened yet") from None

    def watch(self, request: Request, target: Target, resource: Resource) -> Response:
        form = formats.negotiate(request.accept)
        chosen = selection(request, resource, target.name)
        match = resource.match(chosen.labels, chosen.fields, chosen.name)
        render = formats.renderer(form, self.tables(request, resource))
        revision = revision_of(request)
        initial = request.query.get("sendInitialEvents")
        # Without a revision, or at 0, a watch begins with everything there is as ADDED.
        with_state = request.flag("sendInitialEvents") if initial is not None else not revision
        after = None if with_state or not revision else revision
        bookmarks = request.flag("allowWatchBookmarks")
        if after is not None and after > self._cache.revision:
            after = None  # nothing later has happened yet
        try:
            watcher = resource.cache.watch(after, target.namespace, match, render)
        except Compacted as gone:
            line = expired_watch_line(revision or 0, gone.floor)
            return Response(chunks=_one(line))
        watcher.revision = self._cache.revision
        if with_state:
            for item in resource.cache.items(target.namespace):
                if match is None or match(item):
                    watcher.push(render(ADDED, item), watcher.revision)
            if initial is not None and bookmarks:
                ended = {_INITIAL_EVENTS_END: "true"}
                watcher.push(_bookmark(resource, self._cache.revision, ended), watcher.revision)
        watcher.bookmarks = bookmarks
        timeout_s = _number(request, "timeoutSeconds") or MIN_WATCH_S * (1 + self._chance.random())
        return Response(chunks=self._follow(watcher, revision or 0, timeout_s))

    async def _follow(self, watcher: Watcher, revision: int, timeout_s: float) -> AsyncIterator[bytes]:
        deadline_s = self._clock.monotonic_s() + timeout_s
        try:
            while (left_s := deadline_s - self._clock.monotonic_s()) > 0:
                lines = await watcher.next(left_s)
                if lines:
                    yield lines
                if watcher.expired:
                    yield expired_watch_line(revision, self._cache.revision)
                    return
        finally:
            watcher.close()

    async def send_bookmarks(self, resources: Callable[[KindCache], Resource | None]) -> None:
        """Tell idle watchers now and then how far they have seen, so that they can resume."""
        while True:
            await self._clock.sleep(BOOKMARK_EVERY_S)

            def make(cache: KindCache, watcher: Watcher) -> bytes | None:
                resource = resources(cache)
                if resource is None or not watcher.bookmarks or watcher.revision == self._cache.revision:
                    return None
                return _bookmark(resource, self._cache.revision, {})

            self._cache.bookmark(make)


async def _one(line: bytes) -> AsyncIterator[bytes]:
    yield line


def _bookmark(resource: Resource, revision: int, annotations: dict[str, str]) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    obj = {"kind": resource.kind.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return _encode({"type": BOOKMARK, "object": obj}) + b"\n"


def _number(request: Request, name: str) -> int:
    text = request.query.get(name, "")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise bad_request(f"{name}: {text!r} is not a whole number that is not negative")
    return int(text)


def _token(revision: int, last_key: str) -> str:
    data = _encode(_Continue(revision, last_key + "\0"))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _parse_token(text: str) -> _Continue:
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Continue)
    except ValueError as problem:  # binascii.Error and msgspec.DecodeError are ValueErrors
        raise bad_request(f"continue key is not valid: {problem}") from None


__all__ = ["Reader", "Selection", "revision_of", "selection", "splice"]
