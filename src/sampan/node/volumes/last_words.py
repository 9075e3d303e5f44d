"""Termination messages: the file that a container wrote, or the end of its log."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MESSAGE_MOST: Final = 4096
LOG_LINES_MOST: Final = 80
LOG_BYTES_MOST: Final = 2048


def read_last_words(message: Path, log: Path | None) -> str:
    """The message file's text, or where that is empty (and `log` given) the end of the log."""
    try:
        with message.open("rb") as file:
            text = file.read(MESSAGE_MOST).decode(errors="replace")
    except OSError:
        text = ""
    if text or log is None:
        return text
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            # CRI's prefix of each line is not part of the message, so more has to be read.
            file.seek(max(0, file.tell() - LOG_BYTES_MOST * 4))
            return log_tail(file.read())
    except OSError:
        return ""


def log_tail(log: bytes) -> str:
    """The last 80 lines or 2048 bytes of a log in CRI format, without the prefixes."""
    lines = []
    for line in log.splitlines()[-LOG_LINES_MOST:]:
        parts = line.split(b" ", 3)
        if len(parts) == 4:
            lines.append(parts[3] + (b"\n" if parts[2].startswith(b"F") else b""))
    return b"".join(lines)[-LOG_BYTES_MOST:].decode(errors="replace")
