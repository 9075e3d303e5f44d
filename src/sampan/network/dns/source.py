"""The zone kept as the API server has it: list and watch of Services, EndpointSlices and Namespaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, Final, cast

import msgspec

from sampan.base.clock import Clock
from sampan.client.transport import Transport
from sampan.network.dns.answer import Zone
from sampan.network.dns.records import service_records
from sampan.network.dns.views import (
    ENDPOINT_SLICES,
    NAMESPACES,
    PATHS,
    SERVICES,
    EndpointSlice,
    Service,
    View,
)

_SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MOST_S: Final = 10.0
# One page of a list: bounds the memory that decoding takes at once.
_PAGE: Final = 500
_GONE: Final = 410

Key = tuple[str, str]
_log = logging.getLogger(__name__)


class ZoneFeed:
    """What has been seen of the cluster, turned into records of the zone. Pure: no waiting, no network.

    `own_service` is the (namespace, name) of the service under which this DNS server is reached.
    """

    def __init__(self, zone: Zone, own_service: Key = ("kube-system", "kube-dns")) -> None:
        self.zone = zone
        self._own_service = own_service
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, EndpointSlice] = {}
        self._slices_of: dict[Key, dict[str, EndpointSlice]] = {}
        self._namespaces: set[str] = set()

    def replace(self, path: str, items: Iterable[View]) -> None:
        """`items` are all there is of the kind that `path` lists."""
        present = set()
        for item in items:
            self.put(path, item)
            present.add(_key(item))
        for key in self._known(path) - present:
            self.remove(path, key)

    def put(self, path: str, item: View) -> None:
        """An object is new or has changed."""
        key = _key(item)
        if path == NAMESPACES:
            self._namespaces.add(key[1])
            self.zone.put_namespace(key[1])
        elif path == SERVICES:
            self._services[key] = cast(Service, item)
            self._refresh(key)
        else:
            self._put_slice(key, cast(EndpointSlice, item))

    def remove(self, path: str, key: Key) -> None:
        """An object is gone."""
        if path == NAMESPACES:
            self._namespaces.discard(key[1])
            self.zone.remove_namespace(key[1])
        elif path == SERVICES:
            self._services.pop(key, None)
            self._refresh(key)
        else:
            self._drop_slice(key)

    def _known(self, path: str) -> set[Key]:
        if path == NAMESPACES:
            return {("", name) for name in self._namespaces}
        return set(self._services) if path == SERVICES else set(self._slices)

    def _put_slice(self, key: Key, item: EndpointSlice) -> None:
        before = self._slices.get(key)
        if before is not None and _owner(before) != _owner(item):
            self._drop_slice(key)
        self._slices[key] = item
        self._slices_of.setdefault(_owner(item), {})[key[1]] = item
        self._refresh(_owner(item))

    def _drop_slice(self, key: Key) -> None:
        item = self._slices.pop(key, None)
        if item is None:
            return
        siblings = self._slices_of[_owner(item)]
        del siblings[key[1]]
        if not siblings:
            del self._slices_of[_owner(item)]
        self._refresh(_owner(item))

    def _refresh(self, key: Key) -> None:
        service = self._services.get(key)
        if service is None:
            self.zone.remove(("service", *key))
        else:
            slices = self._slices_of.get(key, {}).values()
            found = service_records(*key, service.spec, slices, self.zone.domain)
            self.zone.put(("service", *key), found)
        if key == self._own_service:
            spec = service.spec if service else None
            self.zone.put_name_server(ip for ip in (spec and spec.clusterIPs) or () if ip != "None")


class _Listed(msgspec.Struct):
    class Meta(msgspec.Struct):
        resourceVersion: str = ""
        continues: str = msgspec.field(default="", name="continue")

    metadata: Meta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Mark(msgspec.Struct):
    class Meta(msgspec.Struct):
        resourceVersion: str = ""

    metadata: Meta = msgspec.field(default_factory=Meta)
    code: int = 0
    message: str = ""


class _Expired(Exception):
    """The watch cannot go on from where it was; list again."""


class Source:
    """Feeds a zone from an API server until cancelled; every failure is retried with back-off."""

    def __init__(self, transport: Transport, feed: ZoneFeed, clock: Clock) -> None:
        self._transport = transport
        self._feed = feed
        self._clock = clock
        self._decoders = {path: msgspec.json.Decoder(kind) for path, kind in PATHS.items()}
        self._lists = msgspec.json.Decoder(_Listed)
        self._events = msgspec.json.Decoder(_Event)
        self._marks = msgspec.json.Decoder(_Mark)
        self._unlisted = set(PATHS)
        self._synced = asyncio.Event()

    @property
    def is_synced(self) -> bool:
        """Whether everything has been listed at least once."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once everything has been listed."""
        await self._synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for path in (SERVICES, ENDPOINT_SLICES, NAMESPACES):
                tasks.create_task(self._keep(path), name=f"dns watch {path}")

    async def _keep(self, path: str) -> None:
        backoff_s, position = _BACKOFF_FIRST_S, ""
        while True:
            try:
                position = position or await self._list(path)
                async with aclosing(cast(Any, self._watch(path, position))) as positions:
                    async for reached in positions:
                        position, backoff_s = reached, _BACKOFF_FIRST_S
            except _Expired:
                position = ""
            except (OSError, TimeoutError, msgspec.MsgspecError, _Refused) as error:
                _log.warning("watching %s failed and is tried again in %.1f s: %s", path, backoff_s, error)
            except Exception as error:
                # Another transport's refusal (an ApiError): list again, whatever it was.
                position = ""
                _log.warning("watching %s was refused and is tried again: %s", path, error)
            # Also after a watch that ended in peace: a server that ends each at once must not be hammered.
            await self._clock.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)

    async def _list(self, path: str) -> str:
        items: list[View] = []
        continues, decode = "", self._decoders[path].decode
        while True:
            query = {"limit": str(_PAGE)} | ({"continue": continues} if continues else {})
            reply = await self._transport.request("GET", path, query)
            if reply.status == _GONE:
                raise _Expired
            if reply.status != 200:
                raise _Refused(path, reply.status, reply.body)
            page = self._lists.decode(reply.body)
            items += (decode(raw) for raw in page.items or ())
            continues = page.metadata.continues
            if not continues:
                break
        self._feed.replace(path, items)
        self._unlisted.discard(path)
        if not self._unlisted:
            self._synced.set()
        return page.metadata.resourceVersion

    async def _watch(self, path: str, position: str) -> Any:
        query = {"watch": "true", "resourceVersion": position, "allowWatchBookmarks": "true"}
        decode = self._decoders[path].decode
        async with aclosing(cast(Any, self._transport.stream(path, query))) as lines:
            async for line in lines:
                if not line.strip():
                    continue
                event = self._events.decode(line)
                mark = self._marks.decode(event.object)
                if event.type == "ERROR":
                    _log.info("the watch of %s ended: %s", path, mark.message)
                    raise _Expired
                if event.type == "DELETED":
                    self._feed.remove(path, _key(decode(event.object)))
                elif event.type != "BOOKMARK":
                    self._feed.put(path, decode(event.object))
                yield mark.metadata.resourceVersion or position


class _Refused(Exception):
    def __init__(self, path: str, status: int, body: bytes) -> None:
        text = body[:200].decode("utf-8", "replace").strip()
        super().__init__(f"the API server answered {status} to {path}: {text}")


def _key(item: View) -> Key:
    return item.metadata.namespace, item.metadata.name


def _owner(item: EndpointSlice) -> Key:
    return item.metadata.namespace, item.metadata.label(_SERVICE_NAME_LABEL)
