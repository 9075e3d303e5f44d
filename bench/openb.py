"""The openb trace of a GPU cluster (1,523 nodes, 8,152 pods) through the scheduler's pure cycle.

The trace is of "Beware of Fragmentation" (ATC 2023). All pods come in the order of their creation, and none
ever leaves. Told for each scoring policy: how long all decisions took, how many pods found no node, and which
share of the GPUs and the CPU of the cluster was given away.

A pod asks for whole GPUs or for a part of one, and nodes have up to eight: a part has to fit into one GPU.
The plugin below keeps what is free of each and gives the fullest that will do; it takes part as those of
other distributions do.

    python bench/openb.py [FOLDER OF THE TRACE]
"""

from __future__ import annotations

import csv
import random
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from sampan.scheduler.cycle import Engine, Profile
from sampan.scheduler.framework import CLUSTER, Plugin, Verdict, refuse
from sampan.scheduler.plugins import node_resources
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.registry import default_profile
from sampan.scheduler.world import World
from sampan.schema import api, codec

TRACE = Path(__file__).parents[2] / "shared" / "corpus" / "traces"
GPU, MOST_GPUS, WHOLE = "example.com/gpu-milli", 8, 1000
ASKED_S = 10.0
WANTS = "openb/gpus", "openb/milli"
RESOURCES = [{"name": name, "weight": 1} for name in ("cpu", "memory", GPU)]


class Gpus(Plugin):
    """What is free of each GPU, in thousandths: -1 where a node has fewer of them."""

    name: ClassVar[str] = "Gpus"
    reach: ClassVar[str] = CLUSTER

    def __init__(self) -> None:
        self.free = np.full((0, MOST_GPUS), -1, dtype=np.int64)

    def add(self, row: int, count: int) -> None:
        if row >= len(self.free):
            more = np.full((row + 1 - len(self.free), MOST_GPUS), -1, dtype=np.int64)
            self.free = np.concatenate([self.free, more])
        self.free[row, :count] = WHOLE

    def prepare(self, pod: PodInfo, world: World) -> tuple[int, int] | None:
        count, milli = (int(pod.pod.metadata.annotations[key]) for key in WANTS)
        return (count, milli) if count else None

    def filter(self, state: Any, world: World, rows: Any) -> Verdict | None:
        count, milli = state
        free = np.full((world.table.size, MOST_GPUS), -1, dtype=np.int64)
        free[: len(self.free)] = self.free
        fits = np.count_nonzero(free[rows] >= milli, axis=1) >= count
        return refuse(~fits, "node(s) had no free GPUs")

    def take(self, pod: PodInfo, row: int) -> None:
        """The fullest that will do."""
        count, milli = (int(pod.pod.metadata.annotations[key]) for key in WANTS)
        fitting = [at for at in range(MOST_GPUS) if self.free[row, at] >= milli]
        for at in sorted(fitting, key=lambda at: self.free[row, at])[:count]:
            self.free[row, at] -= milli


def node(line: dict[str, str]) -> api.Node:
    offered = {"cpu": f"{line['cpu_milli']}m", "memory": f"{line['memory_mib']}Mi", "pods": "1000"}
    offered[GPU] = str(int(line["gpu"]) * WHOLE)
    whole = {"metadata": {"name": line["sn"]}, "status": {"allocatable": offered}}
    return codec.from_builtins(whole, api.Node)


def pod(line: dict[str, str]) -> api.Pod:
    count, milli = int(line["num_gpu"]), int(line["gpu_milli"])
    asked = {"cpu": f"{line['cpu_milli']}m", "memory": f"{line['memory_mib']}Mi"}
    if count:
        asked[GPU] = str(count * milli)
    container = {"name": "c", "image": "i", "resources": {"requests": asked}}
    meta = {
        "name": line["name"],
        "namespace": "default",
        "uid": line["name"],
        "annotations": dict(zip(WANTS, (str(count), str(milli)), strict=True)),
    }
    spec = {"containers": [container], "schedulerName": "default-scheduler"}
    return codec.from_builtins({"metadata": meta, "spec": spec}, api.Pod)


def profile(gpus: Gpus, policy: str) -> Profile:
    """The default filters; of the scores only how full a node is, or none."""
    usual = default_profile()
    scorers: tuple[tuple[Plugin, int], ...] = ()
    if policy != "random":
        fit = node_resources.made_of({"scoringStrategy": {"type": policy, "resources": RESOURCES}})
        scorers = ((fit, 1),)
    return msgspec.structs.replace(usual, filters=(*usual.filters, gpus), scorers=scorers)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Placed(msgspec.Struct):
    """What came of placing all pods."""

    world: World
    gpus: Gpus
    refused: list[PodInfo]

    def share(self, resource: str) -> float:
        """Which part of what the nodes offer was given away."""
        table = self.world.table
        return float(table.requested(resource).sum() / table.allocatable(resource).sum())


def place(policy: str, nodes: list[dict[str, str]], pods: list[api.Pod]) -> Placed:
    """Decide for all pods, one after the other."""
    gpus, world, chance = Gpus(), World(), random.Random(0)
    for line in nodes:
        world.put_node(node(line))
        gpus.add(world.table.rows[line["sn"]], int(line["gpu"]))
    engine = Engine(profile(gpus, policy), world)
    refused = []
    for info in [world.infos.of(each) for each in pods]:
        decision = engine.decide(info, lambda rows: int(chance.choice(rows)))
        if not decision.node:
            refused.append(info)
            continue
        world.place(info, decision.node)
        gpus.take(info, decision.row)
    return Placed(world, gpus, refused)


def run(policy: str, nodes: list[dict[str, str]], pods: list[api.Pod]) -> str:
    wall, cpu = time.perf_counter(), time.process_time()
    placed = place(policy, nodes, pods)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    told = f"{policy:15} {wall:6.2f} s ({cpu:.2f} s of CPU)  {len(placed.refused):5} pods without a node"
    return f"{told}  GPU {100 * placed.share(GPU):5.1f} %  CPU {100 * placed.share('cpu'):5.1f} %"


def trace(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The nodes, and the pods in the order of their creation."""
    lines = read(folder / "openb_pod_list_default.csv")
    lines.sort(key=lambda line: int(line["creation_time"]))
    return read(folder / "openb_node_list_all_node.csv"), lines


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TRACE
    nodes, lines = trace(folder)
    pods = [pod(line) for line in lines]
    print(f"{len(nodes)} nodes, {len(pods)} pods; asked: within {ASKED_S:.0f} s")
    for policy in ("LeastAllocated", "MostAllocated", "random"):
        print(run(policy, nodes, pods), flush=True)


if __name__ == "__main__":
    main()
