"""The DNS server over real sockets on loopback, with an upstream of its own; messages read by dnslib."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import dnslib
import pytest

from sampan.base.clock import SystemClock
from sampan.network.dns import wire
from sampan.network.dns.forward import AnswerCache, Forwarder, upstreams
from sampan.network.dns.resolver import Resolver
from sampan.network.dns.server import DnsServer, metrics
from tests.ports import free_port
from tests.unit.network import objects
from tests.unit.network.test_dns_answers import DB, DB_SLICE, EXTERNAL, WEB, D, feed

DEADLINE_S = 20.0


class Upstream(asyncio.DatagramProtocol):
    """A name server that knows example.com, big.example.com, loop.example.com and nothing else."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False
        self.forge = False
        self.back_to: tuple[str, int] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.back_to is not None:
            asyncio.get_running_loop().create_task(self._send_on(data))
        if self.silent:
            self.asked.append("(silent)")
            return
        if self.forge:  # somebody who guesses: another id, a wrong address
            wrong = dnslib.DNSRecord.parse(self.reply(data, 512))
            wrong.header.id ^= 1
            self.transport.sendto(wrong.pack(), addr)
        self.transport.sendto(self.reply(data, 512), addr)

    async def _send_on(self, data: bytes) -> None:
        assert self.back_to is not None
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=self.back_to)
        transport.sendto(data)
        transport.close()

    def reply(self, data: bytes, limit: int) -> bytes:
        asked = dnslib.DNSRecord.parse(data)
        name = str(asked.q.qname).lower()
        self.asked.append(name)
        made = asked.reply()
        if name == "example.com." and asked.q.qtype == wire.A:
            made.add_answer(*dnslib.RR.fromZone("example.com. 60 A 192.0.2.1"))
        elif name == "big.example.com.":
            for n in range(100):
                made.add_answer(*dnslib.RR.fromZone(f"big.example.com. 60 A 192.0.2.{n}"))
        else:
            made.header.rcode = wire.NXDOMAIN
        packet: bytes = made.pack()
        if len(packet) > limit:
            made.rr, made.header.tc = [], 1
            packet = made.pack()
        return packet

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = self.reply(await reader.readexactly(size), 65535)
        writer.write(len(reply).to_bytes(2, "big") + reply)
        await writer.drain()
        writer.close()


