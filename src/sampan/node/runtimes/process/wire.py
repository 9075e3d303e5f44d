"""The frames between the agent and a container's keeper: a type, a length, the bytes.

A client's first frame is a Hello; then either side sends what concerns it until EXIT or the connection's end.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

# Numbers 0 to 2 are the file descriptors that the bytes belong to.
STDIN, STDOUT, STDERR = 0, 1, 2
EXIT, RESIZE, CLOSE_STDIN, HELLO, STARTED, FAILED = 3, 4, 5, 6, 7, 8

HEADER = struct.Struct("!BI")
# One frame holds at most what one read gives; a larger length is not ours.
MAX_FRAME_BYTES = 1 << 20


class Hello(NamedTuple):
    """What a client wants: a command to run, or (without one) to be attached to the container itself."""

    command: tuple[str, ...] = ()
    tty: bool = False
    stdin: bool = False


def frame(kind: int, data: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(data)) + data


def hello_frame(hello: Hello) -> bytes:
    return frame(HELLO, json.dumps(hello._asdict()).encode())


def read_hello(data: bytes) -> Hello:
    fields: dict[str, Any] = json.loads(data)
    return Hello(tuple(fields["command"]), bool(fields["tty"]), bool(fields["stdin"]))


class Decoder:
    """Frames out of a byte stream, however it is cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now. Raises ValueError for what is no frame."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"A frame of {length} bytes is longer than {MAX_FRAME_BYTES}.")
            end = HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append((kind, bytes(self._buffer[HEADER.size : end])))
            del self._buffer[:end]
        return frames
