"""The cycle of a pod group, pure: its pods one after the other, each counting for those after it; then all of
them keep their places, or none does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from sampan.scheduler.changes import RowIndex
from sampan.scheduler.cycle import Choose, Engine
from sampan.scheduler.decision import Decision
from sampan.scheduler.devices.ledger import Reserve
from sampan.scheduler.framework import Refused
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.preemption import Outcome, Victims
from sampan.scheduler.reserving import split
from sampan.scheduler.world import Placed

# Tells plugins that reserved something for a pod on a node that it does not go there.
Unreserve = Callable[[PodInfo, str], None]
# Finds victims for a pod that no node will do for.
MakeRoom = Callable[[PodInfo], Outcome]


class Taken(msgspec.Struct, frozen=True):
    """A pod's place, and what has to be done for it before it is bound there."""

    pod: PodInfo
    node: str
    volumes: Sequence[Any] = ()
    devices: Sequence[Reserve] = ()


class GroupCycle:
    """One try to give `wanted` pods of a group places, where `scheduled` have some and `least` must have.

    Places are taken in the world at once; `undo` gives all of them back.
    """

    def __init__(
        self, engine: Engine, least: int, scheduled: int, wanted: int, unreserve: Unreserve | None = None
    ) -> None:
        self._unreserve = unreserve
        self.taken: list[Taken] = []
        self.refused: list[tuple[PodInfo, Decision]] = []
        self.victims: list[Victims] = []
        self.terminating = False  # victims of an earlier try have still to go
        self._engine = engine
        self._world = engine.world
        self._least = least
        self._scheduled = scheduled
        self._wanted = wanted
        self._away: list[Placed] = []
        self._refusing = {"GangScheduling"}
        self._by_nobody = False

    @property
    def remaining(self) -> int:
        return self._wanted - len(self.taken) - len(self.refused)

    @property
    def succeeded(self) -> bool:
        return self._scheduled + len(self.taken) >= self._least

    @property
    def hopeless(self) -> bool:
        """Whether too few pods are left to try."""
        return self._scheduled + len(self.taken) + self.remaining < self._least

    @property
    def message(self) -> str:
        """Why the group cannot be scheduled, in kube-scheduler's words; "" where it can."""
        if self.succeeded:
            return ""
        found = self._scheduled + len(self.taken)
        return f"minCount ({self._least}) cannot be satisfied: {found} scheduled, {self.remaining} remaining"

    @property
    def refused_by(self) -> frozenset[str]:
        """The plugins that would have to change their minds; any one of the pods may then change all.

        Nobody where no plugin is behind a refusal (no nodes, an extender): then anything may change it.
        """
        return frozenset() if self._by_nobody else frozenset(self._refusing)

    def settle(self, pod: PodInfo, decision: Decision, outcome: Outcome) -> None:
        """Give the pod the place that was decided on, or that of its victims, or note that it has none."""
        self._refusing |= decision.refused_by
        self.terminating = self.terminating or "terminating" in outcome.message
        if decision.node:
            self._take(pod, decision)
        elif outcome.victims is not None:
            self._take_from(pod, outcome.victims)
        else:
            self._by_nobody = self._by_nobody or not decision.refused_by
            after = outcome.message or decision.after
            self.refused.append((pod, msgspec.structs.replace(decision, after=after)))

    def _take(self, pod: PodInfo, decision: Decision) -> None:
        try:
            work = self._engine.reserve(pod, decision.row)
        except Exception as problem:
            if self._unreserve is not None:
                self._unreserve(pod, decision.node)
            if not isinstance(problem, Refused):
                raise
            self._refusing.add(problem.plugin)
            self.refused.append((pod, Decision(nodes=decision.nodes, rejection=str(problem))))
            return
        volumes, devices = split(work)
        self._world.place(pod, decision.node, assumed=True)
        self._world.promises.make(volumes)
        self._world.devices.promise(devices)
        self.taken.append(Taken(pod, decision.node, volumes, devices))

    def _take_from(self, pod: PodInfo, victims: Victims) -> None:
        for victim in victims.pods:
            placed = self._world.unplace(victim.key)
            if placed is not None:
                self._away.append(placed)
        self._world.place(pod, victims.node, assumed=True)
        self.taken.append(Taken(pod, victims.node))
        self.victims.append(victims)

    def leave_out_gone(self) -> None:
        """Forget pods that were taken out of the world since they were given a place."""
        for each in self.taken:
            if not self._is_there(each):
                self._release(each)
        self.taken = [each for each in self.taken if self._is_there(each)]

    def undo(self) -> None:
        """Everything is as it was before."""
        for each in reversed(self.taken):
            if self._is_there(each):
                self._world.unplace(each.pod.key)
            self._release(each)
        for placed in reversed(self._away):
            self._world.place(placed.pod, placed.node, assumed=placed.assumed)
        self._away.clear()

    def _is_there(self, each: Taken) -> bool:
        placed = self._world.placed.get(each.pod.key)
        return placed is not None and placed.pod is each.pod

    def _release(self, each: Taken) -> None:
        """Give back what was taken together with the place."""
        if self._unreserve is not None:
            self._unreserve(each.pod, each.node)
        self._world.promises.end(each.volumes)
        for work in each.devices:
            self._world.devices.withdraw(work)


