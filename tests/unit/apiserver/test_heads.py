"""Heads of requests: what is remembered of them says the same as what was read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver.http import heads
from sampan.apiserver.http.heads import Heads

_LINES = st.sampled_from(
    [
        b"Host: here",
        b"host:  there ",
        b"Authorization: Bearer t",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: +3",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Impersonate-Group: a",
        b"Impersonate-Group: b",
        b"X: a\rb",
        b"X: a\nb",
        b" folded",
        b"no colon",
        b"",
    ]
)
_FIRSTS = st.sampled_from(
    [
        b"GET /a?b=c HTTP/1.1",
        b"GET /other HTTP/1.1",
        b"POST /a HTTP/1.1",
        b"HEAD /a HTTP/1.1",
        b"GET /a HTTP/1.0",
        b"GET  /a HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET a HTTP/1.1",
        b"PATCH /a",
        b"",
    ]
)


def said(found: tuple[str, str, heads.Lines] | None) -> object:
    if found is None:
        return None
    method, target, lines = found
    return method, target, lines.headers, lines.length, lines.keeps


@given(st.lists(st.tuples(_FIRSTS, st.lists(_LINES, max_size=4)), min_size=1, max_size=8))
def test_a_head_says_the_same_whatever_was_read_before(given_heads: list[tuple[bytes, list[bytes]]]) -> None:
    known = Heads()
    for first, lines in given_heads:
        head = b"\r\n".join([first, *lines, b"", b""])
        assert said(known.read(head)) == said(Heads().read(head))


def test_the_lines_below_the_first_are_shared() -> None:
    known = Heads()
    one, other = (known.read(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % name) for name in (b"a", b"b"))
    assert one is not None
    assert other is not None
    assert one[2] is other[2]
    assert (one[1], other[1]) == ("/a", "/b")


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "REMEMBERED", 3)
    known = Heads()
    for number in range(10):
        assert known.read(b"GET / HTTP/1.1\r\nHost: %d\r\n\r\n" % number) is not None
    assert known.read(b"GET / HTTP/1.1\r\nX: " + b"x" * heads.REMEMBERED_MOST_BYTES + b"\r\n\r\n") is not None
    assert len(known._known) == 3


def test_a_header_twice() -> None:
    found = Heads().read(
        b"GET / HTTP/1.1\r\nA: 1\r\na: 2\r\nImpersonate-Group: x\r\nimpersonate-group: y\r\n\r\n"
    )
    assert found is not None
    assert found[2].headers == {"a": "1", "impersonate-group": "x,y"}
