"""DNS messages to values and back: as much of RFC 1035, 2782, 6891 and 8914 as cluster DNS needs.

Own code instead of a library because one query must cost a few microseconds, not a hundred. Names are kept
in wire form, lower-case: lowering a whole name at once is safe because a length byte is never a letter.
"""

from __future__ import annotations

import ipaddress
from struct import Struct as Layout
from struct import unpack_from
from typing import Final

import msgspec

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN: Final = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
_OPCODE: Final = 0x7800

HEADER_BYTES: Final = 12
PLAIN_UDP_BYTES: Final = 512
# What we accept and send at most in one datagram: fits one packet on every network (DNS flag day 2020).
EDNS_UDP_BYTES: Final = 1232
TCP_BYTES: Final = 65535
_MAX_NAME_BYTES: Final = 255
_MAX_LABEL_BYTES: Final = 63
_QUESTION_NAME: Final = b"\xc0\x0c"  # a pointer to the name in the question

_header = Layout(">HHHHHH")
_fixed = Layout(">HHIH")
_pair = Layout(">HH")
_srv = Layout(">HHH")
_soa = Layout(">IIIII")


class Malformed(ValueError):
    """The bytes are no DNS message that can be answered in full. `query_id` is None: not at all."""

    def __init__(self, text: str, query_id: int | None = None) -> None:
        super().__init__(text)
        self.query_id = query_id


class Query(msgspec.Struct, frozen=True):
    """One question. `question` is its bytes as sent, so that the answer can repeat them."""

    id: int
    flags: int
    name: bytes
    type: int
    klass: int
    question: bytes
    edns: bool = False
    edns_version: int = 0
    dnssec_ok: bool = False
    udp_bytes: int = PLAIN_UDP_BYTES

    @property
    def opcode(self) -> int:
        return (self.flags & _OPCODE) >> 11


class Record(msgspec.Struct, frozen=True):
    """A resource record of class IN: `name` and names in `data` in wire form, uncompressed."""

    name: bytes
    type: int
    ttl_s: int
    data: bytes


class Answer(msgspec.Struct, frozen=True):
    """What to say. `chase`: the answer ends in this alias, whose own records must be added.

    `reason` goes along as an extended DNS error where the client understands EDNS.
    """

    rcode: int = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authoritative: bool = True
    chase: bytes = b""
    reason: str = ""


def encode_name(text: str) -> bytes:
    """`web.default.svc.cluster.local` (with or without final dot) in wire form, lower-case.

    Raises ValueError where a label is empty or longer than 63 bytes, or the name longer than 255.
    """
    labels = [label.encode() for label in text.rstrip(".").lower().split(".")] if text.strip(".") else []
    if any(not 0 < len(label) <= _MAX_LABEL_BYTES for label in labels):
        raise ValueError(f"{text!r} is no DNS name: each label has 1 to 63 bytes")
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > _MAX_NAME_BYTES:
        raise ValueError(f"{text!r} is no DNS name: it is longer than 255 bytes")
    return wire


def decode_name(wire: bytes) -> str:
    """A name in (uncompressed) wire form as text, without the final dot."""
    return ".".join(label.decode("ascii", "backslashreplace") for label in labels(wire))


def labels(wire: bytes) -> list[bytes]:
    """The labels of a name in uncompressed wire form."""
    found, at = [], 0
    while at < len(wire) and wire[at]:
        found.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return found


def encode_data(kind: int, text: str) -> bytes:
    """Record data from its text: an address, a name, `priority weight port target`, or free text."""
    match kind:
        case 1 | 28:
            return ipaddress.ip_address(text).packed
        case 2 | 5 | 12:
            return encode_name(text)
        case 33:
            priority, weight, port, target = text.split(" ")
            return _srv.pack(int(priority), int(weight), int(port)) + encode_name(target)
        case 16:
            raw = text.encode()[:255]
            return bytes((len(raw),)) + raw
    raise ValueError(f"records of type {kind} cannot be made from text")


