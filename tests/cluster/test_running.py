"""The whole catalog as it runs: a watch for each kind, metrics for each controller, and one that throws."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from sampan.apiserver.core.users import ADMIN
from sampan.apiserver.direct import DirectTransport
from sampan.client.client import Client
from sampan.client.transport import Reply
from sampan.controllers.catalog import controllers
from sampan.controllers.runtime.manager import Manager
from sampan.testing import Cluster
from tests.cluster.test_bad_input import deployment, pods, replicaset, statefulset


class Counting:
    """A transport that counts the watches that are opened, by what they watch."""

    def __init__(self, cluster: Cluster) -> None:
        self._inner = DirectTransport(cluster.server, ADMIN)
        self.watches: Counter[str] = Counter()

    async def request(self, method: str, path: str, *args: Any, **kwargs: Any) -> Reply:
        return await self._inner.request(method, path, *args, **kwargs)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        self.watches[path] += 1
        return self._inner.stream(path, query)

    async def close(self) -> None:
        return None


def metric(text: str, name: str) -> dict[str, float]:
    """The metric's value for each controller."""
    found = re.findall(rf'^{name}\{{name="([^"]+)"\}} (\S+)$', text, re.MULTILINE)
    return {controller: float(value) for controller, value in found}


def test_one_watch_for_each_kind_whoever_asks() -> None:
    with Cluster(nodes=0, controllers=False, scheduler=False) as cluster:
        counting = Counting(cluster)

        async def start() -> asyncio.Task[None]:
            manager = Manager(Client(counting), cluster.clock, controllers())
            return asyncio.create_task(manager.run())

        async def stop(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = cluster.call(start())
        cluster.wait_until(lambda: counting.watches["/api/v1/pods"] > 0, advance=False)
        cluster.advance(60)
        cluster.call(stop(task))
        assert len(counting.watches) > 30
        assert {path: count for path, count in counting.watches.items() if count > 1} == {}


def test_each_controller_has_its_metrics() -> None:
    with Cluster(nodes=1) as cluster:
        assert cluster.manager is not None
        cluster.client.create(deployment())
        refused = replicaset("nobody")
        refused.metadata.name = "refused"
        cluster.client.create(refused)
        cluster.wait_until(lambda: len(pods(cluster)) == 3)
        cluster.advance(30)
        cluster.settle()
        text = cluster.manager.metrics_text()
        names = set(cluster.manager.controllers)
        assert len(names) > 40
        for name in (
            "workqueue_depth",
            "workqueue_adds_total",
            "workqueue_retries_total",
            "workqueue_queue_duration_seconds_count",
            "workqueue_work_duration_seconds_count",
        ):
            assert metric(text, name).keys() == names, name
        assert metric(text, "workqueue_work_duration_seconds_count")["deployment"] > 1
        retries = metric(text, "workqueue_retries_total")
        assert retries["replicaset"] > 2
        assert retries["daemonset"] == 0


@pytest.mark.parametrize("place", ["gather", "plan"])
def test_one_that_throws_is_tried_again_less_often_and_the_rest_goes_on(place: str) -> None:
    broken, calls = [True], list[float]()
    with Cluster(nodes=1, controllers=False) as cluster:

        def failing(inner: Any) -> Any:
            def call(*given: Any) -> Any:
                if broken:
                    calls.append(cluster.clock.monotonic_s())
                    raise RuntimeError("a bug")
                return inner(*given)

            return call

        chosen = [
            msgspec.structs.replace(one, **{place: failing(getattr(one, place))})
            if one.name == "statefulset"
            else one
            for one in controllers()
        ]

        async def start() -> asyncio.Task[None]:
            manager = Manager(cluster.async_client, cluster.clock, chosen)
            return asyncio.create_task(manager.run())

        async def stop(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = cluster.call(start())
        cluster.client.create(statefulset())
        cluster.client.create(deployment())
        cluster.wait_until(lambda: len(pods(cluster)) == 3)
        assert {p.metadata.ownerReferences[0].kind for p in pods(cluster)} == {"ReplicaSet"}
        for _ in range(60):
            cluster.advance(1)
        waits = [after - before for before, after in itertools.pairwise(calls)]
        assert 8 < len(calls) < 20
        assert waits[-1] > 10
        broken.clear()
        cluster.advance(120)
        cluster.wait_until(lambda: len(pods(cluster)) == 6)
        cluster.call(stop(task))
