"""The openb trace of a GPU cluster (1,523 nodes, 8,152 pods) through the scheduler's pure cycle.

The trace is of "Beware of Fragmentation" (ATC 2023). All pods come in the order of their creation, and none
ever leaves. Told for each scoring policy: how long all decisions took, how many pods found no node, and which
share of the GPUs and the CPU of the cluster was given away.

A pod asks for whole GPUs or for a part of one, and nodes have up to eight: a part has to fit into one GPU.
The plugins below keep what is free of each and give the fullest that will do; they take part as those of
other distributions do.

    python bench/openb.py [--trace FOLDER]
    python bench/openb.py --inflated 1.3 --runs 10    as the paper's experiments are set up

Inflated: the nodes with GPUs alone; pods drawn from the trace are added to it until all ask for so many times
the GPUs that there are; they come in an order of chance. Told are the means of the runs when pods for all of
the GPUs have come, and at the end.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from sampan.scheduler.cycle import Engine
from sampan.scheduler.framework import CLUSTER, MORE_IS_BETTER, Plugin, Verdict, refuse
from sampan.scheduler.plugins import node_resources
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import default_profile
from sampan.scheduler.world import World
from sampan.schema import api, codec

TRACE = Path(__file__).parents[2] / "shared" / "corpus" / "traces"
GPU, MOST_GPUS, WHOLE = "example.com/gpu-milli", 8, 1000
ASKED_S = 10.0
WANTS = "openb/gpus", "openb/milli"
# Of the paper: what is left of CPU and GPUs together, in parts of the largest node.
BEST_FIT, RANDOM = "BestFit", "random"
POLICIES = "LeastAllocated", "MostAllocated", RANDOM
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

    def take(self, pod: PodInfo, row: int, chance: random.Random | None = None) -> None:
        """The fullest that will do; with `chance` any."""
        count, milli = (int(pod.pod.metadata.annotations[key]) for key in WANTS)
        fitting = [at for at in range(MOST_GPUS) if self.free[row, at] >= milli]
        if chance is not None:
            chance.shuffle(fitting)
        else:
            fitting.sort(key=lambda at: self.free[row, at])
        for at in fitting[:count]:
            self.free[row, at] -= milli


class BestFit(Plugin):
    """The less is left of CPU and GPUs, each in parts of what the largest node has, the better."""

    name: ClassVar[str] = "BestFit"
    reach: ClassVar[str] = CLUSTER
    scaling: ClassVar[str] = MORE_IS_BETTER

    def prepare_score(self, pod: PodInfo, world: World) -> tuple[tuple[str, int], ...]:
        return tuple((name, pod.demand.amounts.get(name, 0)) for name in ("cpu", GPU))

    def score(self, state: Any, world: World, rows: Any) -> Any:
        table, left = world.table, np.zeros(len(rows))
        for name, amount in state:
            offered = table.allocatable(name)
            left += (offered[rows] - table.requested(name)[rows] - amount) / max(int(offered.max()), 1)
        return np.floor((1 - left / len(state)) * 100).astype(np.int64)


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
    if policy == BEST_FIT:
        scorers = ((BestFit(), 1),)
    elif policy != RANDOM:
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
    engine: Engine

    def share(self, resource: str) -> float:
        """Which part of what the nodes offer was given away."""
        table = self.world.table
        return float(table.requested(resource).sum() / table.allocatable(resource).sum())


def place(
    policy: str,
    nodes: list[dict[str, str]],
    pods: Sequence[api.Pod],
    chance: random.Random | None = None,
    *,
    any_gpu: bool = False,
) -> Placed:
    """Decide for all pods, one after the other. With `any_gpu` a pod gets any of a node's that will do."""
    placed = begin(policy, nodes)
    go_on(placed, pods, chance or random.Random(0), any_gpu=any_gpu)
    return placed


def begin(policy: str, nodes: list[dict[str, str]]) -> Placed:
    gpus, world = Gpus(), World()
    for line in nodes:
        world.put_node(node(line))
        gpus.add(world.table.rows[line["sn"]], int(line["gpu"]))
    return Placed(world, gpus, [], Engine(profile(gpus, policy), world))


