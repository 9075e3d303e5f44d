"""Where the manager says how it does: /metrics and /healthz over HTTP, on loopback only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

# kube-controller-manager's port. Where another cluster has it, any free one is taken.
PORT: Final = 10257
FILE: Final = "manager-metrics"

_log = logging.getLogger(__name__)


class ManagerMetricsServer:
    """Serves the text that `render` gives. The file `manager-metrics` in `directory` holds its address."""

    def __init__(self, render: Callable[[], str], directory: Path) -> None:
        self._render = render
        self._file = directory / FILE
        application = web.Application()
        application.add_routes([web.get("/metrics", self._metrics), web.get("/healthz", self._healthz)])
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, port: int = PORT) -> str:
        """Listen; gives the URL of the metrics."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", port).start()
        except OSError:
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/metrics"
        self._file.write_text(url + "\n")
        _log.info("metrics are at %s", url)
        return url

    async def close(self) -> None:
        self._file.unlink(missing_ok=True)
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")
