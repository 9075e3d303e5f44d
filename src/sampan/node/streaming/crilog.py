"""Log files in CRI format read back as what the container wrote. Pure.

A line of the file is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`; P means that the line goes on in the
next entry. What does not look like that is passed over, as kubelet does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from sampan.node.streaming.query import LogQuery

# Runtimes cut at 16 KiB; a longer entry is no entry.
MAX_ENTRY_BYTES: Final = 1024 * 1024
_TAIL_BLOCK_BYTES: Final = 64 * 1024
_FRACTION_DIGITS: Final = 9


class LogDecoder:
    """Turns the bytes of one log file, or of a file and its successor, into what a log request gets."""

    def __init__(self, asked: LogQuery) -> None:
        self._timestamps = asked.timestamps
        self._stream = asked.stream
        self._since = _instant(asked.since) if asked.since is not None else None
        self._left_bytes = asked.limit_bytes
        self._rest = b""
        self._line_begins = True
        self._passing_over = False

    @property
    def full(self) -> bool:
        """Whether `limit_bytes` have been given."""
        return self._left_bytes == 0

    def feed(self, data: bytes) -> bytes:
        """What the whole entries in `data` hold; the beginning of an entry is kept for the next call."""
        *entries, rest = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        if self._passing_over and entries:
            del entries[0]
            self._passing_over = False
        if len(rest) > MAX_ENTRY_BYTES:
            self._passing_over, rest = True, b""
        self._rest = rest
        return self._cut(b"".join([self._decode(entry, b"\n") for entry in entries]))

    def finish(self) -> bytes:
        """What an entry without its newline at the end of the file holds."""
        rest, self._rest = self._rest, b""
        return self._cut(self._decode(rest, b"")) if rest and not self._passing_over else b""

    def _decode(self, entry: bytes, end: bytes) -> bytes:
        parts = entry.split(b" ", 3)
        if len(parts) < 3:
            return b""
        moment, stream, tag = parts[:3]
        text = parts[3] if len(parts) == 4 else b""
        if tag[:1] not in (b"F", b"P") or (self._stream is not None and stream != self._stream):
            return b""
        if self._since is not None:
            try:
                if _instant_of(moment) < self._since:
                    return b""
            except ValueError:
                return b""
        begins = self._line_begins
        self._line_begins = tag[:1] == b"F"
        if tag[:1] == b"P":
            end = b""
        if self._timestamps and begins:
            return b"%b %b%b" % (_nanoseconds(moment), text, end)
        return text + end

    def _cut(self, data: bytes) -> bytes:
        if self._left_bytes is None:
            return data
        data = data[: self._left_bytes]
        self._left_bytes -= len(data)
        return data


def tail_offset(read_at: Callable[[int, int], bytes], size_bytes: int, lines: int) -> int:
    """Where the last `lines` lines of a file begin; `read_at(offset, size)` reads it."""
    if lines == 0:
        return size_bytes
    end = size_bytes
    # The newline that ends the last line begins no line.
    if end and read_at(end - 1, 1) == b"\n":
        end -= 1
    while end > 0:
        begin = max(0, end - _TAIL_BLOCK_BYTES)
        block = read_at(begin, end - begin)
        found = block.count(b"\n")
        if found >= lines:
            place = len(block)
            for _ in range(lines):
                place = block.rindex(b"\n", 0, place)
            return begin + place + 1
        lines -= found
        end = begin
    return 0


def _nanoseconds(moment: bytes) -> bytes:
    """The time with nine digits of fraction: runtimes may leave out zeros, and kubelet puts them back."""
    place = moment.find(b".")
    if place == -1:
        place = 19
        fraction, zone = b"", moment[19:]
    else:
        digits = place + 1
        while digits < len(moment) and moment[digits : digits + 1].isdigit():
            digits += 1
        fraction, zone = moment[place + 1 : digits], moment[digits:]
    if len(fraction) == _FRACTION_DIGITS:
        return moment
    return b"%b.%b%b" % (moment[:place], fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, b"0"), zone)


def _instant(moment: datetime) -> tuple[int, int]:
    """Whole seconds since the epoch, and nanoseconds: datetime itself has only microseconds."""
    at = moment.astimezone(UTC)
    return int(at.replace(microsecond=0).timestamp()), at.microsecond * 1000


def _instant_of(text: bytes) -> tuple[int, int]:
    whole = _nanoseconds(text).decode("ascii")
    at = datetime.fromisoformat(whole[:19] + whole[29:])
    if at.tzinfo is None:
        raise ValueError("a time without its zone")
    return int(at.timestamp()), int(whole[20:29])