class World:
    def __init__(self, server: DnsServer, resolver: Resolver, upstream: Upstream) -> None:
        self.server, self.resolver, self.upstream = server, resolver, upstream

    async def send(self, packet: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.connect(("127.0.0.1", self.server.port))
            await loop.sock_sendall(own, packet)
            return await loop.sock_recv(own, 65535)

    async def send_tcp(self, *packets: bytes) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        for packet in packets:
            writer.write(len(packet).to_bytes(2, "big") + packet)
        found = [
            await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")) for _ in packets
        ]
        writer.close()
        return found

    async def ask(self, name: str, kind: str = "A", edns: int = 0, query_id: int | None = None) -> Any:
        return dnslib.DNSRecord.parse(await self.send(question(name, kind, edns, query_id)))


def question(name: str, kind: str = "A", edns: int = 0, query_id: int | None = None) -> bytes:
    made = dnslib.DNSRecord.question(name, kind)
    if query_id is not None:
        made.header.id = query_id
    if edns:
        made.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(made.pack())


def serve(steps: Callable[[World], Awaitable[None]], *given: Any, no_upstream: bool = False) -> None:
    async def all_of_it() -> None:
        loop = asyncio.get_running_loop()
        port = free_port(socket.SOCK_DGRAM, socket.SOCK_STREAM)
        transport, upstream = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", port))
        tcp = await asyncio.start_server(upstream.serve_tcp, "127.0.0.1", port)
        servers = [] if no_upstream else [("127.0.0.1", port)]
        forwarder = Forwarder(servers, SystemClock(), timeout_s=0.2, chance=random.Random(1))
        resolver = Resolver(feed(*given).zone, forwarder)
        server = DnsServer(resolver, "127.0.0.1", 0)
        await server.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await steps(World(server, resolver, upstream))
        finally:
            await server.stop()
            transport.close()
            tcp.close()
            await tcp.wait_closed()

    asyncio.run(all_of_it())


def addresses(reply: Any) -> list[str]:
    return [str(r.rdata) for r in reply.rr]


def test_cluster_names_are_answered_with_the_spelling_of_the_question() -> None:
    async def steps(world: World) -> None:
        for _ in range(2):  # the second one comes from what is kept
            for edns in (0, 1400):
                reply = await world.ask(f"wEb.Default.svc.{D}", edns=edns, query_id=4711)
                assert str(reply.q.qname) == f"wEb.Default.svc.{D}."
                assert (reply.header.id, reply.header.aa, reply.header.ra, reply.header.rd) == (4711, 1, 1, 1)
                assert addresses(reply) == ["10.96.0.10"]
                assert str(reply.rr[0].rname).lower() == f"web.default.svc.{D}."
                assert len(reply.ar) == (1 if edns else 0)
        missing = await world.ask(f"nothing.default.svc.{D}")
        assert missing.header.rcode == wire.NXDOMAIN
        assert missing.auth[0].rtype == wire.SOA
        assert world.upstream.asked == []
        assert "sampan_dns_queries_total" in metrics(world.resolver, world.server)

    serve(steps, WEB)


def test_a_change_of_the_zone_shows_at_once() -> None:
    async def steps(world: World) -> None:
        assert addresses(await world.ask(f"web.default.svc.{D}")) == ["10.96.0.10"]
        world.resolver.zone.remove(("service", "default", "web"))
        assert (await world.ask(f"web.default.svc.{D}")).header.rcode == wire.NXDOMAIN

    serve(steps, WEB)


def test_clients_get_addresses_in_different_orders() -> None:
    async def steps(world: World) -> None:
        firsts = {addresses(await world.ask(f"db.default.svc.{D}", query_id=n))[0] for n in range(4)}
        assert firsts == {"10.88.0.5", "10.88.0.6"}

    serve(steps, DB, DB_SLICE)


def test_what_is_too_long_for_a_datagram_is_truncated_and_whole_over_tcp() -> None:
    many = [f"10.88.{n // 250}.{n % 250 + 1}" for n in range(300)]
    made = objects.endpoint_slice(*many, service="db")

    async def steps(world: World) -> None:
        name = f"db.default.svc.{D}"
        for edns in (0, 4096):
            short = await world.ask(name, edns=edns)
            assert short.header.tc == 1 and not short.rr
        packet = question(name)
        full, again = map(dnslib.DNSRecord.parse, await world.send_tcp(packet, question(f"x.{D}")))
        assert full.header.tc == 0 and len(full.rr) == 300
        assert again.header.rcode == wire.NXDOMAIN

    serve(steps, DB, made)


def test_a_larger_datagram_is_used_where_the_client_allows_it() -> None:
    made = objects.endpoint_slice(*[f"10.88.0.{n}" for n in range(1, 51)], service="db")

    async def steps(world: World) -> None:
        for _ in range(2):
            assert (await world.ask(f"db.default.svc.{D}")).header.tc == 1
            assert len((await world.ask(f"db.default.svc.{D}", edns=4096)).rr) == 50

    serve(steps, DB, made)


def test_other_names_come_from_upstream_once() -> None:
    async def steps(world: World) -> None:
        for name in ("example.com", "EXAMPLE.com"):
            reply = await world.ask(name, query_id=99)
            assert addresses(reply) == ["192.0.2.1"]
            assert (reply.header.id, str(reply.q.qname)) == (99, f"{name}.")
        assert (await world.ask("no.example.org")).header.rcode == wire.NXDOMAIN
        assert world.upstream.asked == ["example.com.", "no.example.org."]

    serve(steps, WEB)


def test_truncated_upstream_answers_are_fetched_over_tcp_by_the_client() -> None:
    async def steps(world: World) -> None:
        assert (await world.ask("big.example.com")).header.tc == 1
        (full,) = await world.send_tcp(question("big.example.com"))
        assert len(dnslib.DNSRecord.parse(full).rr) == 100

    serve(steps, WEB)


def test_external_names_are_chased() -> None:
    async def steps(world: World) -> None:
        reply = await world.ask(f"ext.default.svc.{D}")
        assert addresses(reply) == ["example.com.", "192.0.2.1"]
        assert addresses(await world.ask(f"ext.default.svc.{D}", "CNAME")) == ["example.com."]

    serve(steps, EXTERNAL)


def test_equal_questions_under_way_are_asked_once() -> None:
    async def steps(world: World) -> None:
        world.upstream.silent = True
        replies = await asyncio.gather(*(world.ask("slow.example.com", query_id=n) for n in range(8)))
        assert {r.header.rcode for r in replies} == {wire.SERVFAIL}
        assert [r.header.id for r in replies] == list(range(8))
        assert len(world.upstream.asked) == 2  # ROUNDS

    serve(steps, WEB)


def test_without_upstream_it_says_so() -> None:
    async def steps(world: World) -> None:
        reply = await world.ask("example.com", edns=1232)
        assert reply.header.rcode == wire.SERVFAIL
        (option,) = reply.ar[0].rdata
        assert option.code == 15 and b"no upstream name server is known" in option.data
        assert addresses(await world.ask(f"web.default.svc.{D}")) == ["10.96.0.10"]

    serve(steps, WEB, no_upstream=True)


def test_forged_answers_are_passed_over() -> None:
    async def steps(world: World) -> None:
        world.upstream.forge = True
        assert addresses(await world.ask("example.com")) == ["192.0.2.1"]

    serve(steps, WEB)


def test_an_upstream_that_sends_questions_back_is_not_used() -> None:
    async def steps(world: World) -> None:
        world.upstream.back_to, world.upstream.silent = ("127.0.0.1", world.server.port), True
        await world.resolver.forwarder.drop_loops()
        assert world.resolver.forwarder.servers == []

    async def honest(world: World) -> None:
        await world.resolver.forwarder.drop_loops()
        assert len(world.resolver.forwarder.servers) == 1

    serve(steps, WEB)
    serve(honest, WEB)


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        (b"\x00\x07\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00", wire.FORMERR),  # two questions, none there
        (b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x3fabc", wire.FORMERR),  # cut off
        (question(f"web.default.svc.{D}")[:2] + b"\x28" + question(f"web.default.svc.{D}")[3:], wire.NOTIMP),
        (question(f"web.default.svc.{D}", "AXFR"), wire.REFUSED),
    ],
    ids=["no question", "cut off", "not a query", "a transfer"],
)
def test_what_is_not_answered(packet: bytes, rcode: int) -> None:
    async def steps(world: World) -> None:
        assert (await world.send(packet))[3] & 0xF == rcode

    serve(steps, WEB)


