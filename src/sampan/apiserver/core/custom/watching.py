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
from sampan.machinery.field_selectors import FieldSelector
from sampan.store.items import ADDED, DELETED, MODIFIED, respliced

_OBJECTS = frozenset({ADDED, MODIFIED, DELETED})


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_event = msgspec.json.Decoder(_Event)


class ConvertedStream:
    """The chunks of a watch of stored objects, in the version and form asked for."""

    def __init__(
        self,
        stored: Any,
        resource: Resource,
        form: Form,
        tables: Tables,
        fields: FieldSelector | None = None,
        *,
        whole: bool = True,
    ) -> None:
        """`fields` selects among the converted objects; `whole`: the stream begins with all there are."""
        self._stored = stored
        self._resource = resource
        self._form = form
        self._tables = tables
        self._fields = fields
        self._whole = whole
        # What the client was last told of each object, by namespace and name; b"" of what is not selected.
        self._told: dict[tuple[str, str], bytes] = {}
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._converted(await anext(self._stored))
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
        made = []
        for event in events:
            if event.type not in _OBJECTS:
                made.append(self._line(event.type, bytes(event.object)))
            elif (told := self._selected(event.type, next(shown))) is not None:
                made.append(self._line(*told))
        return b"".join(made)

    def _selected(self, event_type: str, data: bytes) -> tuple[str, bytes] | None:
        """The event as those see it who selected by fields; None where it is not for them."""
        if self._fields is None:
            return event_type, data
        metadata = _versioned.decode(data).metadata
        key = (metadata.namespace, metadata.name)
        # Of what was there before the stream began, nobody knows here whether the client has it.
        before = self._told.pop(key, b"" if self._whole else None)
        holds = self._resource.selects(self._fields, data)
        if event_type != DELETED:
            self._told[key] = data if holds else b""
            if holds:
                return (event_type if before is None else MODIFIED if before else ADDED), data
        if before:
            return DELETED, data if holds else respliced(before, int(metadata.resourceVersion))
        told = before is None and (holds or event_type == MODIFIED)
        return (DELETED, data) if told else None

    def _line(self, event_type: str, data: bytes) -> bytes:
        if event_type in _OBJECTS:
            if self._form is Form.TABLE:
                data = self._tables.table([data], {"resourceVersion": _revision(data)})
            elif self._form is Form.PARTIAL:
                data = partial(data)
        return b'{"type":"%b","object":%b}\n' % (event_type.encode(), data)


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""
    namespace: str = ""
    name: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Metadata


_versioned = msgspec.json.Decoder(_Versioned)


def _revision(data: bytes) -> str:
    return _versioned.decode(data).metadata.resourceVersion
