"""A slice of the openb trace through the pure cycle: what each scoring policy gives away of GPUs and CPU."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.shared import shared

ROOT = Path(__file__).parents[3]
EACH = 12  # every twelfth node, and every twelfth pod: as full as the whole


@pytest.fixture(scope="module")
def openb() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_openb", ROOT / "bench" / "openb.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("policy", "least_gpu", "least_cpu"),
    [
        ("LeastAllocated", 0.88, 0.61),
        ("MostAllocated", 0.86, 0.59),
        ("random", 0.85, 0.58),
        ("BestFit", 0.86, 0.59),
    ],
)
def test_what_a_policy_gives_away(openb: ModuleType, policy: str, least_gpu: float, least_cpu: float) -> None:
    nodes, lines = openb.trace(shared("corpus/traces"))
    pods = [openb.pod(line) for line in lines[::EACH]]
    placed = openb.place(policy, nodes[::EACH], pods)
    world, table = placed.world, placed.world.table

    assert len(world.placed) + len(placed.refused) == len(pods)
    for resource in ("cpu", "memory", openb.GPU):
        assert (table.requested(resource) <= table.allocatable(resource)).all()
    free = placed.gpus.free
    assert (free >= -1).all()
    left = table.allocatable(openb.GPU)[: len(free)] - table.requested(openb.GPU)[: len(free)]
    assert (np.where(free >= 0, free, 0).sum(axis=1) == left).all()  # of each GPU, as of each node
    # Nobody ever leaves, so who was refused has no room at the end either.
    engine = openb.Engine(openb.profile(placed.gpus, policy), world)
    assert not [pod for pod in placed.refused if engine.decide(pod, lambda rows: int(rows[0])).node]
    assert placed.share(openb.GPU) >= least_gpu
    assert placed.share("cpu") >= least_cpu


def test_pods_are_drawn_until_they_ask_for_more_gpus_than_there_are(openb: ModuleType) -> None:
    nodes, lines = openb.trace(shared("corpus/traces"))
    nodes, lines = nodes[::EACH], lines[::EACH]
    offered = sum(int(line["gpu"]) * openb.WHOLE for line in nodes)
    found, full = openb.inflated(lines, offered, 1.3, random.Random(1))
    asked = [openb.asked_gpus(line) for line in found]
    assert 1.3 * offered - 8 * openb.WHOLE < sum(asked) <= 1.3 * offered
    assert sum(asked[: full - 1]) < offered <= sum(asked[:full])
    names = [line["name"] for line in found]
    assert len(set(names)) == len(names)
    assert {line["name"] for line in lines} < set(names)
    assert found != openb.inflated(lines, offered, 1.3, random.Random(2))[0]
