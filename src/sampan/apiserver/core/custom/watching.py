"""Watches of a version that a webhook converts to: events are converted on their way out, as they are read.

The cache tells of objects as they are stored; nothing that feeds it may wait for a webhook. What waits here
is one client's stream only, and the lines that gather meanwhile are converted together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from sampan.apiserver.core.formats import Form, Tables, partial
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError
from sampan.store.items import ADDED, DELETED, MODIFIED

_OBJECTS = frozenset({ADDED, MODIFIED, DELETED})


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_event = msgspec.json.Decoder(_Event)


class ConvertedStream:
    """The chunks of a watch of stored objects, in the version and form asked for."""

    def __init__(self, stored: Any, resource: Resource, form: Form, tables: Tables) -> None:
        self._stored = stored
        self._resource = resource
        self._form = form
        self._tables = tables
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        lines: bytes = await anext(self._stored)
        try:
            return await self._converted(lines)
        except StatusError as refused:
            # A gap must not go unseen: the client is told, and lists again.
            await self.aclose()
            return b'{"type":"ERROR","object":%b}\n' % refused.response().body

    async def aclose(self) -> None:
        """Take no more events."""
        self._over = True
        await self._stored.aclose()

    async def _converted(self, lines: bytes) -> bytes:
        events = [_event.decode(line) for line in lines.splitlines()]
        objects = [bytes(event.object) for event in events if event.type in _OBJECTS]
        shown = iter(await self._resource.presented(objects))
        made = [
            self._line(event.type, next(shown) if event.type in _OBJECTS else bytes(event.object))
            for event in events
        ]
        return b"".join(made)

    def _line(self, event_type: str, data: bytes) -> bytes:
        if event_type in _OBJECTS:
            if self._form is Form.TABLE:
                data = self._tables.table([data], {"resourceVersion": _revision(data)})
            elif self._form is Form.PARTIAL:
                data = partial(data)
        return b'{"type":"%b","object":%b}\n' % (event_type.encode(), data)


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Metadata


_versioned = msgspec.json.Decoder(_Versioned)


def _revision(data: bytes) -> str:
    return _versioned.decode(data).metadata.resourceVersion