def soa_data(primary: str, mailbox: str, serial: int, negative_ttl_s: int) -> bytes:
    """The data of an SOA record; `negative_ttl_s` is how long a "no" may be remembered."""
    timers = _soa.pack(serial & 0xFFFFFFFF, 7200, 1800, 86400, negative_ttl_s)
    return encode_name(primary) + encode_name(mailbox) + timers


def parse_query(packet: bytes) -> Query:
    """The question in `packet`. Raises Malformed."""
    if len(packet) < HEADER_BYTES:
        raise Malformed("a DNS message has at least 12 bytes")
    query_id, flags, questions, answers, authority, additional = _header.unpack_from(packet)
    if flags & QR:
        raise Malformed("this is an answer, not a query")
    if questions != 1 or answers or authority:
        raise Malformed("a query has one question and no answers", query_id)
    end = _skip_plain_name(packet, HEADER_BYTES, query_id)
    if end + 4 > len(packet):
        raise Malformed("the question is cut off", query_id)
    kind, klass = _pair.unpack_from(packet, end)
    name, question = packet[HEADER_BYTES:end].lower(), packet[HEADER_BYTES : end + 4]
    option = _find_option(packet, end + 4, additional, query_id)
    if option is None:
        return Query(query_id, flags, name, kind, klass, question)
    size, version, dnssec_ok = option
    size = max(PLAIN_UDP_BYTES, min(size, EDNS_UDP_BYTES))
    return Query(query_id, flags, name, kind, klass, question, True, version, dnssec_ok, size)


def respond(query: Query, answer: Answer, limit_bytes: int) -> bytes:
    """The whole message. What does not fit is left out, with TC set where it belongs to the answer."""
    flags, counts, body = encode_body(query, answer)
    size = HEADER_BYTES + len(query.question) + len(body)
    if size > limit_bytes and answer.additional:
        flags, counts, body = encode_body(query, msgspec.structs.replace(answer, additional=()))
        size = HEADER_BYTES + len(query.question) + len(body)
    if size > limit_bytes:
        empty = Answer(answer.rcode, authoritative=answer.authoritative)
        flags, counts, body = encode_body(query, empty)
        flags |= TC
    return assemble(query.id, flags | (query.flags & RD), counts, query.question, body)


def encode_body(query: Query, answer: Answer) -> tuple[int, bytes, bytes]:
    """Flags (without RD), the four counts, and all that follows the question.

    The body refers to nothing but the question's name, so it can be kept for other queries of that name.
    """
    own = query.name
    option = _option(answer) if query.edns else b""
    sections = (answer.answers, answer.authority, answer.additional)
    body = b"".join(_record(record, own) for section in sections for record in section) + option
    flags = QR | RA | (AA if answer.authoritative else 0) | (query.flags & _OPCODE) | (answer.rcode & 0xF)
    additional = len(answer.additional) + (1 if option else 0)
    counts = _header.pack(0, 0, 1, len(answer.answers), len(answer.authority), additional)[4:]
    return flags, counts, body


def assemble(query_id: int, flags: int, counts: bytes, question: bytes, body: bytes) -> bytes:
    """A message from the parts that `encode_body` gives."""
    return b"".join((_pair.pack(query_id, flags), counts, question, body))


def refuse_malformed(query_id: int) -> bytes:
    """The answer to something that is no proper query: FORMERR without a question."""
    return _header.pack(query_id, QR | FORMERR, 0, 0, 0, 0)


def make_query(query_id: int, name: bytes, kind: int) -> bytes:
    """A recursive query with EDNS."""
    question = name + _pair.pack(kind, IN)
    option = b"\0" + _fixed.pack(OPT, EDNS_UDP_BYTES, 0, 0)
    return _header.pack(query_id, RD, 1, 0, 0, 1) + question + option


