"""SPDY framing: what one end says the other end hears, and nothing that a peer sends does harm."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.streaming import spdy
from sampan.node.streaming.spdy import (
    DataCame,
    GoneAway,
    PingCame,
    ResetCode,
    SpdyConnection,
    SpdyError,
    StreamOpened,
    StreamReplied,
    StreamReset,
)
from sampan.node.streaming.spdydictionary import DICTIONARY

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40), max_size=6)
SAID = st.lists(st.tuples(HEADERS, st.lists(st.binary(max_size=400), max_size=4), st.booleans()), max_size=6)


def parts(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` cut at lengths that repeat."""
    found = []
    index = 0
    while data:
        size = sizes[index % len(sizes)]
        found.append(data[:size])
        data = data[size:]
        index += 1
    return found


def hear(connection: SpdyConnection, data: bytes, sizes: list[int] | None = None) -> list[spdy.Event]:
    events: list[spdy.Event] = []
    for part in parts(data, sizes or [len(data) or 1]):
        events += connection.receive(part)[0]
    return events


def test_the_dictionary_is_the_published_one() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_a_stream_that_kubectl_opened_is_understood() -> None:
    block = (
        b"x\xf9\xe3\xc6\xa7\xc2\x02%:H\xf9[\x04J\xab\xac&\xa6\x96\x96\x96\x0c\x0c\x0c\x9cE\x90\x08\xcb\x04%dF"
        b"\x03pR,)JM\xcc\x85\x966\xac\xa9\xa0\xb8\x00\x00\x00\x00\xff\xff"
    )
    payload = struct.pack(">IIH", 1, 0, 0) + block
    frame = struct.pack(">HHI", 0x8003, 1, len(payload)) + payload
    events = hear(SpdyConnection(), frame)
    assert events == [StreamOpened(1, {"streamtype": "error", "port": "45999", "requestid": "0"})]


@given(SAID, st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_streams_and_their_data_arrive_as_they_were_sent(
    said: list[tuple[dict[str, str], list[bytes], bool]], sizes: list[int]
) -> None:
    client, server = SpdyConnection(client=True), SpdyConnection()
    wire, expected = b"", []
    for headers, blocks, ends in said:
        stream_id, frame = client.open(headers)
        wire += frame
        for block in blocks:
            wire += client.data(stream_id, block)
        if ends:
            wire += client.data(stream_id, b"", fin=True)
        expected.append((headers, b"".join(blocks), ends))
    heard: dict[int, list[object]] = {}
    for event in hear(server, wire, sizes):
        if isinstance(event, StreamOpened):
            heard[event.stream_id] = [event.headers, b"", False]
        elif isinstance(event, DataCame):
            entry = heard[event.stream_id]
            entry[1] = entry[1] + event.data  # type: ignore[operator]
            entry[2] = entry[2] or event.fin
    assert [tuple(entry) for entry in heard.values()] == expected


@given(st.lists(HEADERS, min_size=1, max_size=5))
def test_replies_share_one_compression_in_each_direction(replies: list[dict[str, str]]) -> None:
    client, server = SpdyConnection(client=True), SpdyConnection()
    for headers in replies:
        stream_id, frame = client.open({"streamtype": "data"})
        assert hear(server, frame) == [StreamOpened(stream_id, {"streamtype": "data"})]
        assert hear(client, server.reply(stream_id, headers)) == [StreamReplied(stream_id, headers)]


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_what_makes_no_sense_is_an_error_of_its_own(noise: list[bytes]) -> None:
    server = SpdyConnection()
    for data in noise:
        try:
            server.receive(data)
        except SpdyError:
            return


@given(st.integers(1, 12), st.integers(0, 255), st.binary(max_size=60))
def test_control_frames_with_any_content_are_an_error_of_their_own(
    kind: int, flags: int, payload: bytes
) -> None:
    server = SpdyConnection()
    frame = struct.pack(">HHI", 0x8003, kind, flags << 24 | len(payload)) + payload
    try:
        server.receive(frame)
    except SpdyError:
        return


def test_a_header_bomb_is_refused() -> None:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    plain = struct.pack(">II", 1, 1) + b"a" + struct.pack(">I", 50_000_000) + bytes(50_000_000)
    block = deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < spdy.MAX_CONTROL_BYTES
    payload = struct.pack(">IIH", 1, 0, 0) + block
    with pytest.raises(SpdyError, match="larger than"):
        SpdyConnection().receive(struct.pack(">HHI", 0x8003, 1, len(payload)) + payload)


def test_a_huge_control_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(SpdyError, match="control frame"):
        SpdyConnection().receive(struct.pack(">HHI", 0x8003, 1, 0xFFFFFF))


def test_other_versions_are_refused() -> None:
    with pytest.raises(SpdyError, match="version 2"):
        SpdyConnection().receive(struct.pack(">HHII", 0x8002, 6, 4, 1))


def test_more_streams_than_the_limit_are_refused_and_the_others_go_on() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection()
    for _ in range(spdy.MAX_STREAMS):
        server.receive(client.open({})[1])
    stream_id, frame = client.open({})
    events, answers = server.receive(frame)
    assert events == []
    assert answers == spdy.reset(stream_id, ResetCode.REFUSED_STREAM)
    assert hear(server, client.data(1, b"on")) == [DataCame(1, b"on")]


@pytest.mark.parametrize("stream_id", [2, 0])
def test_stream_ids_that_are_not_the_clients_are_refused(stream_id: int) -> None:
    payload = struct.pack(">IIH", stream_id, 0, 0) + zlib.compress(b"\0\0\0\0")
    with pytest.raises(SpdyError):
        SpdyConnection().receive(struct.pack(">HHI", 0x8003, 1, len(payload)) + payload)


def test_pings_of_the_client_are_answered_and_answers_are_not() -> None:
    server = SpdyConnection()
    assert hear(server, spdy.ping(7)) == [PingCame(spdy.ping(7))]
    assert hear(server, spdy.ping(8)) == [PingCame(b"")]


def test_a_reset_ends_both_halves_and_late_data_is_passed_over() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection()
    stream_id, frame = client.open({})
    late = client.data(stream_id, b"late")
    hear(server, frame)
    assert hear(server, spdy.reset(stream_id, ResetCode.CANCEL)) == [StreamReset(stream_id, ResetCode.CANCEL)]
    assert server.receive(late) == ([], b"")
    assert server.data(stream_id, b"more") == b""
    assert server.open_streams == 0


def test_data_for_a_stream_that_never_was_is_answered_with_a_reset() -> None:
    frame = struct.pack(">II", 5, 2) + b"hi"
    assert SpdyConnection().receive(frame) == ([], spdy.reset(5, ResetCode.INVALID_STREAM))


def test_a_stream_is_forgotten_once_both_halves_have_ended() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection()
    stream_id, frame = client.open({}, fin=True)
    assert hear(server, frame) == [StreamOpened(stream_id, {}, fin=True)]
    assert hear(client, server.data(stream_id, b"bye", fin=True)) == [DataCame(stream_id, b"bye", fin=True)]
    assert (client.open_streams, server.open_streams) == (0, 0)


def test_settings_and_window_updates_are_passed_over_and_goaway_is_told() -> None:
    server = SpdyConnection()
    settings = struct.pack(">HHI", 0x8003, 4, 4) + struct.pack(">I", 0)
    window = struct.pack(">HHI", 0x8003, 9, 8) + struct.pack(">II", 1, 1000)
    assert hear(server, settings + window + spdy.goaway(3)) == [GoneAway(3)]
