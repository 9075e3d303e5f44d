"""Looks at every node four times a minute, through the API server, and answers from the last two looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.client.informer import Informer
from sampan.observe.documents import Answer
from sampan.observe.metrics.answers import Objects, answer
from sampan.observe.metrics.usage import Look, Summary, Usage, look, usage
from sampan.schema import api

# metrics-server's --metric-resolution.
EVERY_S: Final = 15.0
# The first look has nothing to be compared with: the second comes soon after it.
FIRST_AFTER_S: Final = 2.0
AT_ONCE_MOST: Final = 32

Fetch = Callable[[str], Awaitable[Summary]]

_log = logging.getLogger(__name__)


def through_api_server(client: Client) -> Fetch:
    """Fetches a node's summary as the API server relays it."""

    async def fetch(node: str) -> Summary:
        return await client.read(f"/api/v1/nodes/{node}/proxy/stats/summary", Summary)

    return fetch


class Collector:
    """Keeps the usage of nodes and pods. The informers are run by whoever gives them.

    With `one_for_all`, the server of any node speaks for all of them.
    """

    def __init__(
        self,
        nodes: Informer[api.Node],
        pods: Informer[api.Pod],
        clock: Clock,
        fetch: Fetch,
        *,
        one_for_all: bool = False,
    ) -> None:
        self.usage = Usage()
        self._nodes = nodes
        self._pods = pods
        self._clock = clock
        self._fetch = fetch
        self._one_for_all = one_for_all
        self._places = asyncio.Semaphore(AT_ONCE_MOST)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await self._nodes.synced()
        before = await self._look()
        await self._clock.sleep(FIRST_AFTER_S)
        while True:
            after = await self._look()
            self.usage = usage(before, after)
            before = after
            await self._clock.sleep(EVERY_S)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The answer to a GET of the metrics API."""
        return answer(path, query, self.usage, self._objects())

    def _objects(self) -> Objects:
        nodes = {n.metadata.name or "": n.metadata.labels for n in self._nodes.cache.items()}
        pods = {
            (p.metadata.namespace or "", p.metadata.name or ""): p.metadata.labels
            for p in self._pods.cache.items()
        }
        return Objects(nodes, pods)

    async def _look(self) -> Look:
        names = [node.metadata.name or "" for node in self._nodes.cache.items()]
        if self._one_for_all:
            names = names[:1]
        found = await asyncio.gather(*(self._summary(name) for name in names))
        return look(summary for summary in found if summary is not None)

    async def _summary(self, node: str) -> Summary | None:
        async with self._places:
            try:
                return await self._fetch(node)
            except (ApiError, OSError, TimeoutError, ValueError) as problem:
                _log.warning("what node %s uses is not known now: %s", node, problem)
                return None
