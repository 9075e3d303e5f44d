"""Output as CRI log lines: `<time> <stream> <F|P> <text>`."""

from __future__ import annotations

# containerd's max_container_log_line_size: longer lines are logged in parts.
MAX_LINE_BYTES = 16 * 1024


class LineCutter:
    """Cuts one stream's bytes into log lines."""

    def __init__(self, stream: str) -> None:
        self._stream = stream.encode()
        self._rest = b""

    def feed(self, data: bytes, timestamp: str) -> bytes:
        """The log lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        out = [self._line(line, timestamp) for line in lines]
        while len(self._rest) > MAX_LINE_BYTES:
            out.append(self._entry(b"P", self._rest[:MAX_LINE_BYTES], timestamp))
            self._rest = self._rest[MAX_LINE_BYTES:]
        return b"".join(out)

    def finish(self, timestamp: str) -> bytes:
        """What the stream ended with, if that was no newline."""
        rest, self._rest = self._rest, b""
        return self._line(rest, timestamp) if rest else b""

    def _line(self, line: bytes, timestamp: str) -> bytes:
        parts = []
        while len(line) > MAX_LINE_BYTES:
            parts.append(self._entry(b"P", line[:MAX_LINE_BYTES], timestamp))
            line = line[MAX_LINE_BYTES:]
        return b"".join([*parts, self._entry(b"F", line, timestamp)])

    def _entry(self, tag: bytes, text: bytes, timestamp: str) -> bytes:
        return b"%b %b %b %b\n" % (timestamp.encode(), self._stream, tag, text)
