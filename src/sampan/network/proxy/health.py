"""Health check node ports: load balancers ask there which nodes have endpoints of their own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable

from sampan.base.errors import SampanError
from sampan.network.pages import JSON, serve_pages
from sampan.network.proxy.rules import HealthCheck

_log = logging.getLogger(__name__)


class HealthChecks:
    """One small HTTP server for each spec.healthCheckNodePort, answering as kube-proxy does."""

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._checks: dict[int, HealthCheck] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def replace(self, checks: Iterable[HealthCheck]) -> None:
        """Serve exactly these from now on. A port that cannot be had is logged and tried again next time."""
        self._checks = {check.port: check for check in checks}
        for port in set(self._servers) - set(self._checks):
            self._servers.pop(port).close()
        for port in set(self._checks) - set(self._servers):
            try:
                self._servers[port] = await self._serve(port)
            except SampanError as error:
                _log.error("load balancers cannot check %s: %s", self._checks[port].name, error)

    async def close(self) -> None:
        """Stop serving."""
        await self.replace(())

    async def _serve(self, port: int) -> asyncio.Server:
        return await serve_pages({"*": lambda: health_page(self._checks[port])}, self._host, port)


def health_page(check: HealthCheck) -> tuple[int, str, str]:
    """200 where the node has endpoints of its own, 503 where it has none."""
    text = json.dumps(
        {
            "service": {"namespace": check.namespace, "name": check.name},
            "localEndpoints": check.local_endpoints,
            "serviceProxyHealthy": True,
        }
    )
    return 200 if check.local_endpoints else 503, text + "\n", JSON
