"""Pods scheduled in a second, shaped after kube-scheduler's scheduler_perf, through the API server.

API server, store and scheduler run in this one process, so that the time of a pod is all of theirs: its
creation, the watch, the decision, the binding. Wall and CPU time are both told: the machine may be busy.

    python bench/scheduler.py                     every workload
    python bench/scheduler.py basic 0.2           one, at a fifth of its size

The shapes are in scheduler_shapes.py. Counted are the pods measured, from the first creation until the last
is bound, as in upstream's throughput; what is there before, and what churns, is not counted.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time

import msgspec
import uvloop

from sampan.apiserver.core.authn import TokenKeys
from sampan.apiserver.core.server import ApiServer, Settings
from sampan.apiserver.core.users import ADMIN
from sampan.apiserver.direct import DirectTransport
from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.client.client import Client
from sampan.client.informer import SharedInformers
from sampan.cluster import pki
from sampan.scheduler.cycle import Engine
from sampan.scheduler.registry import default_profile
from sampan.scheduler.shell import Scheduler
from sampan.scheduler.world import World
from sampan.schema import api, codec
from sampan.store.memory import MemoryStore
from scheduler_shapes import FIRST, LITTLE, SECOND, WORKLOADS, Batch, Churn, Spec, Workload, node, pod

AT_ONCE = 50
LIMIT_S = 600.0


class _Name(msgspec.Struct):
    name: str


class _Created(msgspec.Struct):
    metadata: _Name


_created = msgspec.json.Decoder(_Created)


class Bench:
    """A store, an API server and a scheduler."""

    async def start(self) -> None:
        signing = pki.make_signing_key()
        keys = TokenKeys(signing.key, (signing.certificate,), "bench", ("bench",))
        clock = SystemClock()
        self.store = MemoryStore(max_unread_changes=1_000_000)
        self.server = ApiServer(self.store, clock, RandomIds(), Settings(keys=keys))
        await self.server.start()
        self.client = Client(DirectTransport(self.server, ADMIN))
        for name in (FIRST, SECOND):
            await self.client.create(api.Namespace(metadata=api.ObjectMeta(name=name)))
        for name in ("default", FIRST, SECOND):  # no controller makes them here
            account = api.ServiceAccount(metadata=api.ObjectMeta(name="default", namespace=name))
            await self.client.create(account)
        await self.client.create(api.PriorityClass(metadata=api.ObjectMeta(name="high"), value=10))
        self.informers = SharedInformers(self.client, clock)
        self.scheduler = Scheduler(self.client, self.informers, clock, RandomIds())
        self.tasks = [asyncio.create_task(self.informers.run())]
        self.tasks.append(asyncio.create_task(self.scheduler.run()))

    async def create(self, batch: Batch, size: float) -> list[str]:
        """The names of what was created, of pods or nodes."""
        created: list[str] = []
        count = batch.scaled(size)
        for first in range(0, count, AT_ONCE):
            made = [batch.make(i) for i in range(first, min(first + AT_ONCE, count))]
            replies = await asyncio.gather(*(self.post(one, batch.namespace) for one in made))
            created += [_created.decode(body).metadata.name for body in replies]
            if made[0]["kind"] == "Node":  # upstream's server runs without the plugin that taints new nodes
                names = created[first:]
                await asyncio.gather(
                    *(self.client.patch(api.Node, n, "", {"spec": {"taints": None}}) for n in names)
                )
        return created

    async def post(self, made: Spec, namespace: str = "default") -> bytes:
        path = _path(made, namespace)
        reply = await self.client.transport.request("POST", path, None, msgspec.json.encode(made))
        if reply.status != 201:
            raise SystemExit(f"creating a {made['kind']} was answered {reply.body.decode()[:300]}")
        return reply.body

    async def churn(self, churn: Churn) -> None:
        """What comes, and goes where it is recreated, one of each kind at a time, until it is cancelled."""
        number = 0
        there: list[Spec] = []
        while True:
            for made in there:
                path = f"{_path(made, 'default')}/{made['metadata']['name']}"
                await self.client.transport.request("DELETE", path, None, b"")
            made_now = [make(number) for make in churn.makes]
            for made in made_now:
                await self.post(made)
            there = made_now if churn.recreate else []
            number += 1
            # By this process's own time: on a busy machine no more comes between two pods than on an idle one
            due_s = time.process_time() + churn.every_s
            while time.process_time() < due_s:  # noqa: ASYNC110 (nobody tells of time spent)
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.close()
        await self.store.close()


async def measure(name: str, workload: Workload, size: float) -> None:
    bench = Bench()
    await bench.start()
    for batch in workload.nodes:
        await bench.create(batch, size)
    for batch in workload.before:
        await until_all_bound(bench, batch, await bench.create(batch, size))
    if workload.churn is not None:
        bench.tasks.append(asyncio.create_task(bench.churn(workload.churn)))
    gc.collect()
    gc.freeze()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    names = await bench.create(workload.measured, size)
    await until_all_bound(bench, workload.measured, names)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    nodes = bench.scheduler.world.table.count
    await bench.stop()
    gc.unfreeze()
    print(
        f"{name:30} {len(names) / wall_s:7.0f} pods/s (asked {workload.asked}; {_upstream(workload)}); "
        f"{len(names) / cpu_s:7.0f} pods per CPU second; {nodes} nodes, {len(names)} pods",
        flush=True,
    )


def _upstream(workload: Workload) -> str:
    test, threshold = workload.upstream
    return f"{test}'s threshold {threshold}" if threshold else f"{test or 'upstream'} has no threshold"


def _path(made: Spec, namespace: str) -> str:
    plural = made["kind"].lower() + "s"
    return f"/api/v1/{plural}" if plural == "nodes" else f"/api/v1/namespaces/{namespace}/{plural}"


async def until_all_bound(bench: Bench, batch: Batch, names: list[str]) -> None:
    """Return once every pod of these names is seen on a node."""
    placed = bench.scheduler.world.placed
    wanted = [(batch.namespace, name) for name in names]
    began_s = time.perf_counter()
    while wanted:
        while wanted and (found := placed.get(wanted[-1])) is not None and not found.assumed:
            wanted.pop()
        if time.perf_counter() - began_s > LIMIT_S:
            raise SystemExit(f"{len(wanted)} of {len(names)} pods have no node after {LIMIT_S:.0f} s")
        await asyncio.sleep(0.01)


def decisions(nodes: int, count: int = 400) -> None:
    """The decision alone: CPU time from the pod's object to the node, the placement counted in."""
    world = World()
    for number in range(nodes):
        world.put_node(codec.from_builtins(node(f"n{number}"), api.Node))
    engine = Engine(default_profile(), world)
    chance = random.Random(1)
    times = []
    for number in range(count):
        made = codec.from_builtins({**pod(f"p{number}", LITTLE), "status": {}}, api.Pod)
        began_s = time.thread_time()
        info = world.infos.of(made)
        world.place(info, engine.decide(info, chance.choice).node)
        times.append(time.thread_time() - began_s)
    print(f"one decision at {nodes:6} nodes: median {statistics.median(times) * 1e6:.0f} us of CPU time")


def main() -> None:
    gc.set_threshold(100_000, 50, 100)
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    size = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    if not wanted or wanted == "decision":
        decisions(5000)
        decisions(50000)
    for name, workload in WORKLOADS.items():
        if not wanted or wanted == name:
            uvloop.run(measure(name, workload, size))


if __name__ == "__main__":
    main()
