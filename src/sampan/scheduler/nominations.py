"""Which pods were promised which nodes, and what all of them together will take of each row. Pure.

The sums are kept as arrays beside the table's, so that thousands of promises cost a decision what one costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from sampan.scheduler.podinfo import Key, PodInfo
from sampan.scheduler.requests import PODS, Amounts
from sampan.scheduler.table import NodeTable, Numbers


class Nominations:
    """Pods that wait for their victims to go. Those for which `is_placed` count where they are instead."""

    def __init__(self, table: NodeTable, is_placed: Callable[[Key], bool]) -> None:
        self.by_node: dict[str, dict[Key, PodInfo]] = {}
        self._nodes: dict[Key, str] = {}
        self._table = table
        self._is_placed = is_placed
        self._sums: dict[str, Numbers] = {}
        # What of the sums is whose: the row and the amounts.
        self._counted: dict[Key, tuple[int, Amounts]] = {}
        self._priorities: dict[int, int] = {}
        # How many of them keep others away by more than their amounts, once they are there.
        self.repelling = 0

    def __bool__(self) -> bool:
        return bool(self.by_node)

    @property
    def least_priority(self) -> float:
        """The priority of the least important pod that was promised a node; infinite where there is none."""
        return min(self._priorities, default=float("inf"))

    def of(self, key: Key) -> str:
        """The node that the pod was promised, or ""."""
        return self._nodes.get(key, "")

    def set(self, pod: PodInfo, node: str) -> str:
        """Promise a node to a pod, or with "" none any more; gives the one that it was promised before."""
        key, before = pod.key, self._nodes.pop(pod.key, "")
        if before:
            old = self.by_node[before].pop(key)
            if not self.by_node[before]:
                del self.by_node[before]
            self._count_priority(old.priority, -1)
            self.repelling -= _repels(old)
        if node:
            self._nodes[key] = node
            self.by_node.setdefault(node, {})[key] = pod
            self._count_priority(pod.priority, 1)
            self.repelling += _repels(pod)
        self.recount(key)
        return before

    def rivals(self, pod: PodInfo, node: str) -> list[PodInfo]:
        """Pods that were promised the node and come before this one: of its priority or higher."""
        waiting = self.by_node.get(node)
        if not waiting:
            return []
        return [
            p
            for p in waiting.values()
            if p.priority >= pod.priority and p.uid != pod.uid and not self._is_placed(p.key)
        ]

    def promised(self, resource: str) -> Numbers:
        """What those who were promised each row ask for together, however important they are."""
        return self._column(resource)

    @property
    def rows(self) -> Numbers:
        """How many pods wait for each row."""
        return self._column(PODS)

    def recount(self, key: Key) -> None:
        """The pod was placed or taken away, or was promised another node."""
        counted = self._counted.pop(key, None)
        if counted is not None:
            row, amounts = counted
            self._add(row, amounts, -1)
        node = self._nodes.get(key, "")
        here = self._table.rows.get(node) if node else None
        if here is not None and not self._is_placed(key):
            wanted = dict(self.by_node[node][key].demand.amounts)
            self._counted[key] = here, wanted
            self._add(here, wanted, 1)

    def recount_node(self, node: str) -> None:
        """The node came or went."""
        for key in self.by_node.get(node, ()):
            self.recount(key)

    def all(self) -> Iterable[PodInfo]:
        """Everybody who was promised a node."""
        return [pod for pods in self.by_node.values() for pod in pods.values()]

    def _add(self, row: int, amounts: Amounts, sign: int) -> None:
        for resource, amount in amounts.items():
            self._column(resource)[row] += sign * amount

    def _column(self, resource: str) -> Numbers:
        size = self._table.size
        column = self._sums.get(resource)
        if column is None:
            column = self._sums[resource] = np.zeros(size, dtype=np.int64)
        elif len(column) < size:
            more = np.zeros(size - len(column), dtype=np.int64)
            column = self._sums[resource] = np.concatenate([column, more])
        return column

    def _count_priority(self, priority: int, change: int) -> None:
        count = self._priorities.get(priority, 0) + change
        if count:
            self._priorities[priority] = count
        else:
            del self._priorities[priority]


def _repels(pod: PodInfo) -> bool:
    affinity = pod.spec.affinity
    return affinity is not None and affinity.podAntiAffinity is not None
