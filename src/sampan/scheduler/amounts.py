"""Whether a pod fits beside others by the amounts that all of them take, where nothing else counts. Pure.

For most pods what runs on a node matters by its amounts alone. Who would have to leave is then a matter of
sums: no plugin has to be asked again for each pod that might stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Bools
from sampan.scheduler.world import World


class ByAmounts:
    """What a pod asks for, and the `rows` whose nodes are right for it whatever runs there."""

    __slots__ = ("_asked", "_texts", "_world", "rows")

    def __init__(self, world: World, rows: Bools, asked: Sequence[tuple[str, int]], texts: Any) -> None:
        """`texts(resource)` is what is said where there is too little of it."""
        self.rows = rows
        self._world = world
        self._asked = tuple(asked)
        self._texts = texts

    def free(self, row: int, others: Iterable[PodInfo], leaving: Iterable[PodInfo] = ()) -> list[int]:
        """What is free on the row of each amount, once the `others` have come and the `leaving` have gone."""
        table = self._world.table
        left = [table.offers(name, row) - table.takes(name, row) for name, _ in self._asked]
        for pod in others:
            self._add(left, pod, -1)
        for pod in leaving:
            self._add(left, pod, 1)
        return left

    def short(self, free: Sequence[int]) -> tuple[str, ...]:
        """What there is too little of, as NodeResourcesFit says it."""
        return tuple(
            self._texts(name) for (name, amount), left in zip(self._asked, free, strict=True) if amount > left
        )

    def short_of_promised(self) -> list[tuple[str, Bools]]:
        """On which rows there is too little, of each amount, beside everybody that a row was promised to."""
        table, nominations = self._world.table, self._world.nominations
        waited_for = (nominations.rows > 0) & self.rows
        return [
            (
                self._texts(name),
                waited_for
                & (amount > table.allocatable(name) - table.requested(name) - nominations.promised(name)),
            )
            for name, amount in self._asked
        ]

    def displaced(self, free: list[int], pods: Iterable[PodInfo]) -> list[PodInfo]:
        """Let the pods stay one by one while the asked amounts are left; gives those who cannot.

        What stays is taken off `free`.
        """
        gone = []
        for pod in pods:
            self._add(free, pod, -1)
            if any(amount > left for (_, amount), left in zip(self._asked, free, strict=True)):
                self._add(free, pod, 1)
                gone.append(pod)
        return gone

    def _add(self, free: list[int], pod: PodInfo, sign: int) -> None:
        amounts = pod.demand.amounts
        for at, (name, _) in enumerate(self._asked):
            amount = amounts.get(name)
            if amount:
                free[at] += sign * amount
