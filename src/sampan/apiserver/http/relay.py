"""Carries requests on to the server of a node or a pod; those that leave HTTP go through `upgrade`."""

from __future__ import annotations

import contextlib
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict

from sampan.apiserver.core import status
from sampan.apiserver.core.request import Request, Tunnel
from sampan.apiserver.http import rewriting
from sampan.apiserver.http.messages import send_as_messages
from sampan.apiserver.http.upgrade import pass_on

_CONNECT_S: Final = 10.0
_MAX_FETCH_BYTES: Final = 16 << 20
_MAX_PAGE_BYTES: Final = 16 << 20
_HTML: Final = "text/html"
_MAX_FRONT_CONTEXTS: Final = 256
_OK: Final = 200
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

    def __init__(
        self,
        node_tls: ssl.SSLContext | None = None,
        *,
        nodes_at: str = "",
        front: tuple[Path, Path] | None = None,
    ) -> None:
        self._node_tls = node_tls
        self._nodes_at = nodes_at
        self._front = front
        self._front_contexts: dict[tuple[bytes, bool], ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, tunnel: Tunnel) -> tuple[int, bytes]:
        """GET from an extension server: status and body. Raises OSError, for too large a body too."""
        headers = [("Accept", "application/json"), *tunnel.headers]
        try:
            async with self._client().get(
                tunnel.url,
                headers=headers,
                ssl=self._front_context(tunnel),
                server_hostname=tunnel.server_name,
                allow_redirects=False,
            ) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_FETCH_BYTES:
                        raise OSError(f"the answer is larger than {_MAX_FETCH_BYTES} bytes")
                return answer.status, bytes(body)
        except (aiohttp.ClientError, RuntimeError) as problem:  # RuntimeError: the relay is closed
            raise OSError(str(problem)) from problem

    def _front_context(self, tunnel: Tunnel) -> ssl.SSLContext:
        """A context that trusts the extension server's authority and shows the front proxy's certificate.

        Raises OSError where the authority's certificate is none.
        """
        key = (tunnel.ca_data, tunnel.insecure)
        context = self._front_contexts.get(key)
        if context is None:
            context = ssl.create_default_context()
            if tunnel.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            elif tunnel.ca_data:
                context = ssl.create_default_context(cadata=tunnel.ca_data.decode("ascii", "replace"))
            if self._front is not None:
                context.load_cert_chain(*self._front)
            if len(self._front_contexts) >= _MAX_FRONT_CONTEXTS:
                self._front_contexts.clear()
            self._front_contexts[key] = context
        return context

    async def carry(self, http: web.BaseRequest, request: Request, tunnel: Tunnel) -> web.StreamResponse:
        """Relay one request and its answer."""
        tls = self._node_tls if tunnel.to_node else None
        if tunnel.front:
            tls = self._front_context(tunnel)
        elif tunnel.insecure and tunnel.url.startswith("https:"):
            tls = _any_certificate()
        if tunnel.to_node and self._nodes_at:
            url = urlsplit(tunnel.url)
            place = self._nodes_at if ":" in self._nodes_at else f"{self._nodes_at}:{url.port}"
            tunnel = msgspec.structs.replace(tunnel, url=url._replace(scheme="https", netloc=place).geturl())
        try:
            # Other upgrades are offers (h2c), which may be declined by not passing them on.
            upgrade = request.headers.get("upgrade", "").lower()
            if upgrade.startswith(_UPGRADES) and not tunnel.in_messages:
                if tls is None and tunnel.url.startswith("https:"):
                    tls = ssl.create_default_context()
                headers = _forwarded(request, tunnel).items()
                return await pass_on(
                    http, request.method, tunnel.url, headers, tls, _CONNECT_S, tunnel.server_name
                )
            in_messages = tunnel.in_messages and upgrade == "websocket"
            return await self._plain(http, request, tunnel, True if tls is None else tls, in_messages)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            host = tunnel.url.split("/")[2]
            words = f"error trying to reach {host}: {problem or type(problem).__name__}"
            refused = status.StatusError(502, "BadGateway", words).response()
            if tunnel.front:
                words = words.replace(host, "service", 1)
                refused = status.StatusError(503, "ServiceUnavailable", words).response()
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
        self,
        http: web.BaseRequest,
        request: Request,
        tunnel: Tunnel,
        tls: ssl.SSLContext | bool,
        in_messages: bool = False,
    ) -> web.StreamResponse:
        headers = _forwarded(request, tunnel)
        async with self._client().request(
            request.method,
            tunnel.url,
            headers=headers,
            data=request.body or None,
            # Who names no type means JSON; one of aiohttp's choice would be refused.
            skip_auto_headers=("Content-Type",),
            ssl=tls,
            server_hostname=tunnel.server_name or None,
            allow_redirects=False,
        ) as answer:
            if in_messages and answer.status == _OK:
                return await send_as_messages(http, answer)
            kept = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP)
            if tunnel.prefix and (place := _rewritten(http, tunnel, answer)) is not None:
                if "Location" in kept:
                    kept["Location"] = rewriting.moved(kept["Location"], place)
                elif answer.content_type == _HTML:
                    return await _page(http, answer, kept, place)
            stream = web.StreamResponse(status=answer.status, headers=kept)
            stream.enable_chunked_encoding()
            with contextlib.suppress(ConnectionError):
                await stream.prepare(http)
                async for chunk in answer.content.iter_any():
                    await stream.write(chunk)
                await stream.write_eof()
            return stream


def _rewritten(
    http: web.BaseRequest, tunnel: Tunnel, answer: aiohttp.ClientResponse
) -> rewriting.Place | None:
    """From where to where links are to be moved; None for an answer that has none."""
    if "Location" not in answer.headers and answer.headers.get("Content-Type", "").partition(";")[0] != _HTML:
        return None
    return rewriting.Place(tunnel.prefix, urlsplit(tunnel.url).netloc, http.headers.get("Host", ""))


async def _page(
    http: web.BaseRequest, answer: aiohttp.ClientResponse, headers: CIMultiDict[str], place: rewriting.Place
) -> web.StreamResponse:
    """A page with its links moved; one that is too large is passed on as it comes."""
    body, whole = bytearray(), True
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MAX_PAGE_BYTES:
            whole = False
            break
    encoding = answer.headers.get("Content-Encoding", "")
    stream = web.StreamResponse(status=answer.status, headers=headers)
    stream.enable_chunked_encoding()
    with contextlib.suppress(ConnectionError):
        await stream.prepare(http)
        await stream.write(rewriting.page(bytes(body), encoding, place) if whole else bytes(body))
        async for chunk in answer.content.iter_any():
            await stream.write(chunk)
        await stream.write_eof()
    return stream


@lru_cache(maxsize=1)
def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _forwarded(request: Request, tunnel: Tunnel) -> CIMultiDict[str]:
    dropped = _HOP_BY_HOP | set(tunnel.strip_headers)
    kept = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in dropped)
    if tunnel.strip_prefixes:
        kept = CIMultiDict((k, v) for k, v in kept.items() if not k.lower().startswith(tunnel.strip_prefixes))
    for name, value in tunnel.headers:
        kept.add(name, value)
    return kept


__all__ = ["Relay"]
