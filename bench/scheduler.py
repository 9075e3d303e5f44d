"""Pods scheduled in a second, shaped after kube-scheduler's scheduler_perf, through the API server.

API server, store and scheduler run in this one process, so that the time of a pod is all of theirs: its
creation, the watch, the decision, the binding. Wall and CPU time are both told: the machine may be busy.

    python bench/scheduler.py                     every workload
    python bench/scheduler.py basic 0.2           one, at a fifth of its size
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

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

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
AT_ONCE = 50
LIMIT_S = 600.0
Spec = dict[str, Any]


def pod(
    name: str, cpu: str = "100m", memory: str = "500Mi", labels: dict[str, str] | None = None, **spec: Any
) -> Spec:
    extra = spec.pop("extra", {})
    requests = {"cpu": cpu, "memory": memory, **extra}
    limits = {"limits": extra} if extra else {}
    container = {
        "name": "c",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": requests} | limits,
    }
    # As in scheduler_perf and as controllers do it: pods of one body, whose names the server makes.
    named = "generateName" if name.endswith("-") else "name"
    metadata = {named: name, "namespace": "default", "labels": labels or {}}
    whole = {"automountServiceAccountToken": False, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


def node(number: int, cpu: str = "4", **more: str) -> Spec:
    labels = {HOST: f"n{number}", ZONE: f"zone{number % 3 + 1}"}
    offered = {"cpu": cpu, "memory": "32Gi", "pods": "110", **more}
    metadata = {"name": f"n{number}", "labels": labels}
    status = {"allocatable": offered, "capacity": offered}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def selected(**labels: str) -> Spec:
    return {"labelSelector": {"matchLabels": labels}}


def spread(when: str) -> Spec:
    one = {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when, **selected(color="blue")}
    return {"topologySpreadConstraints": [one]}


def required(part: str, key: str, color: str) -> Spec:
    terms = [{"topologyKey": key, **selected(color=color)}]
    return {"affinity": {part: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def preferred(part: str, key: str, color: str) -> Spec:
    terms = [{"weight": 1, "podAffinityTerm": {"topologyKey": key, **selected(color=color)}}]
    return {"affinity": {part: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}


def in_zones(*zones: str) -> Spec:
    expression = {"key": ZONE, "operator": "In", "values": list(zones)}
    required_terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required_terms}}}


def on(number: int) -> Spec:
    field = {"key": "metadata.name", "operator": "In", "values": [f"n{number}"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


BLUE, GREEN = {"color": "blue"}, {"color": "green"}


class Workload(msgspec.Struct):
    """Nodes, pods that are there before, pods that are measured, and what is asked."""

    asked: int
    nodes: int
    measured: int
    make: Callable[[int], Spec]
    before: int = 0
    make_before: Callable[[int], Spec] = lambda i: pod("before-")
    never: int = 0  # pods that fit nowhere, created first
    churn: bool = False  # other objects come and go meanwhile
    make_node: Callable[[int], Spec] = node
    waits: bool = True


def mixed(i: int) -> Spec:
    kinds = (
        {},
        spread("DoNotSchedule"),
        required("podAffinity", ZONE, "blue"),
        preferred("podAffinity", HOST, "blue"),
        preferred("podAntiAffinity", HOST, "blue"),
    )
    return pod("p-", labels=BLUE, **kinds[i % len(kinds)])


def _node_with_gpus(i: int) -> Spec:
    return node(i, **{"example.com/gpu": "8"})


WORKLOADS: dict[str, Workload] = {
    "basic": Workload(1400, 5000, 10000, lambda i: pod("p-"), before=1000),
    "unschedulable": Workload(1200, 5000, 10000, lambda i: pod("p-"), never=200),
    "mixed churn": Workload(1400, 5000, 10000, lambda i: pod("p-"), churn=True),
    "topology spread required": Workload(
        950, 5000, 5000, lambda i: pod("p-", labels=BLUE, **spread("DoNotSchedule")), before=5000
    ),
    "topology spread preferred": Workload(
        700, 5000, 5000, lambda i: pod("p-", labels=BLUE, **spread("ScheduleAnyway")), before=5000
    ),
    "node affinity": Workload(
        700, 5000, 10000, lambda i: pod("p-", **in_zones("zone1", "zone2")), before=5000
    ),
    "pod anti-affinity": Workload(
        600, 5000, 2000, lambda i: pod("p-", labels=GREEN, **required("podAntiAffinity", HOST, "green")),
        before=1000,
    ),
    "pod affinity": Workload(
        600, 5000, 5000, lambda i: pod("p-", labels=BLUE, **required("podAffinity", ZONE, "blue")),
        before=5000,
    ),
    "preferred affinity": Workload(
        600, 5000, 5000, lambda i: pod("p-", labels=BLUE, **preferred("podAffinity", HOST, "blue")),
        before=5000,
    ),
    "mixed": Workload(600, 5000, 5000, mixed, before=5000, make_before=lambda i: pod("before-", labels=BLUE)),
    "extended resources": Workload(
        700, 5000, 10000, lambda i: pod("p-", extra={"example.com/gpu": "1"}), make_node=_node_with_gpus
    ),
    "preemption": Workload(
        600, 5000, 5000, lambda i: pod("p-", cpu="3", memory="500Mi", priorityClassName="high"),
        before=20000, make_before=lambda i: pod("low-", cpu="900m", terminationGracePeriodSeconds=0),
    ),
    "daemons on 15,000 nodes": Workload(2200, 15000, 15000, lambda i: pod("p-", **on(i))),
}  # fmt: skip


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
        account = api.ServiceAccount(metadata=api.ObjectMeta(name="default", namespace="default"))
        await self.client.create(account)
        await self.client.create(api.PriorityClass(metadata=api.ObjectMeta(name="high"), value=10))
        self.informers = SharedInformers(self.client, clock)
        self.scheduler = Scheduler(self.client, self.informers, clock, RandomIds())
        self.tasks = [asyncio.create_task(self.informers.run())]
        self.tasks.append(asyncio.create_task(self.scheduler.run()))

    async def create(self, plural: str, count: int, make: Callable[[int], Spec]) -> list[str]:
        """The names of what was created."""
        created: list[str] = []
        path = f"/api/v1/{plural}" if plural == "nodes" else f"/api/v1/namespaces/default/{plural}"
        for first in range(0, count, AT_ONCE):
            bodies = [msgspec.json.encode(make(i)) for i in range(first, min(first + AT_ONCE, count))]
            work = (self.client.transport.request("POST", path, None, body) for body in bodies)
            for reply in await asyncio.gather(*work):
                if reply.status != 201:
                    raise SystemExit(f"creating {plural} was answered {reply.body.decode()[:300]}")
                created.append(_created.decode(reply.body).metadata.name)
            if plural == "nodes":  # new nodes are not ready; no agent will come and say otherwise
                names = created[first:]
                await asyncio.gather(
                    *(self.client.patch(api.Node, n, "", {"spec": {"taints": None}}) for n in names)
                )
        return created

    async def until_bound(self, count: int) -> None:
        began_s = time.perf_counter()
        while True:
            placed = self.scheduler.world.placed
            if len(placed) >= count and sum(1 for p in placed.values() if not p.assumed) >= count:
                return
            if time.perf_counter() - began_s > LIMIT_S:
                raise SystemExit(f"only {len(placed)} of {count} pods have a node after {LIMIT_S:.0f} s")
            await asyncio.sleep(0.02)

    async def churn(self) -> None:
        number = 0
        while True:
            number += 1
            extra = node(900000 + number % 10)
            big = pod(f"churn-{number}", cpu="64")
            await self.client.transport.request("POST", "/api/v1/nodes", None, msgspec.json.encode(extra))
            path = "/api/v1/namespaces/default/pods"
            await self.client.transport.request("POST", path, None, msgspec.json.encode(big))
            await asyncio.sleep(0.1)
            name = extra["metadata"]["name"]
            await self.client.transport.request("DELETE", f"/api/v1/nodes/{name}", None, b"")
            await self.client.transport.request("DELETE", f"{path}/churn-{number}", None, b"")

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.close()
        await self.store.close()


async def measure(name: str, workload: Workload, size: float) -> None:
    bench = Bench()
    await bench.start()
    nodes = max(int(workload.nodes * size), 10)
    before, measured = int(workload.before * size), max(int(workload.measured * size), 10)
    await bench.create("nodes", nodes, workload.make_node)
    never = int(workload.never * size)
    await bench.create("pods", before, workload.make_before)
    await bench.until_bound(before)
    await bench.create("pods", never, lambda i: pod("never-", cpu="900"))
    if workload.churn:
        bench.tasks.append(asyncio.create_task(bench.churn()))
    gc.collect()
    gc.freeze()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    names = await bench.create("pods", measured, workload.make)
    await until_all_bound(bench, names)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    await bench.stop()
    gc.unfreeze()
    print(
        f"{name:28} {measured / wall_s:7.0f} pods/s (asked {workload.asked}); "
        f"{measured / cpu_s:7.0f} pods per CPU second; {nodes} nodes, {measured} pods",
        flush=True,
    )


async def until_all_bound(bench: Bench, names: list[str]) -> None:
    """Return once every pod of these names is seen on a node."""
    placed = bench.scheduler.world.placed
    wanted = [("default", name) for name in names]
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
        world.put_node(codec.from_builtins(node(number), api.Node))
    engine = Engine(default_profile(), world)
    chance = random.Random(1)
    times = []
    for number in range(count):
        made = codec.from_builtins({**pod(f"p{number}"), "status": {}}, api.Pod)
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
            import uvloop

            uvloop.run(measure(name, workload, size))


if __name__ == "__main__":
    main()