def go_on(placed: Placed, pods: Sequence[api.Pod], chance: random.Random, *, any_gpu: bool = False) -> None:
    world = placed.world
    for info in [world.infos.of(each) for each in pods]:
        decision = placed.engine.decide(info, lambda rows: int(chance.choice(rows)))
        if not decision.node:
            placed.refused.append(info)
            continue
        world.place(info, decision.node)
        placed.gpus.take(info, decision.row, chance if any_gpu else None)


def run(policy: str, nodes: list[dict[str, str]], pods: Sequence[api.Pod]) -> str:
    wall, cpu = time.perf_counter(), time.process_time()
    placed = place(policy, nodes, pods)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    told = f"{policy:15} {wall:6.2f} s ({cpu:.2f} s of CPU)  {len(placed.refused):5} pods without a node"
    return f"{told}  GPU {100 * placed.share(GPU):5.1f} %  CPU {100 * placed.share('cpu'):5.1f} %"


def asked_gpus(line: dict[str, str]) -> int:
    return int(line["num_gpu"]) * int(line["gpu_milli"])


def inflated(
    lines: list[dict[str, str]], offered: int, ratio: float, chance: random.Random
) -> tuple[list[dict[str, str]], int]:
    """The pods in an order of chance, with as many more as ask for `ratio` times what is offered of GPUs;
    and how many of them it takes to ask for all that is offered."""
    asked, found = sum(map(asked_gpus, lines)), list(lines)
    while True:
        drawn = chance.choice(lines)
        if asked + asked_gpus(drawn) > ratio * offered:
            break
        asked += asked_gpus(drawn)
        found.append({**drawn, "name": f"{drawn['name']}-{len(found)}"})
    chance.shuffle(found)
    come, full = 0, len(found)
    for at, line in enumerate(found):
        come += asked_gpus(line)
        if come >= offered:
            full = at + 1
            break
    return found, full


def shares(
    policy: str, nodes: list[dict[str, str]], lines: list[dict[str, str]], ratio: float, seed: int
) -> tuple[float, float, float, float]:
    """Of GPUs and of CPU, when pods for all GPUs have come, and at the end, in hundredths."""
    chance, offered = random.Random(seed), sum(int(line["gpu"]) * WHOLE for line in nodes)
    found, full = inflated(lines, offered, ratio, chance)
    pods, placed = [pod(line) for line in found], begin(policy, nodes)
    told: list[float] = []
    for part in (pods[:full], pods[full:]):
        go_on(placed, part, chance, any_gpu=policy == RANDOM)
        told += [100 * placed.share(GPU), 100 * placed.share("cpu")]
    return told[0], told[1], told[2], told[3]


def compare(nodes: list[dict[str, str]], lines: list[dict[str, str]], ratio: float, runs: int) -> None:
    with_gpus = [line for line in nodes if int(line["gpu"])]
    print(f"{len(with_gpus)} nodes with GPUs, pods for {100 * ratio:.0f} % of these, {runs} runs")
    for policy in (BEST_FIT, *POLICIES):
        found = [shares(policy, with_gpus, lines, ratio, seed) for seed in range(runs)]
        at_full = "GPU {:.1f} %, CPU {:.1f} %".format(*(statistics.mean(f[i] for f in found) for i in (0, 1)))
        at_end = "GPU {:.1f} %, CPU {:.1f} %".format(*(statistics.mean(f[i] for f in found) for i in (2, 3)))
        gpus = [f[2] for f in found]
        print(f"{policy:15} {at_full}; at the end {at_end} ({min(gpus):.1f} to {max(gpus):.1f})", flush=True)


def trace(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The nodes, and the pods in the order of their creation."""
    lines = read(folder / "openb_pod_list_default.csv")
    lines.sort(key=lambda line: int(line["creation_time"]))
    return read(folder / "openb_node_list_all_node.csv"), lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trace", type=Path, default=TRACE, help="the folder of the trace")
    parser.add_argument("--inflated", type=float, default=0.0, help="how many times the GPUs pods ask for")
    parser.add_argument("--runs", type=int, default=10, help="how many inflated workloads are drawn")
    asked = parser.parse_args()
    nodes, lines = trace(asked.trace)
    if asked.inflated:
        compare(nodes, lines, asked.inflated, asked.runs)
        return
    pods = [pod(line) for line in lines]
    print(f"{len(nodes)} nodes, {len(pods)} pods; asked: within {ASKED_S:.0f} s")
    for policy in POLICIES:
        print(run(policy, nodes, pods), flush=True)


if __name__ == "__main__":
    main()
