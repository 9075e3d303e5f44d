"""A few pages over HTTP for probes, load balancers and Prometheus: no framework for three lines of text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from sampan.base.errors import SampanError

_TIMEOUT_S: Final = 5.0
_REASONS: Final = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}

# Status, text, content type.
Page = Callable[[], tuple[int, str, str]]
TEXT: Final = "text/plain; charset=utf-8"
METRICS: Final = "text/plain; version=0.0.4"
JSON: Final = "application/json"


async def serve_pages(pages: Mapping[str, Page], host: str, port: int) -> asyncio.Server:
    """Serve each page at its path ("*" stands for every other path) until the server is closed.

    `host` "" means every address. Raises SampanError where the port cannot be had.
    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faults = (ConnectionError, TimeoutError, IndexError, asyncio.IncompleteReadError)
        with suppress(*faults, asyncio.LimitOverrunError):
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].partition(b"?")[0].decode("ascii", "replace")
                page = pages.get(path) or pages.get("*")
                writer.write(_reply(*page()) if page else _reply(404, "there is no such page\n", TEXT))
                await writer.drain()
        writer.close()

    try:
        return await asyncio.start_server(connected, host or None, port)
    except OSError as error:
        raise SampanError(
            f"port {port} for probes cannot be had: {error}; choose another or stop what listens there."
        ) from error


def _reply(status: int, text: str, kind: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
