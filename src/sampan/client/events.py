"""Records Events about objects: repeats are counted, floods are combined, then dropped.

Follows client-go's EventCorrelator: at most 25 events at once about one object and then one in five minutes;
more than ten events of one reason within ten minutes become one "(combined from similar events)"; the same
event again raises the count of the one that is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import datetime
from typing import Final, Generic, TypeVar
from zlib import crc32

import msgspec

from sampan.base.clock import Clock, kube_time
from sampan.base.waiting import first_done
from sampan.client.client import Client
from sampan.client.effects import Emit, Ref
from sampan.client.errors import ApiError, is_already_exists, is_not_found
from sampan.schema import api

KEYS_MOST: Final = 4096
SPAM_BURST: Final = 25
SPAM_REFILL_S: Final = 300.0
SIMILAR_MOST: Final = 10
SIMILAR_WINDOW_S: Final = 600.0
STAMP_STEP_NS: Final = 1_000_000
PENDING_MOST: Final = 1000
# As many are written without delay.
MANY: Final = 100
MESSAGE_MOST: Final = 1024
_COMBINED: Final = "(combined from similar events): "

_log = logging.getLogger(__name__)
V = TypeVar("V")


class _Recent(Generic[V]):
    """A map of bounded size that forgets what was used longest ago."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[tuple[str, ...], V] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def __len__(self) -> int:
        return len(self._held)


class _Bucket(msgspec.Struct):
    tokens: float
    at: datetime


class _Similar(msgspec.Struct):
    messages: set[str]
    last: datetime


class _Stored(msgspec.Struct):
    name: str
    count: int
    first: datetime


class Correlator:
    """What becomes of an event: dropped, counted onto a stored one, or new. Pure but for its memory."""

    def __init__(self, component: str, host: str = "") -> None:
        self._component = component
        self._host = host
        self._last_ns = 0
        self._offset_ns = crc32(f"{component} {host}".encode()) % STAMP_STEP_NS
        self._buckets: _Recent[_Bucket] = _Recent(KEYS_MOST)
        self._similar: _Recent[_Similar] = _Recent(KEYS_MOST)
        self._stored: _Recent[_Stored] = _Recent(KEYS_MOST)

    def correlate(self, emit: Emit, now: datetime, field_path: str = "") -> api.Event | None:
        """The event to write. With a count above 1 the one of this name is stored already."""
        about = emit.about
        if not self._within_budget(about, now):
            return None
        message = emit.message[:MESSAGE_MOST]
        group = (
            about.kind,
            about.namespace,
            about.name,
            about.uid,
            field_path,
            emit.type,
            emit.reason,
            emit.action,
        )
        key: tuple[str, ...] = (*group, message)
        if self._is_flood(group, message, now):
            message, key = (_COMBINED + message)[:MESSAGE_MOST], group
        stored = self._stored.get(key)
        if stored is None:
            stored = _Stored(f"{about.name}.{self._stamp(now):x}", 0, kube_time(now))
        stored.count += 1
        self._stored.put(key, stored)
        return self._event(emit, stored, message, now, field_path)

    def _stamp(self, now: datetime) -> int:
        """Nanoseconds that no two events share, however close together (or still the clock) they come.

        The millionths of a second tell recorders apart: two may speak of one object at the same time.
        """
        wanted = int(now.timestamp() * 1e6) * 1000 + self._offset_ns
        self._last_ns = max(wanted, self._last_ns + STAMP_STEP_NS)
        return self._last_ns

    def _within_budget(self, about: Ref, now: datetime) -> bool:
        key = (about.api_version, about.kind, about.namespace, about.name, about.uid)
        bucket = self._buckets.get(key) or _Bucket(SPAM_BURST, now)
        refilled = (now - bucket.at).total_seconds() / SPAM_REFILL_S
        tokens = min(bucket.tokens + refilled, SPAM_BURST)
        allowed = tokens >= 1
        self._buckets.put(key, _Bucket(tokens - 1 if allowed else tokens, now))
        return allowed

    def _is_flood(self, group: tuple[str, ...], message: str, now: datetime) -> bool:
        similar = self._similar.get(group)
        if similar is None or (now - similar.last).total_seconds() > SIMILAR_WINDOW_S:
            similar = _Similar(set(), now)
        similar.last = now
        if len(similar.messages) < SIMILAR_MOST:
            similar.messages.add(message)
        self._similar.put(group, similar)
        return len(similar.messages) >= SIMILAR_MOST and message not in similar.messages

    def _event(self, emit: Emit, stored: _Stored, message: str, now: datetime, field_path: str) -> api.Event:
        about = emit.about
        return api.Event(
            apiVersion="v1",
            kind="Event",
            metadata=api.ObjectMeta(name=stored.name, namespace=about.namespace or "default"),
            involvedObject=api.ObjectReference(
                apiVersion=about.api_version,
                kind=about.kind,
                namespace=about.namespace or None,
                name=about.name,
                uid=about.uid or None,
                resourceVersion=about.resource_version or None,
                fieldPath=field_path or None,
            ),
            type=emit.type,
            reason=emit.reason,
            message=message,
            action=emit.action or None,
            count=stored.count,
            firstTimestamp=stored.first,
            lastTimestamp=kube_time(now),
            source=api.EventSource(component=self._component, host=self._host or None),
            reportingComponent=self._component,
            reportingInstance=self._host or None,
        )


