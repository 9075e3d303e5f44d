"""DefaultPreemption, pure: which pods would have to go so that a more important one fits.

A node's victims are the fewest that make room: all less important pods are taken away, then brought back one
by one, the most important first, and those that a disruption budget protects before all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Final

import msgspec
import numpy as np

from sampan.machinery.selectors import Selector
from sampan.scheduler.amounts import ByAmounts
from sampan.scheduler.changes import ALL
from sampan.scheduler.cycle import Engine
from sampan.scheduler.decision import Diagnosis
from sampan.scheduler.gangs import goes_whole, group_of
from sampan.scheduler.groups import selector_of
from sampan.scheduler.podinfo import PodInfo, Template
from sampan.scheduler.world import Trial
from sampan.schema import api

NO_VICTIMS: Final = "No preemption victims found for incoming pod"
NOT_HELPFUL: Final = "Preemption is not helpful for scheduling"
NEVER: Final = "not eligible due to preemptionPolicy=Never."
TERMINATING: Final = "not eligible due to a terminating pod on the nominated node."
# How many nodes are tried for one pod (DefaultPreemptionArgs): a share of all, but at least some.
LEAST_SHARE: Final = 0.10
LEAST_NODES: Final = 100
# Templates whose trials are remembered.
MOST_REMEMBERED: Final = 64
_PRIORITY_BASE: Final = 2**31


class Victims(msgspec.Struct, frozen=True, dict=True):
    """Who would have to leave a node, the most important first; how many budgets that would violate."""

    node: str
    pods: tuple[PodInfo, ...]
    violations: int = 0

    @cached_property
    def cost(self) -> tuple[float, ...]:
        """The lower the better, in kube-scheduler's order."""
        priorities = [p.priority for p in self.pods]
        highest = max(priorities)
        earliest = min(_started(p) for p in self.pods if p.priority == highest)
        total = sum(p + _PRIORITY_BASE for p in priorities)
        return (self.violations, highest, total, len(priorities), -earliest)


class Outcome(msgspec.Struct, frozen=True):
    """What preemption came to: victims, or the words for why there are none."""

    victims: Victims | None = None
    message: str = ""


class _Budget(msgspec.Struct):
    namespace: str
    selector: Selector
    disrupted: frozenset[str]
    allowed: int


class _Memory(msgspec.Struct, eq=False):
    """Trials of one template, up to a position in the table's log."""

    at: int
    budgets: int
    tried: dict[int, Victims | str]


