"""Links of proxied pages, so that a page behind `.../proxy` works in a browser. Pure.

A pod knows nothing of the path that it is reached by. As kube-apiserver does, redirects and the links of HTML
pages that lead to the pod's own host (or name none, and begin with a slash) get the proxy's path in front.
"""

from __future__ import annotations

import gzip
import html
import zlib
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from itertools import accumulate
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

_HREF: Final = frozenset({"href"})
_SRC: Final = frozenset({"src"})
_CITE: Final = frozenset({"cite"})
# HTML's attributes whose values are URLs.
URL_ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    "a": _HREF,
    "applet": frozenset({"codebase"}),
    "area": _HREF,
    "audio": _SRC,
    "base": _HREF,
    "blockquote": _CITE,
    "body": frozenset({"background"}),
    "button": frozenset({"formaction"}),
    "command": frozenset({"icon"}),
    "del": _CITE,
    "embed": _SRC,
    "form": frozenset({"action"}),
    "frame": frozenset({"longdesc", "src"}),
    "head": frozenset({"profile"}),
    "html": frozenset({"manifest"}),
    "iframe": frozenset({"longdesc", "src"}),
    "img": frozenset({"longdesc", "src", "usemap"}),
    "input": frozenset({"src", "usemap", "formaction"}),
    "ins": _CITE,
    "link": _HREF,
    "object": frozenset({"classid", "codebase", "data", "usemap"}),
    "q": _CITE,
    "script": _SRC,
    "source": _SRC,
    "track": _SRC,
    "video": frozenset({"poster", "src"}),
}


class Place(msgspec.Struct, frozen=True):
    """Where a proxied answer comes from: the path before its own, its host, and the host that was asked."""

    prefix: str
    backend_host: str
    asked_host: str


def moved(link: str, place: Place) -> str:
    """The link as it must read for the client. Relative links and those of other hosts stay."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    elsewhere = parts.netloc and parts.netloc not in (place.backend_host, place.asked_host)
    if elsewhere or not parts.path.startswith("/"):
        return link
    host = parts.netloc if parts.netloc == place.asked_host else ""
    scheme = parts.scheme if host else ""
    path = parts.path if parts.path.startswith(place.prefix) else place.prefix + parts.path
    return urlunsplit((scheme, host, path, parts.query, parts.fragment))


def page(body: bytes, encoding: str, place: Place) -> bytes:
    """An HTML page with its links moved, encoded as before. What cannot be decoded stays as it is."""
    try:
        plain, encode = _decoded(body, encoding)
    except (OSError, zlib.error, EOFError):
        return body
    # Byte for byte: what is no URL is not touched, whatever its character set.
    text = plain.decode("utf-8", "surrogateescape")
    parser = _Links(text, place)
    parser.feed(text)
    parser.close()
    if not parser.changes:
        return body
    pieces, at = [], 0
    for start, end, new in parser.changes:
        pieces += [text[at:start], new]
        at = end
    pieces.append(text[at:])
    return encode("".join(pieces).encode("utf-8", "surrogateescape"))


def _decoded(body: bytes, encoding: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    if encoding == "gzip":
        return gzip.decompress(body), lambda data: gzip.compress(data, mtime=0)
    if encoding == "deflate":
        return zlib.decompress(body, -zlib.MAX_WBITS), _deflated
    if encoding:
        raise OSError(f"unknown encoding {encoding}")
    return body, lambda data: data


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


class _Links(HTMLParser):
    """Notes which start tags must change: where they begin and end, and what they become."""

    def __init__(self, text: str, place: Place) -> None:
        super().__init__(convert_charrefs=False)
        self._place = place
        self._lines = [0, *accumulate(len(line) for line in text.split("\n"))]
        self.changes: list[tuple[int, int, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = URL_ATTRIBUTES.get(tag)
        raw = self.get_starttag_text()
        if wanted is None or raw is None:
            return
        place = self._place
        new = [(k, moved(v, place) if k in wanted and v is not None else v) for k, v in attrs]
        if new == attrs:
            return
        line, column = self.getpos()
        start = self._lines[line - 1] + (line - 1) + column
        written = "".join(f" {k}" if v is None else f' {k}="{html.escape(v)}"' for k, v in new)
        self.changes.append(
            (start, start + len(raw), f"<{tag}{written}{'/>' if raw.endswith('/>') else '>'}")
        )

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
