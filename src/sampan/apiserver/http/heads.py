"""The heads of requests, taken apart.

httptools judges what is a head. A client sends nearly the same head again and again, and the lines below its
first are mostly the same to the byte: those that were found to be right are remembered with what they say.
Whatever could be read in more than one way is not for here: chunked bodies, upgrades, other versions of HTTP.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

BODY_MOST_BYTES: Final = 256 * 1024
# Lines below the first that are remembered: 4 MiB at most.
REMEMBERED: Final = 2_048
REMEMBERED_MOST_BYTES: Final = 2_048

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Headers that change how a connection is read.
_OTHERS_WORK: Final = frozenset({"upgrade", "transfer-encoding", "expect", "http2-settings"})
# A first line about which nobody can be in doubt.
_FIRST: Final = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[!-~]*) HTTP/1\.1\r\n")


class Lines:
    """What the lines below the first say. Many requests share one of these: nobody may change it."""

    __slots__ = ("headers", "keeps", "length")

    def __init__(self, headers: dict[str, str], length: int) -> None:
        # By names in lower case; of a name that comes twice the first, but all groups to impersonate.
        self.headers = headers
        # Of the body, in bytes.
        self.length = length
        # Whether the connection stays open after the answer.
        self.keeps = "close" not in headers.get("connection", "").lower()


class _Reader:
    """What httptools calls back."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        if key not in self.headers:
            self.headers[key] = text
        elif key == "impersonate-group":
            self.headers[key] += f",{text}"


class Heads:
    """Reads heads, and remembers lines of them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Lines] = {}

    def read(self, head: bytes) -> tuple[str, str, Lines] | None:
        """Method, target and the rest of a head with its empty line; None for what is not for here."""
        first = _FIRST.match(head)
        if first is None:
            return _parsed(head)
        rest = head[first.end() :]
        lines = self._known.get(rest)
        if lines is not None:
            return first[1].decode(), first[2].decode(), lines
        found = _parsed(head)
        if found is not None and len(rest) <= REMEMBERED_MOST_BYTES:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[rest] = found[2]
        return found


def _parsed(head: bytes) -> tuple[str, str, Lines] | None:
    if head.count(b"\n") != head.count(b"\r\n"):
        return None  # lines that end in another way might end the head sooner for somebody else
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    method, headers = parser.get_method().decode("latin-1"), reader.headers
    if method not in _METHODS or not _OTHERS_WORK.isdisjoint(headers) or parser.get_http_version() != "1.1":
        return None
    length = headers.get("content-length", "")
    if length and (not length.isascii() or not length.isdigit() or int(length) > BODY_MOST_BYTES):
        return None
    target = reader.url.decode("utf-8", "surrogateescape")
    return method, target, Lines(headers, int(length) if length else 0)
