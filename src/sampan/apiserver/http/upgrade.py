"""Passes connections that leave HTTP on to a node or a pod: websockets and SPDY, byte by byte.

Nothing is understood on the way: the handshake is the client's and the node's, and so are refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from sampan.base.upgraded import UpgradedConnection

_CHUNK_BYTES: Final = 64 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_REFUSAL_BYTES: Final = 64 * 1024
_CONNECTION_HEADERS: Final = frozenset({"connection", "upgrade"})
_SWITCHING: Final = 101


async def pass_on(
    http: web.BaseRequest,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    tls: ssl.SSLContext | None,
    connect_s: float,
    server_name: str = "",
) -> web.StreamResponse:
    """Ask `url` for the upgrade that the request asks for, and join the two connections until one ends.

    `headers` are those to pass on, without the connection's own. Raises OSError, TimeoutError and
    aiohttp.ClientError where the other side cannot be reached or speaks no HTTP.
    """
    parts = urlsplit(url)
    async with asyncio.timeout(connect_s):
        reader, writer = await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if tls else 80),
            ssl=tls,
            limit=_MAX_HEAD_BYTES,
            server_hostname=(server_name or None) if tls else None,
        )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _CONNECTION_HEADERS]
        lines += ["Connection: Upgrade", f"Upgrade: {http.headers['Upgrade']}", "", ""]
        writer.write("\r\n".join(lines).encode("utf-8", "surrogateescape"))
        status, answered = await _head(reader)
        if status != _SWITCHING:
            return await _refusal(reader, status, answered)
        front = UpgradedConnection(http)
        await front.accept(answered)
        await _join(front, reader, writer)
        return front.response
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> tuple[int, CIMultiDict[str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as problem:
        raise aiohttp.ClientPayloadError("the answer was no HTTP") from problem
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise aiohttp.ClientPayloadError(f"the answer began with {first[:80]!r}, which is no HTTP")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name.strip(), value.strip())
    return int(words[1]), headers


async def _refusal(reader: asyncio.StreamReader, status: int, headers: CIMultiDict[str]) -> web.Response:
    length = headers.get("Content-Length", "")
    if not length.isdigit() or int(length) > _MAX_REFUSAL_BYTES:
        return web.Response(status=status)
    try:
        body = await reader.readexactly(int(length))
    except asyncio.IncompleteReadError as problem:
        body = problem.partial
    kind = headers.get("Content-Type", "text/plain")
    return web.Response(status=status, body=body, headers={"Content-Type": kind})


async def _join(
    front: UpgradedConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def inward() -> None:
        while data := await front.read():
            writer.write(data)
            await writer.drain()

    async def outward() -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await front.write(data)

    tasks = [asyncio.create_task(inward()), asyncio.create_task(outward())]
    try:
        # Whichever side ends, both protocols have said all they had to say by then.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
