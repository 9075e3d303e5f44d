"""One HTTP GET over a bare connection: what httpGet probes and hooks need, and no more."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec

BODY_MOST: Final = 10 * 1024
HEAD_MOST: Final = 64 * 1024


class HttpAnswer(msgspec.Struct, frozen=True):
    status: int
    reason: str
    body: str


async def http_get(
    scheme: str, address: str, port: int, path: str, headers: Iterable[tuple[str, str]]
) -> HttpAnswer:
    """GET without following redirects and without checking certificates, as kubelet probes.

    Raises OSError (ConnectionError) where nobody answers, or not in HTTP.
    """
    context = _unchecked() if scheme.upper() == "HTTPS" else None
    reader, writer = await asyncio.open_connection(address, port, ssl=context, limit=HEAD_MOST)
    try:
        writer.write(_request(address, port, path, list(headers)))
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(address: str, port: int, path: str, headers: list[tuple[str, str]]) -> bytes:
    given = {name.lower() for name, _ in headers}
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    defaults = (("Host", host), ("User-Agent", "kube-probe/1.37"), ("Accept", "*/*"), ("Connection", "close"))
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in defaults if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in headers if value or name.lower() != "accept"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def _answer(reader: asyncio.StreamReader) -> HttpAnswer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError(
            "EOF" if isinstance(error, asyncio.IncompleteReadError) else str(error)
        ) from error
    first = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if len(first) < 2 or not first[0].startswith("HTTP/") or not first[1].isdigit():
        raise ConnectionError(f"malformed HTTP response {' '.join(first)!r}")
    body = b""
    while len(body) < BODY_MOST:
        part = await reader.read(BODY_MOST - len(body))
        if not part:
            break
        body += part
    return HttpAnswer(int(first[1]), first[2] if len(first) > 2 else "", body.decode(errors="replace"))