class Preemption:
    """Finds victims for the pods of one profile."""

    def __init__(self, engine: Engine, *, share: float = LEAST_SHARE, least: int = LEAST_NODES) -> None:
        self._engine = engine
        self._world = engine.world
        self._share = share
        self._least = least
        self._memory: dict[tuple[Template, int], _Memory] = {}
        self.budgets_version = 0  # to be raised where a budget has changed

    def find(self, pod: PodInfo, found: Diagnosis, offset: Callable[[int], int]) -> Outcome:
        """The best victims. `offset(n)` says at which of n candidate nodes to begin."""
        outcome, candidates = self.candidates(pod, found, offset)
        return self.best(candidates) if candidates else outcome

    def best(self, candidates: Sequence[Victims]) -> Outcome:
        """The one of them that costs the least; none where there is none."""
        return Outcome(min(candidates, key=lambda each: each.cost)) if candidates else Outcome()

    def candidates(
        self, pod: PodInfo, found: Diagnosis, offset: Callable[[int], int]
    ) -> tuple[Outcome, list[Victims]]:
        """The victims of every node where there are some; where there are none, why."""
        why = self._not_eligible(pod, found)
        if why:
            return Outcome(message=f"preemption: {why}"), []
        rows = np.flatnonzero(found.resolvable & self._world.table.live)
        reasons: Counter[str] = Counter()
        reasons[NOT_HELPFUL] = self._world.table.count - len(rows)
        if self._world.least_priority < pod.priority:
            candidates = self._try_all(pod, rows.tolist(), offset, reasons)
            if candidates:
                return Outcome(), candidates
        else:
            reasons[NO_VICTIMS] += len(rows)
        told = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))
        text = f"preemption: 0/{self._world.table.count} nodes are available: {told}."
        return Outcome(message=text), []

    def _try_all(
        self, pod: PodInfo, rows: list[int], offset: Callable[[int], int], reasons: Counter[str]
    ) -> list[Victims]:
        memory = self._remembered(pod)
        most = max(int(self._world.table.count * self._share), self._least)
        begin = offset(len(rows)) if rows else 0
        found: list[Victims] = []
        budgets: list[_Budget] | None = None
        amounts = self._engine.by_amounts(pod)
        for row in [*rows[begin:], *rows[:begin]]:
            outcome = memory.tried.get(row)
            if outcome is None:
                budgets = self._budgets() if budgets is None else budgets
                outcome = memory.tried[row] = self._try(pod, row, budgets, amounts)
            if isinstance(outcome, str):
                reasons[outcome] += 1
                continue
            found.append(outcome)
            if len(found) >= most:
                break
        return found

    def _try(
        self, pod: PodInfo, row: int, budgets: Sequence[_Budget], amounts: ByAmounts | None
    ) -> Victims | str:
        world = self._world
        node = world.table.nodes[row]
        assert node is not None
        name = node.metadata.name or ""
        lower = [p for p in world.on(name) if p.priority < pod.priority and not self._is_shielded(p, pod)]
        if not lower:
            return NO_VICTIMS
        lower.sort(key=_importance)
        if amounts is not None and amounts.rows.item(row):
            return self._tell_apart(pod, row, name, lower, budgets, amounts)
        with world.without(name, lower) as trial:
            for rival in world.rivals(pod, name):
                trial.add(rival)
            why = self._engine.refusal(pod, row)
            if why:
                return why
            protected, others = _split(lower, budgets)
            victims = self._reprieve(pod, row, trial, protected)
            violations = len(victims)
            victims += self._reprieve(pod, row, trial, others)
        if not victims:
            return NO_VICTIMS
        return Victims(name, tuple(sorted(victims, key=_importance)), violations)

    def _tell_apart(
        self,
        pod: PodInfo,
        row: int,
        name: str,
        lower: Sequence[PodInfo],
        budgets: Sequence[_Budget],
        amounts: ByAmounts,
    ) -> Victims | str:
        """The same as a trial, by sums."""
        free = amounts.free(row, self._world.rivals(pod, name), lower)
        short = amounts.short(free)
        if short:
            return short[0]
        protected, others = _split(lower, budgets) if budgets else ((), lower)
        victims = amounts.displaced(free, protected)
        violations = len(victims)
        victims += amounts.displaced(free, others)
        if not victims:
            return NO_VICTIMS
        return Victims(name, tuple(sorted(victims, key=_importance)), violations)

    def _is_shielded(self, victim: PodInfo, pod: PodInfo) -> bool:
        """Whether the victim's group goes only as a whole, and some of it is not less important."""
        if victim.spec.schedulingGroup is None:
            return False
        world = self._world
        key = group_of(victim.pod)
        if key is None or not goes_whole(world.gangs.group(key)):
            return False
        placed = (world.placed.get(own) for own in world.gangs.members(key))
        return any(each is not None and each.pod.priority >= pod.priority for each in placed)

    def _reprieve(self, pod: PodInfo, row: int, trial: Trial, pods: Iterable[PodInfo]) -> list[PodInfo]:
        """Bring pods back while the preemptor still fits; gives those who cannot stay."""
        victims = []
        for each in pods:
            trial.bring_back(each)
            if self._engine.refusal(pod, row):
                trial.take_away(each)
                victims.append(each)
        return victims

    def _remembered(self, pod: PodInfo) -> _Memory:
        """What earlier trials of pods like this found, for rows that have not changed since."""
        log = self._world.table.usage
        key = (pod.template, pod.priority)
        known = self._memory.get(key)
        changed = log.since(known.at) if known is not None else None
        if (
            known is None
            or changed is ALL
            or known.budgets != self.budgets_version
            or self._engine.looks_around(pod)
        ):
            while len(self._memory) >= MOST_REMEMBERED:
                del self._memory[next(iter(self._memory))]
            known = self._memory[key] = _Memory(log.position, self.budgets_version, {})
        elif changed is not None and not isinstance(changed, slice):
            for row in changed.tolist():
                known.tried.pop(row, None)
        known.at = log.position
        return known

    def _not_eligible(self, pod: PodInfo, found: Diagnosis) -> str:
        if pod.spec.preemptionPolicy == "Never":
            return NEVER
        node = self._world.nomination(pod.key)
        row = self._world.table.rows.get(node)
        if row is not None and found.resolvable[row]:
            for other in self._world.on(node):
                if other.terminating and other.priority < pod.priority and _is_preempted(other.pod):
                    return TERMINATING
        return ""

    def _budgets(self) -> list[_Budget]:
        return [
            _Budget(
                budget.metadata.namespace or "",
                selector_of(budget.spec.selector),
                frozenset(budget.status.disruptedPods),
                budget.status.disruptionsAllowed or 0,
            )
            for budget in self._world.cache(api.PodDisruptionBudget).items()
        ]


def _split(pods: Sequence[PodInfo], budgets: Sequence[_Budget]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Those whose going would violate a budget, and the others."""
    left = [budget.allowed for budget in budgets]
    protected: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        violates = False
        for at, budget in enumerate(budgets):
            selects = budget.selector
            if budget.namespace != pod.namespace or selects.empty or not selects.matches(pod.labels):
                continue
            if pod.key[1] in budget.disrupted:  # it was counted when its eviction was granted
                continue
            left[at] -= 1
            violates = violates or left[at] < 0
        (protected if violates else others).append(pod)
    return protected, others


def _importance(pod: PodInfo) -> tuple[int, float]:
    """The most important first: by priority, then who has run longest."""
    return -pod.priority, _started(pod)


def _started(pod: PodInfo) -> float:
    started = pod.pod.status.startTime
    return started.timestamp() if started is not None else float("inf")


def _is_preempted(pod: api.Pod) -> bool:
    return any(
        c.type == "DisruptionTarget" and c.status == "True" and c.reason == "PreemptionByScheduler"
        for c in pod.status.conditions
    )