def test_answers_are_not_answered() -> None:
    resolver = Resolver(feed(WEB).zone, Forwarder([], SystemClock()))
    packet = bytearray(question(f"web.default.svc.{D}"))
    packet[2] |= 0x80
    assert resolver.answer_at_once(bytes(packet)) is None
    assert resolver.answer_at_once(b"short") is None


def test_cache_counts_down_forgets_and_has_a_limit() -> None:
    cache = AnswerCache(most=2)
    asked = wire.parse_query(question("example.com", query_id=5))
    reply = dnslib.DNSRecord.parse(question("example.com")).reply()
    reply.add_answer(*dnslib.RR.fromZone("example.com. 60 A 192.0.2.1"))
    cache.put(("a",), reply.pack(), now_s=100.0)
    found = cache.get(("a",), asked, now_s=130.0)
    assert found is not None and dnslib.DNSRecord.parse(found).rr[0].ttl == 30
    assert cache.get(("a",), asked, now_s=160.0) is None
    for key in "abc":
        cache.put((key,), reply.pack(), now_s=200.0)
    assert len(cache) == 2 and cache.get(("a",), asked, now_s=200.0) is None


def test_upstreams_of_a_resolv_conf() -> None:
    servers = ("192.0.2.1 # b", "fe80::1%eth0", "192.0.2.2", "bad")
    text = "# a\nsearch x\n" + "".join(f"nameserver {server}\n" for server in servers)
    assert upstreams(text) == (("192.0.2.1", 53), ("fe80::1", 53), ("192.0.2.2", 53))
    assert upstreams(text, own=["192.0.2.1"]) == (("fe80::1", 53), ("192.0.2.2", 53))
    assert upstreams("") == ()
