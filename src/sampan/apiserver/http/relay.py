"""Carries requests on to the server of a node or a pod: plain answers, streams and websockets.

Nothing is understood on the way; a websocket's messages pass one by one in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

import aiohttp
from aiohttp import WSMsgType, web

from sampan.apiserver.core import status
from sampan.apiserver.core.request import Request, Tunnel

_CONNECT_S: Final = 10.0
_CHUNK_BYTES: Final = 64 * 1024
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers",
     "transfer-encoding", "upgrade", "host", "content-length", "accept-encoding"}
)  # fmt: skip


class Relay:
    """Relays with one client session; `node_tls` holds the client certificate that kubelets trust."""

    def __init__(self, node_tls: ssl.SSLContext | None = None) -> None:
        self._node_tls = node_tls
        self._session: aiohttp.ClientSession | None = None

    async def carry(self, http: web.BaseRequest, request: Request, tunnel: Tunnel) -> web.StreamResponse:
        """Relay one request and its answer."""
        tls: ssl.SSLContext | bool = True
        if tunnel.to_node and self._node_tls is not None:
            tls = self._node_tls
        try:
            if request.headers.get("upgrade", "").lower() == "websocket":
                return await self._websocket(http, request, tunnel, tls)
            return await self._plain(http, request, tunnel, tls)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            host = tunnel.url.split("/")[2]
            refused = status.StatusError(
                502, "BadGateway", f"error trying to reach {host}: {problem or type(problem).__name__}"
            ).response()
            return web.Response(body=refused.body, status=refused.status, content_type="application/json")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        return self._session

    async def _plain(
        self, http: web.BaseRequest, request: Request, tunnel: Tunnel, tls: ssl.SSLContext | bool
    ) -> web.StreamResponse:
        headers = _forwarded(request, tunnel)
        async with self._client().request(
            request.method,
            tunnel.url,
            headers=headers,
            data=request.body or None,
            ssl=tls,
            allow_redirects=False,
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            stream = web.StreamResponse(status=answer.status, headers=kept)
            stream.enable_chunked_encoding()
            with contextlib.suppress(ConnectionError):
                await stream.prepare(http)
                async for chunk in answer.content.iter_any():
                    await stream.write(chunk)
                await stream.write_eof()
            return stream

    async def _websocket(
        self, http: web.BaseRequest, request: Request, tunnel: Tunnel, tls: ssl.SSLContext | bool
    ) -> web.StreamResponse:
        offered = tuple(
            p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",") if p.strip()
        )
        url = tunnel.url.replace("https://", "wss://", 1).replace("http://", "ws://", 1)
        try:
            backend = await self._client().ws_connect(
                url, protocols=offered, ssl=tls, autoclose=True, max_msg_size=0
            )
        except aiohttp.WSServerHandshakeError as refused:
            answer = status.StatusError(refused.status, "", refused.message or "the node refused").response()
            return web.Response(body=answer.body, status=refused.status, content_type="application/json")
        async with backend:
            chosen = (backend.protocol,) if backend.protocol else ()
            front = web.WebSocketResponse(protocols=chosen, compress=False, max_msg_size=0)
            await front.prepare(http)
            inward = asyncio.create_task(_pump(front, backend))
            outward = asyncio.create_task(_pump(backend, front))
            try:
                await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (inward, outward):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                        await task
            return front


async def _pump(
    source: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
    sink: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
) -> None:
    async for message in source:
        if message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
    code = source.close_code
    await sink.close(code=code if code is not None and code not in (1005, 1006) else 1000)


def _forwarded(request: Request, tunnel: Tunnel) -> dict[str, str]:
    dropped = _HOP_BY_HOP | set(tunnel.strip_headers)
    return {k: v for k, v in request.headers.items() if k.lower() not in dropped}


__all__ = ["Relay"]
