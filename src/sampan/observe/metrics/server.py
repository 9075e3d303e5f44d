"""The cluster's own extension server, of metrics.k8s.io first: HTTPS, for the API server alone, which relays
clients to it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from sampan.observe.documents import Answer, refusal
from sampan.observe.metrics.collector import Collector
from sampan.schema import codec

_SHUTDOWN_S: Final = 2.0
_NOT_ALLOWED: Final = refusal(
    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
)


class MetricsServer:
    """Serves a collector's answers. `tls` must demand the certificate that the API server relays with.

    `others` answer the paths of further groups, by their names.
    """

    def __init__(
        self,
        collector: Collector,
        tls: ssl.SSLContext,
        others: Mapping[str, Callable[[str], Awaitable[Answer]]] | None = None,
    ) -> None:
        self._collector = collector
        self._others = others or {}
        self._tls = tls
        self._runner: web.ServerRunner | None = None

    async def start(self, address: str, port: int = 0) -> int:
        """Listen; returns the port."""
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, ssl_context=self._tls, shutdown_timeout=_SHUTDOWN_S)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        found = await self._answer(http.path, http.query) if http.method == "GET" else _NOT_ALLOWED
        return web.Response(
            body=codec.encode(found.body), status=found.status, content_type="application/json"
        )

    async def _answer(self, path: str, query: Mapping[str, str]) -> Answer:
        _, _, group = path.removeprefix("/apis").partition("/")
        other = self._others.get(group.partition("/")[0])
        return self._collector.answer(path, query) if other is None else await other(path)
