"""Output as CRI log lines: `<time> <stream> <F|P> <text>`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

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


class LogWriter:
    """A container's log file; without a path, nothing is kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._cutters = {1: LineCutter("stdout"), 2: LineCutter("stderr")}
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, stream: int, data: bytes, timestamp: str) -> None:
        """Log what stream 1 or 2 has written."""
        self._append(self._cutters[stream].feed(data, timestamp))

    def finish(self, timestamp: str) -> None:
        """Log the last words of both streams."""
        for cutter in self._cutters.values():
            self._append(cutter.finish(timestamp))

    def _append(self, lines: bytes) -> None:
        if self._fd < 0 or not lines:
            return
        with suppress(OSError):  # a full disk must not end the container
            if self._was_rotated():
                os.close(self._fd)
                self._open()
            os.write(self._fd, lines)

    def _was_rotated(self) -> bool:
        """Whether the path names another file by now, or none."""
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._fd))  # noqa: PTH116
        except FileNotFoundError:
            return True
