"""From the bytes of a query to the bytes of its answer: zone first, then upstream."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.network.dns import wire
from sampan.network.dns.answer import Zone
from sampan.network.dns.forward import Forwarder, NoAnswer
from sampan.network.dns.wire import Answer, Malformed, Query, Record

# How many finished answers are kept until the zone changes.
_FINISHED_MOST: Final = 16384
# How many orders of the same addresses clients get in turn.
_ORDERS_MOST: Final = 8
_AXFR, _IXFR = 252, 251
_OPTION_HEAD: Final = b"\x00\x00\x29"
_ONE_QUESTION: Final = b"\x00\x01\x00\x00\x00\x00"

_Finished = tuple[int, bytes, bytes]


class Resolver:
    """Answers queries. `counts` holds how many answers went out, by result code."""

    def __init__(self, zone: Zone, forwarder: Forwarder) -> None:
        self.zone = zone
        self.forwarder = forwarder
        self.counts = [0] * 16
        self._finished: dict[bytes, tuple[_Finished, ...]] = {}
        self._generation = -1

    def answer_at_once(self, packet: bytes, tcp: bool = False) -> bytes | Query | None:
        """The whole answer; or the Query where upstream must be asked first; None: say nothing."""
        known = self._from_finished(packet)
        if known is not None:
            return known
        try:
            query = wire.parse_query(packet)
        except Malformed as error:
            if error.query_id is None:
                return None
            self.counts[wire.FORMERR] += 1
            return wire.refuse_malformed(error.query_id)
        answer = self._refusal(query) or self.zone.answer(query)
        if answer is None:
            return self.forwarder.cached(query, tcp) or query
        if answer.chase:
            return query
        self._keep(query, answer)
        return self._finish(query, answer, tcp)

    async def answer(self, query: Query, packet: bytes, tcp: bool = False) -> bytes:
        """The answer to a query that `answer_at_once` gave back. Never raises for what upstream does."""
        answer = self.zone.answer(query)
        try:
            if answer is None:
                reply = await self.forwarder.ask(query, packet, tcp)
                self.counts[reply[3] & 0xF] += 1
                return reply
            if answer.chase:
                answer = await self._chase(query, answer)
        except (NoAnswer, Malformed) as error:
            known = answer.answers if answer else ()
            answer = Answer(wire.SERVFAIL, known, authoritative=False, reason=str(error))
        return self._finish(query, answer, tcp)

    async def _chase(self, query: Query, answer: Answer) -> Answer:
        # Programs' own resolvers do not follow aliases: they expect the whole chain in one answer.
        rcode, found = await self.forwarder.addresses(answer.chase, query.type)
        return Answer(rcode, (*answer.answers, *found))

    def _refusal(self, query: Query) -> Answer | None:
        if query.opcode:
            return Answer(wire.NOTIMP, authoritative=False)
        if query.edns_version:
            return Answer(wire.BADVERS, authoritative=False)
        if query.type in (_AXFR, _IXFR) or self.forwarder.is_probe(query):
            return Answer(wire.REFUSED, authoritative=False)
        return None

    def _finish(self, query: Query, answer: Answer, tcp: bool) -> bytes:
        self.counts[answer.rcode & 0xF] += 1
        turned = msgspec.structs.replace(answer, answers=_turned(answer.answers, query.id))
        return wire.respond(query, turned, wire.TCP_BYTES if tcp else query.udp_bytes)

    def _keep(self, query: Query, answer: Answer) -> None:
        if query.klass != wire.IN or query.opcode or query.edns_version:
            return
        if self._generation != self.zone.generation or len(self._finished) >= _FINISHED_MOST:
            self._finished.clear()
            self._generation = self.zone.generation
        orders = min(len(answer.answers), _ORDERS_MOST) or 1
        finished = tuple(
            wire.encode_body(query, msgspec.structs.replace(answer, answers=_turned(answer.answers, turn)))
            for turn in range(orders)
        )
        if wire.HEADER_BYTES + len(query.question) + len(finished[0][2]) <= wire.PLAIN_UDP_BYTES:
            self._finished[query.name + query.question[-4:] + (b"e" if query.edns else b"")] = finished

    def _from_finished(self, packet: bytes) -> bytes | None:
        # This is where nearly all queries end, so it looks at bytes and makes no objects.
        if self._generation != self.zone.generation or packet[4:10] != _ONE_QUESTION or packet[2] & 0xF8:
            return None
        end = packet.find(0, wire.HEADER_BYTES) + 1
        key = packet[wire.HEADER_BYTES : end].lower() + packet[end : end + 4]
        if packet[11] == 1 and packet[end + 4 : end + 7] == _OPTION_HEAD and not packet[end + 10]:
            key += b"e"
        elif packet[10] or packet[11]:
            return None
        orders = self._finished.get(key)
        if orders is None:
            return None
        query_id = packet[0] << 8 | packet[1]
        flags, counts, body = orders[query_id % len(orders)]
        self.counts[flags & 0xF] += 1
        flags |= packet[2] << 8 & wire.RD
        return wire.assemble(query_id, flags, counts, packet[wire.HEADER_BYTES : end + 4], body)


def _turned(records: tuple[Record, ...], turn: int) -> tuple[Record, ...]:
    # Clients take the first address: each order in turn spreads them. Aliases keep their place.
    if len(records) < 2 or records[0].type not in (wire.A, wire.AAAA, wire.SRV):
        return records
    at = turn % len(records)
    return records[at:] + records[:at]
