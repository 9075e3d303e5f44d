"""Links behind the proxy of pods and services: which are moved, and that nothing else of a page changes."""

from __future__ import annotations

import gzip
import zlib

import pytest

from sampan.apiserver.http.rewriting import Place, moved, page

PREFIX = "/api/v1/namespaces/n/pods/p:80/proxy"
PLACE = Place(PREFIX, "10.1.2.3:80", "localhost:8001")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("/x/y?q=1#f", f"{PREFIX}/x/y?q=1#f"),
        ("/", f"{PREFIX}/"),
        ("http://10.1.2.3:80/x", f"{PREFIX}/x"),
        ("http://localhost:8001/x", f"http://localhost:8001{PREFIX}/x"),
        (f"{PREFIX}/x", f"{PREFIX}/x"),
        ("x/y", "x/y"),
        ("?q", "?q"),
        ("#f", "#f"),
        ("http://example.com/x", "http://example.com/x"),
        ("//example.com/x", "//example.com/x"),
        ("mailto:a@b", "mailto:a@b"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_links(link: str, expected: str) -> None:
    assert moved(link, PLACE) == expected


BODY = """<!DOCTYPE html>
<p title="/not">text &amp; /plain</p>
<A HREF='/one' class=x>one</A><img src=/two>
<script>var a = '<a href="/no">'; </script><!-- <a href="/no"> -->
\u00e4<form action="/three" hidden></form>
"""
MOVED = f"""<!DOCTYPE html>
<p title="/not">text &amp; /plain</p>
<a href="{PREFIX}/one" class="x">one</A><img src="{PREFIX}/two">
<script>var a = '<a href="/no">'; </script><!-- <a href="/no"> -->
\u00e4<form action="{PREFIX}/three" hidden></form>
"""


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_a_page_is_moved_tag_by_tag(charset: str) -> None:
    assert page(BODY.encode(charset), "", PLACE).decode(charset) == MOVED


def test_a_compressed_page_stays_compressed() -> None:
    assert gzip.decompress(page(gzip.compress(BODY.encode()), "gzip", PLACE)).decode() == MOVED
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    raw = packer.compress(BODY.encode()) + packer.flush()
    assert zlib.decompress(page(raw, "deflate", PLACE), -zlib.MAX_WBITS).decode() == MOVED


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_what_cannot_be_read_is_passed_on(encoding: str) -> None:
    assert page(BODY.encode(), encoding, PLACE) == BODY.encode()
