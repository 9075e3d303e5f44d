"""WATCH, answered from the watch cache."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import msgspec

from sampan.apiserver.core import formats
from sampan.apiserver.core import list_options as options
from sampan.apiserver.core.custom.watching import ConvertedStream
from sampan.apiserver.core.formats import Form, Tables
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import expired_watch_line, too_large_revision
from sampan.base.clock import Clock
from sampan.store.audience import Sink, Watcher
from sampan.store.backend import Compacted
from sampan.store.items import ADDED, BOOKMARK, Item, Match, render_json
from sampan.store.watchcache import WatchCache

# kube-apiserver ends a watch without timeoutSeconds after 30 to 60 minutes, so that clients spread out again.
MIN_WATCH_S: Final = 1800
BOOKMARK_EVERY_S: Final = 60.0
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"

_encode = msgspec.json.Encoder().encode


class Watches:
    """Starts watches, and sends bookmarks to those who want them."""

    def __init__(self, cache: WatchCache, clock: Clock, chance: random.Random) -> None:
        self._cache = cache
        self._clock = clock
        self._chance = chance

    def watch(self, request: Request, target: Target, resource: Resource) -> Response:
        """A stream of events, one JSON document a line. Raises 400, 406, 422, 504."""
        form = formats.negotiate(request.accept)
        options.check(request, watch=True)
        chosen = options.selection(request, resource, target.name)
        match = chosen.early(resource)
        tables = Tables(resource, self._clock.now, request.query.get("includeObject", ""))
        # Who asks a webhook for each object must not do so within the feed: see ConvertedStream.
        render = render_json if resource.asks else formats.renderer(form, resource, tables)
        revision = options.revision_of(request) or 0
        timeout_s = options.number(request, "timeoutSeconds") or MIN_WATCH_S * (1 + self._chance.random())
        initial = "sendInitialEvents" in request.query
        # Without a revision, or at 0, a watch begins with everything there is as ADDED.
        with_state = request.flag("sendInitialEvents") if initial else not revision
        after = None if with_state or not revision else revision
        if with_state and revision > self._cache.revision:
            raise too_large_revision(revision, self._cache.revision)
        first, there = render, _there(resource, target.namespace, match) if with_state else []
        if form is Form.TABLE and there and not resource.asks:
            # The columns are told once: with the first of what there is.
            render = tables.render_rows
        try:
            watcher = resource.cache.watch(after, target.namespace, match, render)
        except Compacted as gone:
            return Response(chunks=_one(expired_watch_line(revision, gone.floor)))
        # A revision that has yet to happen is waited for: nothing up to it is told.
        watcher.revision = max(revision, self._cache.revision)
        watcher.ahead = revision > self._cache.revision
        if request.flag("allowWatchBookmarks"):
            watcher.bookmark = partial(_bookmark, resource, form, tables)
        state: list[bytes] = []
        if with_state:
            state = [first(ADDED, item) for item in there[:1]] + [render(ADDED, item) for item in there[1:]]
            if initial and watcher.bookmark is not None:
                ended = {_INITIAL_EVENTS_END: "true"}
                state.append(_bookmark(resource, form, tables, self._cache.revision, ended))
        stream = Stream(watcher, b"".join(state), revision, self._clock, timeout_s)
        if resource.asks:
            return Response(
                chunks=ConvertedStream(
                    stream, resource, form, tables, chosen.late(resource), whole=with_state
                )
            )
        return Response(chunks=stream)

    async def send_bookmarks(self) -> None:
        """Tell idle watchers now and then how far they have seen, so that they can resume."""
        while True:
            await self._clock.sleep(BOOKMARK_EVERY_S)
            self._cache.send_bookmarks()


class Stream:
    """The chunks of one watch. `aclose` ends it, also where nobody has asked for a chunk yet."""

    def __init__(self, watcher: Watcher, state: bytes, revision: int, clock: Clock, timeout_s: float) -> None:
        self._watcher = watcher
        self._state = state
        self._revision = revision
        self._over = False
        self._timer = asyncio.create_task(self._end_after(clock, timeout_s), name="end of a watch")

    def send_to(self, sink: Sink) -> None:
        """Give lines to `sink` rather than to whoever waits for the next chunk, while it can take more.

        Then chunks are what it must be given in order before it gets lines again: perhaps none, b"".
        """
        self._watcher.sink = sink

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        if self._state:
            state, self._state = self._state, b""
            return state
        if self._over:
            raise StopAsyncIteration
        lines = await self._watcher.next()
        if self._watcher.expired:
            self._over = True
            return lines + expired_watch_line(self._revision, self._watcher.revision)
        if not lines and self._watcher.ended:
            await self.aclose()
            raise StopAsyncIteration
        return lines

    async def aclose(self) -> None:
        """Take no more events."""
        self._over = True
        self._watcher.close()
        self._timer.cancel()

    async def _end_after(self, clock: Clock, timeout_s: float) -> None:
        await clock.sleep(timeout_s)
        self._watcher.end()


def _there(resource: Resource, namespace: str, match: Match | None) -> list[Item]:
    """The objects there are."""
    return [item for item in resource.cache.items(namespace) if match is None or match(item)]


async def _one(line: bytes) -> AsyncIterator[bytes]:
    yield line


def _bookmark(
    resource: Resource, form: Form, tables: Tables, revision: int, annotations: dict[str, str] | None = None
) -> bytes:
    """The line that tells a watcher how far it has seen, in the form of its objects."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if annotations:
        metadata["annotations"] = annotations
    head = {"kind": resource.kind.kind, "apiVersion": resource.api_version}
    if form is Form.PARTIAL:
        head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    obj: Any = {**head, "metadata": metadata}
    if form is Form.TABLE:
        obj = msgspec.Raw(tables.table([_encode(obj)], {"resourceVersion": str(revision)}, columns=False))
    return _encode({"type": BOOKMARK, "object": obj}) + b"\n"