def run(
    engine: Engine,
    pods: Sequence[PodInfo],
    least: int,
    scheduled: int,
    choose: Choose,
    *,
    rows: RowIndex | None = None,
    make_room: MakeRoom | None = None,
    unreserve: Unreserve | None = None,
) -> GroupCycle:
    """Decide for all pods of a group, on some `rows` alone where these are given.

    Afterwards the places are taken. Raises what plugins raise; then none is.
    """
    cycle = GroupCycle(engine, least, scheduled, len(pods), unreserve)
    try:
        for pod in pods:
            if cycle.hopeless:
                break
            decision = _decide(engine, pod, choose, rows)
            outcome = make_room(pod) if not decision.node and make_room is not None else Outcome()
            cycle.settle(pod, decision, outcome)
    except BaseException:
        cycle.undo()
        raise
    return cycle


def run_in_domain(
    engine: Engine,
    pods: Sequence[PodInfo],
    least: int,
    placed_on: Sequence[str],
    label: str,
    choose: Choose,
    unreserve: Unreserve | None = None,
) -> tuple[GroupCycle, str]:
    """The same where all pods of the group have to share one value of a node label.

    The value under which most pods have a place is chosen, the first by name among equals; where the group
    has pods already, theirs. Gives also why no value will do (kube-scheduler's words).
    """
    table, scheduled = engine.world.table, len(placed_on)
    domains = table.domains(label)
    here = {int(domains.ids[table.rows[name]]) for name in placed_on if name in table.rows}
    numbers = [n for _, n in sorted(domains.numbers.items()) if not here or n in here]
    placements = [rows for n in numbers if len(rows := np.flatnonzero(table.live & (domains.ids == n)))]
    most, best = 0, None
    for rows in placements:
        cycle = run(engine, pods, least, scheduled, choose, rows=rows, unreserve=unreserve)
        cycle.undo()
        if cycle.succeeded and len(cycle.taken) > most:
            most, best = len(cycle.taken), rows
    if best is not None:
        return run(engine, pods, least, scheduled, choose, rows=best, unreserve=unreserve), ""
    first = placements[0] if placements else np.array([], dtype=np.intp)
    cycle = run(engine, pods, least, scheduled, choose, rows=first, unreserve=unreserve)
    why = cycle.message or "none of its pods has a place"
    return cycle, f"0/{len(placements)} placements are available, first placement status: {why}"


def _decide(engine: Engine, pod: PodInfo, choose: Choose, rows: RowIndex | None) -> Decision:
    if rows is None:
        return engine.decide(pod, choose)
    found = engine.feasible(pod)
    if isinstance(found, Decision):
        return found
    some = np.intersect1d(found, rows)
    if not len(some):
        count = engine.world.table.count
        why = "node(s) didn't match the pod group's topology constraint"
        return Decision(nodes=count, reasons=((count, why),))
    return engine.pick(pod, some, choose)
