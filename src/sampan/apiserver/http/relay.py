"""Carries requests on to the server of a node or a pod; those that leave HTTP go through `upgrade`."""

from __future__ import annotations

import contextlib
import ssl
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict

from sampan.apiserver.core import status
from sampan.apiserver.core.request import Request, Tunnel
from sampan.apiserver.http.upgrade import pass_on

_CONNECT_S: Final = 10.0
_UPGRADES: Final = ("websocket", "spdy/")
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers",
     "transfer-encoding", "upgrade", "host", "content-length", "accept-encoding"}
)  # fmt: skip


class Relay:
    """Relays with one client session; `node_tls` holds the client certificate that kubelets trust.

    `nodes_at` (host, or host:port) is where one server answers for all nodes, as it does for simulated ones;
    where it names no port, the nodes' own holds.
    """

    def __init__(self, node_tls: ssl.SSLContext | None = None, *, nodes_at: str = "") -> None:
        self._node_tls = node_tls
        self._nodes_at = nodes_at
        self._session: aiohttp.ClientSession | None = None

    async def carry(self, http: web.BaseRequest, request: Request, tunnel: Tunnel) -> web.StreamResponse:
        """Relay one request and its answer."""
        tls = self._node_tls if tunnel.to_node else None
        if tunnel.to_node and self._nodes_at:
            url = urlsplit(tunnel.url)
            place = self._nodes_at if ":" in self._nodes_at else f"{self._nodes_at}:{url.port}"
            tunnel = msgspec.structs.replace(tunnel, url=url._replace(scheme="https", netloc=place).geturl())
        try:
            # Other upgrades are offers (h2c), which may be declined by not passing them on.
            if request.headers.get("upgrade", "").lower().startswith(_UPGRADES):
                if tls is None and tunnel.url.startswith("https:"):
                    tls = ssl.create_default_context()
                headers = _forwarded(request, tunnel).items()
                return await pass_on(http, request.method, tunnel.url, headers, tls, _CONNECT_S)
            return await self._plain(http, request, tunnel, True if tls is None else tls)
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


def _forwarded(request: Request, tunnel: Tunnel) -> CIMultiDict[str]:
    dropped = _HOP_BY_HOP | set(tunnel.strip_headers)
    return CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in dropped)


__all__ = ["Relay"]