class Recorder:
    """Writes events in the background; what calls it never waits and never fails.

    At most a thousand wait to be written; more are dropped and counted in `dropped`. With `delay_s` they are
    written so much later, or as soon as a hundred wait: what they tell of has the processors first.
    """

    def __init__(
        self, client: Client, clock: Clock, component: str, host: str = "", *, delay_s: float = 0.0
    ) -> None:
        self.dropped = 0
        self._delay_s = delay_s
        self._many = asyncio.Event()
        self._client = client
        self._clock = clock
        self._correlator = Correlator(component, host)
        self._pending: asyncio.Queue[api.Event] = asyncio.Queue(PENDING_MOST)

    def emit(self, emit: Emit, field_path: str = "") -> None:
        """Record `emit`. `field_path` names a part of the object: `spec.containers{web}`."""
        if self._pending.full():  # as client-go's broadcaster does, before it is looked at
            self.dropped += 1
            return
        event = self._correlator.correlate(emit, self._clock.now(), field_path)
        if event is None:
            return
        self._pending.put_nowait(event)
        if self._pending.qsize() >= MANY:
            self._many.set()

    def event(
        self, about: Ref, type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        """Record an event: `type` is Normal or Warning, `reason` one word in CamelCase."""
        self.emit(Emit(about, type, reason, message, action), field_path)

    @property
    def waiting(self) -> int:
        """How many events wait to be written, without the one that is being written or held."""
        return self._pending.qsize()

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            event = await self._pending.get()
            if self._delay_s:
                await self._hold()
            await self._try(event)
            while not self._pending.empty():
                await self._try(self._pending.get_nowait())

    async def _hold(self) -> None:
        self._many.clear()
        if self._pending.qsize() < MANY:
            await first_done(self._many.wait(), self._clock.sleep(self._delay_s))

    async def _try(self, event: api.Event) -> None:
        try:
            await self._write(event)
        except Exception:
            _log.exception("the event %s could not be stored", event.metadata.name)

    async def flush(self) -> None:
        """Write what waits now; for the end of a process."""
        while not self._pending.empty():
            await self._write(self._pending.get_nowait())

    async def _write(self, event: api.Event) -> None:
        try:
            if (event.count or 1) > 1 and await self._count_up(event):
                return
            await self._client.create(event)
        except (ApiError, ConnectionError, TimeoutError) as error:
            # Events are a courtesy: one that cannot be stored (a namespace going away) is let go.
            if not is_already_exists(error):
                self.dropped += 1
                _log.debug("the event %s could not be stored: %s", event.metadata.name, error)

    async def _count_up(self, event: api.Event) -> bool:
        meta = event.metadata
        last = event.lastTimestamp
        patch = {"count": event.count, "message": event.message, "lastTimestamp": last}
        try:
            await self._client.patch(api.Event, meta.name or "", meta.namespace or "", patch)
        except ApiError as error:
            if is_not_found(error):
                return False  # it has expired; store it anew
            raise
        return True
