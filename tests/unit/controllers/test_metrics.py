"""What a manager says of its work queues."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from sampan.base.clock import SimulatedClock
from sampan.client.queue import WorkQueue
from sampan.cluster.parts.manager_metrics import FILE, ManagerMetricsServer
from sampan.controllers.runtime.metrics import render
from tests.fakes.waiting import run


async def used() -> WorkQueue[str]:
    """One key waited for 0.5 s and was worked on for 2 s, one is worked on for 3 s now, one waits."""
    clock = SimulatedClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    await clock.advance(0.5)
    key = await queue.get()
    await clock.advance(2)
    queue.retry(key)
    queue.done(key)
    queue.add("b")
    await queue.get()
    await clock.advance(3)
    queue.add("c")
    return queue


def test_queues_are_shown_under_kubernetes_names() -> None:
    async def main() -> None:
        lines = render({"job": await used()}).splitlines()
        for wanted in (
            "# TYPE workqueue_depth gauge",
            'workqueue_depth{name="job"} 1',
            'workqueue_adds_total{name="job"} 3',
            'workqueue_retries_total{name="job"} 1',
            'workqueue_queue_duration_seconds_bucket{name="job",le="0.1"} 1',
            'workqueue_queue_duration_seconds_bucket{name="job",le="1"} 2',
            'workqueue_queue_duration_seconds_sum{name="job"} 0.5',
            'workqueue_work_duration_seconds_bucket{name="job",le="1"} 0',
            'workqueue_work_duration_seconds_bucket{name="job",le="+Inf"} 1',
            'workqueue_work_duration_seconds_count{name="job"} 1',
            'workqueue_unfinished_work_seconds{name="job"} 3',
            'workqueue_longest_running_processor_seconds{name="job"} 3',
        ):
            assert wanted in lines

    run(main())


def test_they_are_served_and_the_address_is_in_a_file(tmp_path: Path) -> None:
    async def main() -> None:
        server = ManagerMetricsServer(lambda: "workqueue_depth 1\n", tmp_path)
        other = ManagerMetricsServer(lambda: "", tmp_path / "..")
        url = await server.start(0)
        port = int(url.split(":")[2].split("/")[0])
        assert await other.start(port) != url  # a port that is taken is no reason not to run
        await other.close()
        assert (tmp_path / FILE).read_text().strip() == url
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as answer:
                assert (answer.status, await answer.text()) == (200, "workqueue_depth 1\n")
            async with session.get(url.replace("/metrics", "/healthz")) as answer:
                assert await answer.text() == "ok"
        await server.close()
        assert not (tmp_path / FILE).exists()

    run(main())