def parse_reply(packet: bytes) -> tuple[int, Query, list[Record], list[int]]:
    """An upstream's answer: rcode, its question, its answer records, and where all the TTLs stand.

    Names in CNAME data are uncompressed. Raises Malformed.
    """
    if len(packet) < HEADER_BYTES:
        raise Malformed("a DNS message has at least 12 bytes")
    query_id, flags, questions, *counts = _header.unpack_from(packet)
    if not flags & QR or questions != 1:
        raise Malformed("this is no answer to one question", query_id)
    end = _skip_plain_name(packet, HEADER_BYTES, query_id)
    if end + 4 > len(packet):
        raise Malformed("the question is cut off", query_id)
    kind, klass = _pair.unpack_from(packet, end)
    question = packet[HEADER_BYTES : end + 4]
    query = Query(query_id, flags, packet[HEADER_BYTES:end].lower(), kind, klass, question)
    records: list[Record] = []
    ttls: list[int] = []
    at = end + 4
    for position in range(sum(counts)):
        name, at = _read_name(packet, at, query_id)
        if at + 10 > len(packet):
            raise Malformed("a record is cut off", query_id)
        type_, _, ttl_s, length = _fixed.unpack_from(packet, at)
        if at + 10 + length > len(packet):
            raise Malformed("a record is cut off", query_id)
        if type_ != OPT:
            ttls.append(at + 4)
        if position < counts[0]:
            data = packet[at + 10 : at + 10 + length]
            if type_ == CNAME:
                data, _ = _read_name(packet, at + 10, query_id)
            records.append(Record(name, type_, ttl_s, data))
        at += 10 + length
    return flags & 0xF, query, records, ttls


def _record(record: Record, own: bytes) -> bytes:
    name = _QUESTION_NAME if record.name == own else record.name
    return b"".join((name, _fixed.pack(record.type, IN, record.ttl_s, len(record.data)), record.data))


def _option(answer: Answer) -> bytes:
    data = b""
    if answer.reason:
        text = answer.reason.encode()[:200]
        code = 22 if answer.rcode == SERVFAIL else 0  # No Reachable Authority
        data = _pair.pack(15, 2 + len(text)) + code.to_bytes(2, "big") + text
    return b"\0" + _fixed.pack(OPT, EDNS_UDP_BYTES, (answer.rcode >> 4) << 24, len(data)) + data


def _find_option(packet: bytes, at: int, count: int, query_id: int) -> tuple[int, int, bool] | None:
    for _ in range(count):
        name, at = _read_name(packet, at, query_id)
        if at + 10 > len(packet):
            raise Malformed("a record is cut off", query_id)
        kind, size, ttl, length = _fixed.unpack_from(packet, at)
        if kind == OPT and name == b"\0":
            return size, (ttl >> 16) & 0xFF, bool(ttl & 0x8000)
        at += 10 + length
    return None


def _skip_plain_name(packet: bytes, at: int, query_id: int) -> int:
    start = at
    while at < len(packet):
        length = packet[at]
        at += 1
        if not length:
            return at
        if length > _MAX_LABEL_BYTES or at - start + length >= _MAX_NAME_BYTES:
            break
        at += length
    raise Malformed("the name in the question is not valid", query_id)


def _read_name(packet: bytes, at: int, query_id: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    size, after, start = 0, -1, at
    while at < len(packet):
        length = packet[at]
        if length >= 0xC0 and at + 1 < len(packet):
            after = at + 2 if after < 0 else after
            at = unpack_from(">H", packet, at)[0] & 0x3FFF
            if at >= start:  # only ever backwards, so that no message can send us in circles
                break
            start = at
            continue
        if length > _MAX_LABEL_BYTES:
            break
        parts.append(packet[at : at + 1 + length])
        at, size = at + 1 + length, size + 1 + length
        if size > _MAX_NAME_BYTES or at > len(packet):
            break
        if not length:
            return b"".join(parts).lower(), at if after < 0 else after
    raise Malformed("a name is not valid", query_id)
