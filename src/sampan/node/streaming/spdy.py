"""SPDY/3.1 frames without I/O: bytes in, events out, and the bytes of what is to be sent.

Kubernetes clients use SPDY for several streams in one connection. As their own library does, window updates
and settings are passed over: the connection itself holds back a fast sender. Pure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import msgspec

from sampan.node.streaming.spdydictionary import DICTIONARY

MAX_CONTROL_BYTES: Final = 64 * 1024
MAX_HEADERS_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 256
MAX_DATA_BYTES: Final = (1 << 24) - 1
MAX_STREAMS: Final = 1024
_LAST_STREAM_ID: Final = (1 << 31) - 1

_VERSION: Final = 3
_FIN, _UNIDIRECTIONAL = 0x01, 0x02
_WORD: Final = struct.Struct(">I")
_TWO_WORDS: Final = struct.Struct(">II")
_CONTROL: Final = struct.Struct(">HHI")


class FrameType(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetCode(IntEnum):
    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6


class SpdyError(ValueError):
    """The peer broke the protocol; the connection is of no more use."""


class StreamOpened(msgspec.Struct, frozen=True):
    """The peer opened a stream. `fin`: it sends nothing on it."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


class StreamReplied(msgspec.Struct, frozen=True):
    """The peer took a stream of ours."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


class DataCame(msgspec.Struct, frozen=True):
    """Bytes of a stream; a long frame comes in several. `fin`: they are the last."""

    stream_id: int
    data: bytes
    fin: bool = False


class StreamReset(msgspec.Struct, frozen=True):
    stream_id: int
    code: int


class PingCame(msgspec.Struct, frozen=True):
    """`reply` is to be sent back; empty where the ping answers one of ours."""

    reply: bytes


class GoneAway(msgspec.Struct, frozen=True):
    """The peer opens no more streams."""

    last_stream_id: int


Event = StreamOpened | StreamReplied | DataCame | StreamReset | PingCame | GoneAway


class _Open(msgspec.Struct):
    """The halves of a stream that have not ended."""

    local: bool = True
    remote: bool = True


class SpdyConnection:
    """One end of a connection. What its methods return is to be sent in the order in which it was made."""

    def __init__(self, *, client: bool = False) -> None:
        self._client = client
        self._streams: dict[int, _Open] = {}
        self._last_peer_id = 0
        self._next_id = 1 if client else 2
        self._buffer = bytearray()
        self._data_stream, self._data_left, self._data_fin = 0, 0, False
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    @property
    def open_streams(self) -> int:
        """How many streams have a half that has not ended."""
        return len(self._streams)

    # -- what comes in

    def receive(self, data: bytes) -> tuple[list[Event], bytes]:
        """What `data` says, and what has to be sent back for it at once. Raises SpdyError."""
        self._buffer += data
        events: list[Event] = []
        answers = bytearray()
        while True:
            if self._data_left:
                if not self._buffer:
                    break
                part = bytes(self._buffer[: self._data_left])
                del self._buffer[: len(part)]
                self._data_left -= len(part)
                self._data(events, answers, part, self._data_fin and not self._data_left)
                continue
            if len(self._buffer) < 8:
                break
            first, second = _TWO_WORDS.unpack_from(self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first & 0x80000000:
                del self._buffer[:8]
                self._data_stream, self._data_left, self._data_fin = first, length, bool(flags & _FIN)
                if not length:
                    self._data(events, answers, b"", self._data_fin)
                continue
            if length > MAX_CONTROL_BYTES:
                raise SpdyError(f"a control frame of {length} bytes is larger than {MAX_CONTROL_BYTES}")
            if len(self._buffer) < 8 + length:
                break
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first >> 16 & 0x7FFF != _VERSION:
                raise SpdyError(f"version {first >> 16 & 0x7FFF} is not SPDY/3")
            self._control(events, answers, first & 0xFFFF, flags, payload)
        return events, bytes(answers)

    def _data(self, events: list[Event], answers: bytearray, data: bytes, fin: bool) -> None:
        stream = self._streams.get(self._data_stream)
        if stream is None or not stream.remote:
            # What was under way when the stream ended here; a stream that never was is refused.
            if self._data_stream > self._last_peer_id and not self._is_mine(self._data_stream):
                answers += reset(self._data_stream, ResetCode.INVALID_STREAM)
            return
        if data or fin:
            events.append(DataCame(self._data_stream, data, fin))
        if fin:
            self._end(self._data_stream, remote=True)

    def _control(
        self, events: list[Event], answers: bytearray, kind: int, flags: int, payload: bytes
    ) -> None:
        if kind == FrameType.SYN_STREAM:
            self._opened(events, answers, flags, payload)
        elif kind in (FrameType.SYN_REPLY, FrameType.HEADERS):
            stream_id, headers = _id_of(payload), self._read_headers(payload[4:])
            if stream_id in self._streams:
                fin = bool(flags & _FIN)
                if kind == FrameType.SYN_REPLY:
                    events.append(StreamReplied(stream_id, headers, fin))
                elif fin:
                    events.append(DataCame(stream_id, b"", True))
                if fin:
                    self._end(stream_id, remote=True)
        elif kind == FrameType.RST_STREAM:
            stream_id, code = _pair(payload)
            if self._streams.pop(stream_id & _LAST_STREAM_ID, None) is not None:
                events.append(StreamReset(stream_id & _LAST_STREAM_ID, code))
        elif kind == FrameType.PING:
            mine = bool(_word(payload) & 1) == self._client
            events.append(PingCame(b"" if mine else _frame(FrameType.PING, 0, payload[:4])))
        elif kind == FrameType.GOAWAY:
            events.append(GoneAway(_pair(payload)[0] & _LAST_STREAM_ID))
        # Settings, window updates and what later versions may bring are passed over.

    def _opened(self, events: list[Event], answers: bytearray, flags: int, payload: bytes) -> None:
        if len(payload) < 10:
            raise SpdyError("a SYN_STREAM frame is too short")
        stream_id = _id_of(payload)
        # Even those of a stream that is refused: the compression goes on from frame to frame.
        headers = self._read_headers(payload[10:])
        if self._is_mine(stream_id) or stream_id <= self._last_peer_id:
            raise SpdyError(f"the stream id {stream_id} is not the peer's next one")
        self._last_peer_id = stream_id
        if len(self._streams) >= MAX_STREAMS:
            answers += reset(stream_id, ResetCode.REFUSED_STREAM)
            return
        fin = bool(flags & _FIN)
        self._streams[stream_id] = _Open(local=not flags & _UNIDIRECTIONAL, remote=not fin)
        events.append(StreamOpened(stream_id, headers, fin))

    def _read_headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS_BYTES)
        except zlib.error as error:
            raise SpdyError(f"a header block cannot be decompressed: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"a header block is larger than {MAX_HEADERS_BYTES} bytes")
        return _parse_headers(plain)

    def _is_mine(self, stream_id: int) -> bool:
        return bool(stream_id & 1) == self._client

    def _end(self, stream_id: int, *, remote: bool = False, local: bool = False) -> None:
        stream = self._streams[stream_id]
        stream.remote = stream.remote and not remote
        stream.local = stream.local and not local
        if not stream.remote and not stream.local:
            del self._streams[stream_id]

    # -- what goes out

    def open(self, headers: Mapping[str, str], *, fin: bool = False) -> tuple[int, bytes]:
        """A new stream of ours: (its id, the frame)."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Open(local=not fin)
        payload = _TWO_WORDS.pack(stream_id, 0) + b"\0\0" + self._write_headers(headers)
        return stream_id, _frame(FrameType.SYN_STREAM, _FIN if fin else 0, payload)

    def reply(self, stream_id: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Take a stream of the peer's."""
        block = self._write_headers(headers or {})
        return _frame(FrameType.SYN_REPLY, 0, _WORD.pack(stream_id) + block)

    def data(self, stream_id: int, data: bytes, *, fin: bool = False) -> bytes:
        """Bytes for a stream; empty where our half has ended already, as when the peer has reset it."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.local:
            return b""
        frames = bytearray()
        view = memoryview(data)
        while True:
            part, view = view[:MAX_DATA_BYTES], view[MAX_DATA_BYTES:]
            flags = _FIN if fin and not view else 0
            frames += _TWO_WORDS.pack(stream_id, flags << 24 | len(part))
            frames += part
            if not view:
                break
        if fin:
            self._end(stream_id, local=True)
        return bytes(frames)

    def reset(self, stream_id: int, code: ResetCode = ResetCode.CANCEL) -> bytes:
        """End both halves of a stream at once; empty where it has ended."""
        return reset(stream_id, code) if self._streams.pop(stream_id, None) is not None else b""

    def _write_headers(self, headers: Mapping[str, str]) -> bytes:
        plain = bytearray(_WORD.pack(len(headers)))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                plain += _WORD.pack(len(text)) + text
        return self._deflate.compress(bytes(plain)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def reset(stream_id: int, code: ResetCode) -> bytes:
    """An RST_STREAM frame."""
    return _frame(FrameType.RST_STREAM, 0, _TWO_WORDS.pack(stream_id, code))


def goaway(last_stream_id: int = 0) -> bytes:
    """A GOAWAY frame: no more streams are taken."""
    return _frame(FrameType.GOAWAY, 0, _TWO_WORDS.pack(last_stream_id, 0))


def ping(number: int) -> bytes:
    """A PING frame; clients use odd numbers, servers even ones."""
    return _frame(FrameType.PING, 0, _WORD.pack(number))


def _frame(kind: FrameType, flags: int, payload: bytes) -> bytes:
    return _CONTROL.pack(0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload


def _parse_headers(plain: bytes) -> dict[str, str]:
    count, place = _word(plain), 4
    if count > MAX_HEADERS:
        raise SpdyError(f"a header block has {count} headers, more than {MAX_HEADERS}")
    headers: dict[str, str] = {}
    for _ in range(count):
        name, place = _text(plain, place)
        value, place = _text(plain, place)
        if not name or name in headers:
            raise SpdyError("a header has no name, or its name twice")
        headers[name] = value
    return headers


def _text(plain: bytes, place: int) -> tuple[str, int]:
    begin = place + 4
    end = begin + _word(plain[place:begin])
    if end > len(plain):
        raise SpdyError("a header block ends within a header")
    return plain[begin:end].decode("utf-8", "replace"), end


def _word(data: bytes) -> int:
    if len(data) < 4:
        raise SpdyError("a frame is too short")
    value: int = _WORD.unpack_from(data)[0]
    return value


def _pair(payload: bytes) -> tuple[int, int]:
    return _word(payload), _word(payload[4:])


def _id_of(payload: bytes) -> int:
    stream_id = _word(payload) & _LAST_STREAM_ID
    if stream_id == 0:
        raise SpdyError("a frame names the stream 0, which cannot be")
    return stream_id
