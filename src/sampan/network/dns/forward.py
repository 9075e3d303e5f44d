"""Names that are not the cluster's: asked upstream, remembered for as long as their TTL allows."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
from collections import OrderedDict
from collections.abc import Iterable
from struct import pack_into, unpack_from
from typing import Final

import msgspec

from sampan.base.clock import Clock
from sampan.network.dns import wire
from sampan.network.dns.wire import Malformed, Query, Record

TIMEOUT_S: Final = 2.0
ROUNDS: Final = 2  # how often every upstream is asked
IN_FLIGHT_MOST: Final = 1000
CACHED_MOST: Final = 4096
# kubeadm keeps answers for 30 s; what an upstream says "no" to may exist soon.
POSITIVE_MOST_S: Final = 300
NEGATIVE_MOST_S: Final = 30
_SERVERS_MOST: Final = 3  # as many as a resolv.conf may name
_LOOP_PROBE: Final = "loop-probe.invalid"

Server = tuple[str, int]
_log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """No upstream gave an answer; the text says why."""


def upstreams(resolv_conf: str, own: Iterable[str] = ()) -> tuple[Server, ...]:
    """The name servers that a resolv.conf names, without `own` addresses (that would be a loop)."""
    found: dict[Server, None] = {}
    mine = set(own)
    for line in resolv_conf.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            ip = str(ipaddress.ip_address(words[1].partition("%")[0]))
        except ValueError:
            continue
        if ip not in mine:
            found[(ip, 53)] = None
    return tuple(found)[:_SERVERS_MOST]


class _Kept(msgspec.Struct, frozen=True):
    packet: bytes
    ttl_places: list[int]
    stored_s: float
    until_s: float


class AnswerCache:
    """Upstream answers by question, least recently used out first. Pure: `now_s` is given."""

    def __init__(self, most: int = CACHED_MOST) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: tuple[object, ...], packet: bytes, now_s: float) -> None:
        """Keep an answer for its TTL. Truncated answers, failures and TTL 0 are not kept."""
        try:
            rcode, _, answers, places = wire.parse_reply(packet)
        except Malformed:
            return
        truncated = unpack_from(">H", packet, 2)[0] & wire.TC
        if truncated or rcode not in (wire.NOERROR, wire.NXDOMAIN) or not places:
            return
        most_s = POSITIVE_MOST_S if answers else NEGATIVE_MOST_S
        ttl_s = min(most_s, *(unpack_from(">I", packet, at)[0] for at in places))
        if ttl_s > 0:
            self._kept[key] = _Kept(packet, places, now_s, now_s + ttl_s)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def get(self, key: tuple[object, ...], query: Query, now_s: float) -> bytes | None:
        """The answer with the query's id and spelling, its TTLs counted down; None where there is none."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now_s >= kept.until_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        packet = bytearray(kept.packet)
        pack_into(">H", packet, 0, query.id)
        packet[wire.HEADER_BYTES : wire.HEADER_BYTES + len(query.question)] = query.question
        age_s = int(now_s - kept.stored_s)
        for at in kept.ttl_places:
            pack_into(">I", packet, at, max(0, unpack_from(">I", packet, at)[0] - age_s))
        return bytes(packet)


