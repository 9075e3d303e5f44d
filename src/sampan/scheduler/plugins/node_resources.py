"""NodeResourcesFit: enough of everything, and where there is most left, least left, or as a curve says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.scheduler.changes import RowIndex, Rows
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    MOST_SCORE,
    NODE_EVENT,
    ROOM,
    SCALE_DOWN,
    UPDATE_ALLOCATABLE,
    Event,
    Plugin,
    Reason,
    Verdict,
    nobody,
    on_curve,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.requests import CPU, MEMORY, PODS, Demand, amount_of, demand
from sampan.scheduler.table import Numbers
from sampan.scheduler.world import World

TOO_MANY_PODS: Final = "Too many pods"
LEAST: Final = "LeastAllocated"
MOST: Final = "MostAllocated"
RATIO: Final = "RequestedToCapacityRatio"
_DEVICE_CLASS: Final = "DeviceClass"
_NATIVE: Final = (CPU, MEMORY, "ephemeral-storage", PODS)


class Strategy(msgspec.Struct, frozen=True):
    """How NodeResourcesFit scores: the kind, weights of resources, and the curve (utilization, score)."""

    kind: str = LEAST
    weights: tuple[tuple[str, int], ...] = ((CPU, 1), (MEMORY, 1))
    curve: tuple[tuple[int, int], ...] = ()


class NodeResourcesFit(Plugin):
    """`ignored` are extended resources, and `ignored_groups` their prefixes, that are not looked at."""

    name: ClassVar[str] = "NodeResourcesFit"
    reach: ClassVar[str] = ROOM
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, ASSIGNED_POD, _DEVICE_CLASS})

    def __init__(
        self,
        strategy: Strategy | None = None,
        ignored: frozenset[str] = frozenset(),
        ignored_groups: frozenset[str] = frozenset(),
    ) -> None:
        self._strategy = strategy or Strategy()
        self._ignored = ignored
        self._ignored_groups = ignored_groups

    def confine(self, pod: PodInfo, world: World) -> RowIndex | None:
        """The rows that offer a resource which few nodes have."""
        fewest: Mapping[int, int] | None = None
        for resource in pod.shape.extended:
            if self._is_ignored(resource) or resource in world.devices.extended:
                continue
            offering = world.table.offering(resource)
            if offering is not None and (fewest is None or len(offering) < len(fewest)):
                fewest = offering
        return np.array(sorted(fewest), dtype=np.intp) if fewest is not None else None

    def prepare(self, pod: PodInfo, world: World) -> list[tuple[str, int]]:
        return [
            (resource, amount)
            for resource, amount in pod.demand.amounts.items()
            if amount > 0 and not self._is_ignored(resource)
        ]

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        table = world.table
        refused: Any = None
        reasons: list[Reason] = []
        for resource, amount in state:
            offered = table.allocatable(resource)[rows]
            short = amount > offered - table.requested(resource)[rows]
            if resource in world.devices.extended:
                short &= offered > 0  # where the node has none, a claim for devices does
            if short.any():
                reasons += _split(lack_of(resource), short, amount > offered)
                refused = short if refused is None else refused | short
        return Verdict(refused, tuple(reasons)) if refused is not None else None

    def passes(self, state: Any, world: World, row: int) -> bool:
        table, by_claim = world.table, world.devices.extended
        for resource, amount in state:
            offered = table.offers(resource, row)
            short = amount > offered - table.takes(resource, row)
            if short and (offered > 0 or resource not in by_claim):
                return False
        return True

    def prepare_score(self, pod: PodInfo, world: World) -> list[tuple[str, int, int]] | None:
        return asked_of(self._strategy.weights, pod.demand, scored=True) or None

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        total = np.zeros(len(nobody(world, rows)), dtype=np.int64)
        counted = np.zeros(len(total), dtype=np.int64)
        for resource, amount, weight in state:
            offered = world.table.allocatable(resource)[rows]
            used = used_of(world, resource)[rows] + amount
            scores = self._score(used, offered)
            present = offered > 0
            if self._strategy.kind == RATIO:
                present &= scores > 0
            total += np.where(present, scores * weight, 0)
            counted += np.where(present, weight, 0)
        least = np.maximum(counted, 1)
        if self._strategy.kind == RATIO:
            return np.floor(total / least + 0.5).astype(np.int64)
        shares: Numbers = total // least
        return shares

    def score_one(self, state: Any, world: World, row: int) -> int:
        kind = self._strategy.kind
        if kind == RATIO:
            return super().score_one(state, world, row)
        total = counted = 0
        for resource, amount, weight in state:
            offered = world.table.offers(resource, row)
            if offered > 0:
                used = _used_at(world, resource, row) + amount
                share = max(offered - used, 0) if kind == LEAST else min(used, offered)
                total += share * MOST_SCORE // offered * weight
                counted += weight
        return total // max(counted, 1)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == ASSIGNED_POD:
            if not event.does(DELETE, SCALE_DOWN) or event.old is None:
                return False
            freed = demand(event.old).amounts
            return any(freed.get(name) for name, amount in pod.demand.amounts.items() if amount)
        served = world.devices.extended
        if event.kind == _DEVICE_CLASS:
            return any(resource in served for resource in pod.demand.amounts)
        if not event.does(ADD, UPDATE_ALLOCATABLE) or event.new is None:
            return False
        offered = event.new.status.allocatable or event.new.status.capacity
        return all(
            (resource in offered and amount_of(resource, offered[resource]) >= amount) or resource in served
            for resource, amount in self.prepare(pod, world)
        )

    def _score(self, used: Numbers, offered: Numbers) -> Numbers:
        some = np.maximum(offered, 1)
        kind = self._strategy.kind
        if kind == LEAST:
            left: Numbers = np.maximum(offered - used, 0) * MOST_SCORE // some
            return left
        if kind == MOST:
            most: Numbers = np.minimum(used, offered) * MOST_SCORE // some
            return most
        utilization = np.where(used > offered, MOST_SCORE, used * MOST_SCORE // some)
        return on_curve(self._strategy.curve, utilization)

    def _is_ignored(self, resource: str) -> bool:
        if resource in _NATIVE or "/" not in resource:
            return False
        return resource in self._ignored or resource.partition("/")[0] in self._ignored_groups


def lack_of(resource: str) -> str:
    """What is said of a node that has too little of it."""
    return TOO_MANY_PODS if resource == PODS else f"Insufficient {resource}"


def _split(text: str, short: Any, never: Any) -> list[Reason]:
    """What evicting can mend apart from what is more than the node has altogether."""
    lost = short & never
    if not lost.any():
        return [Reason(text, short)]
    rest = short & ~never
    reasons = [Reason(text, lost, resolvable=False)]
    return [*reasons, Reason(text, rest)] if rest.any() else reasons


def asked_of(
    weights: Sequence[tuple[str, int]], wanted: Demand, *, scored: bool
) -> list[tuple[str, int, int]]:
    """What the pod adds of each resource that counts, with its weight; extended ones only if asked for."""
    found = []
    for resource, weight in weights:
        amount = wanted.amounts.get(resource, 0)
        if scored and resource == CPU:
            amount = wanted.scored_cpu
        elif scored and resource == MEMORY:
            amount = wanted.scored_memory
        if amount or resource in _NATIVE:
            found.append((resource, amount, weight))
    return found


def used_of(world: World, resource: str) -> Numbers:
    """What scoring takes to be in use: pods that ask for no CPU or memory need a little all the same."""
    if resource == CPU:
        return world.table.scored_cpu
    if resource == MEMORY:
        return world.table.scored_memory
    return world.table.requested(resource)


def _used_at(world: World, resource: str, row: int) -> int:
    if resource in (CPU, MEMORY):
        return int(used_of(world, resource).item(row))
    return world.table.takes(resource, row)


def strategy_of(args: Mapping[str, Any]) -> Strategy:
    """The scoringStrategy of NodeResourcesFitArgs. Raises ValueError for what makes no sense."""
    given = args.get("scoringStrategy") or {}
    kind = given.get("type") or LEAST
    if kind not in (LEAST, MOST, RATIO):
        raise ValueError(f"scoringStrategy.type {kind!r} is none of {LEAST}, {MOST}, {RATIO}")
    resources = given.get("resources") or [{"name": CPU, "weight": 1}, {"name": MEMORY, "weight": 1}]
    weights = tuple((str(r["name"]), int(r.get("weight") or 1)) for r in resources)
    if any(not 1 <= weight <= 100 for _, weight in weights):
        raise ValueError("the weights of scoringStrategy.resources must be from 1 to 100")
    points = (given.get("requestedToCapacityRatio") or {}).get("shape") or []
    curve = tuple((int(p.get("utilization", 0)), int(p.get("score", 0))) for p in points)
    if kind == RATIO and not curve:
        raise ValueError("scoringStrategy.requestedToCapacityRatio.shape must have at least one point")
    if [u for u, _ in curve] != sorted({u for u, _ in curve}):
        raise ValueError("the utilization of the points of a shape must rise from point to point")
    return Strategy(kind, weights, curve)


def made_of(args: Mapping[str, Any]) -> NodeResourcesFit:
    """The plugin that NodeResourcesFitArgs describe. Raises ValueError."""
    return NodeResourcesFit(
        strategy_of(args),
        frozenset(args.get("ignoredResources") or ()),
        frozenset(args.get("ignoredResourceGroups") or ()),
    )