class Forwarder:
    """Asks `servers` in their order; one that failed goes behind the others.

    Equal questions that are under way share one answer, so that a loop through another server back to us
    waits for itself and ends in a timeout instead of growing.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
        chance: random.Random | None = None,
    ) -> None:
        self.servers = list(servers)
        self.cache = AnswerCache()
        self.sent = 0
        self.failed = 0
        self._clock = clock
        self._timeout_s = timeout_s
        # Ids that can be guessed let others answer in the upstream's place.
        self._chance = chance or random.SystemRandom()
        self._under_way: dict[tuple[object, ...], asyncio.Task[bytes]] = {}
        self._probes: dict[bytes, bool] = {}

    def cached(self, query: Query, tcp: bool) -> bytes | None:
        """What is remembered for `query`."""
        return self.cache.get(_key(query, tcp), query, self._clock.monotonic_s())

    async def ask(self, query: Query, packet: bytes, tcp: bool) -> bytes:
        """The upstream's message for `packet`, with the query's id and spelling. Raises NoAnswer."""
        key = _key(query, tcp)
        known = self.cached(query, tcp)
        if known is not None:
            return known
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= IN_FLIGHT_MOST:
                raise NoAnswer(f"{IN_FLIGHT_MOST} questions to upstream name servers are under way already")
            task = asyncio.create_task(self._ask_all(query, packet, tcp), name="dns upstream")
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        reply = bytearray(await asyncio.shield(task))
        pack_into(">H", reply, 0, query.id)
        reply[wire.HEADER_BYTES : wire.HEADER_BYTES + len(query.question)] = query.question
        return bytes(reply)

    async def addresses(self, name: bytes, kind: int) -> tuple[int, tuple[Record, ...]]:
        """Result code and records of a name, aliases included. Raises NoAnswer."""
        packet = wire.make_query(0, name, kind)
        query = wire.parse_query(packet)
        reply = await self.ask(query, packet, tcp=False)
        if unpack_from(">H", reply, 2)[0] & wire.TC:
            reply = await self.ask(query, packet, tcp=True)
        rcode, _, answers, _ = wire.parse_reply(reply)
        return rcode, tuple(r for r in answers if r.type in (kind, wire.CNAME))

    def is_probe(self, query: Query) -> bool:
        """Whether `query` is our own loop probe come back; notes that it did."""
        if query.name in self._probes:
            self._probes[query.name] = True
            return True
        return False

    async def drop_loops(self) -> None:
        """Ask each upstream a name that nobody has; one that sends it back to us is not asked again."""
        for server in list(self.servers):
            probe = wire.encode_name(f"{self._chance.getrandbits(64):016x}.{_LOOP_PROBE}")
            self._probes[probe] = False
            packet = wire.make_query(self._chance.getrandbits(16), probe, wire.A)
            try:
                await self._exchange(server, wire.parse_query(packet), packet, tcp=False)
            except (OSError, TimeoutError, Malformed) as error:
                _log.info("the name server %s does not answer yet: %s", server[0], error)
            if self._probes.pop(probe):
                _log.error("the name server %s sends questions back to this one; it is not used", server[0])
                self.servers.remove(server)

    def _done(self, key: tuple[object, ...], task: asyncio.Task[bytes]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone: then nobody else looks at it

    async def _ask_all(self, query: Query, packet: bytes, tcp: bool) -> bytes:
        if not self.servers:
            raise NoAnswer("no upstream name server is known; name one in resolv.conf, or with --upstream")
        problems: dict[Server, str] = {}
        for _ in range(ROUNDS):
            for server in list(self.servers):
                try:
                    reply = await self._exchange(server, query, packet, tcp)
                except (OSError, TimeoutError, Malformed) as error:
                    problems[server] = str(error) or "no answer in time"
                    self._put_last(server)
                    continue
                if reply[3] & 0xF == wire.SERVFAIL:
                    problems[server] = "it failed itself"
                    continue
                self.cache.put(_key(query, tcp), reply, self._clock.monotonic_s())
                return reply
        self.failed += 1
        listed = "; ".join(f"{ip}: {why}" for (ip, _), why in problems.items())
        raise NoAnswer(f"no upstream name server answered ({listed})")

    def _put_last(self, server: Server) -> None:
        if server in self.servers:
            self.servers.remove(server)
            self.servers.append(server)

    async def _exchange(self, server: Server, query: Query, packet: bytes, tcp: bool) -> bytes:
        query_id = self._chance.getrandbits(16)
        asked = query_id.to_bytes(2, "big") + packet[2:]
        self.sent += 1
        async with asyncio.timeout(self._timeout_s):
            if tcp:
                return _checked(await _over_tcp(server, asked), query_id, query)
            return await _over_udp(server, asked, query_id, query)


async def _over_udp(server: Server, packet: bytes, query_id: int, query: Query) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.connect(server)  # so that nobody else's datagrams arrive, and a closed port is told at once
        await loop.sock_sendall(own, packet)
        while True:
            reply = await loop.sock_recv(own, wire.TCP_BYTES)
            try:
                return _checked(reply, query_id, query)
            except Malformed:
                continue  # a forged or late one: the real answer may still come


async def _over_tcp(server: Server, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        await writer.drain()
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection was closed before the answer was complete") from error
    finally:
        writer.close()


def _checked(reply: bytes, query_id: int, query: Query) -> bytes:
    if len(reply) < wire.HEADER_BYTES or not reply[2] & 0x80:
        raise Malformed("this is no answer")
    if int.from_bytes(reply[:2], "big") != query_id:
        raise Malformed("this answers another question")
    end = wire.HEADER_BYTES + len(query.question)
    if (
        reply[wire.HEADER_BYTES : end - 4].lower() != query.name
        or reply[end - 4 : end] != query.question[-4:]
    ):
        raise Malformed("this answers another question")
    return reply


def _key(query: Query, tcp: bool) -> tuple[object, ...]:
    # The datagram size is part of it: an answer that fits one client may be too long for another.
    size = 0 if tcp else query.udp_bytes
    return query.name, query.type, query.klass, query.edns, query.dnssec_ok, query.flags & 0x0110, size
