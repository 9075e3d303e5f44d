"""The cluster as it would be after each eviction: successors go where the scheduler would put them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from sampan.descheduler.policy import Caps, Policy
from sampan.kinds.core.phases import is_finished
from sampan.machinery.selectors import Selector
from sampan.scheduler.changes import RowIndex
from sampan.scheduler.cycle import Engine
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.schema import api
from sampan.simulation.budgets import Budgets
from sampan.simulation.draining import unbound
from sampan.simulation.placing import engines_of, first_by_name


class Eviction(msgspec.Struct, frozen=True):
    """One pod to evict: which strategy wants it, and why. `to` is where its successor would go, if known."""

    pod: api.Pod
    node: str
    strategy: str
    why: str
    to: str = ""


class Trial:
    """Pods are moved here one by one; each at most once."""

    def __init__(
        self, snapshot: Snapshot, policy: Policy, profiles: Sequence[Profile], now: datetime
    ) -> None:
        staying = [p for p in snapshot.pods if p.metadata.deletionTimestamp is None and not is_finished(p)]
        self.snapshot = msgspec.structs.replace(snapshot, pods=staying)
        self.world = world_of(self.snapshot)
        self.now = now
        self.evictions: list[Eviction] = []
        self._engines = engines_of(profiles, self.world)
        self._budgets = Budgets(snapshot.others.get(api.PodDisruptionBudget, ()))
        self._caps: Caps = policy.caps
        self._wanted: Selector | None = policy.nodes
        self._per_node: Counter[str] = Counter()
        self._per_namespace: Counter[str] = Counter()
        self._moved: set[tuple[str, str]] = set()
        for pod in sorted(staying, key=lambda each: -(each.spec.priority or 0)):
            if not pod.spec.nodeName and not pod.spec.schedulingGates:  # who waits comes first
                self._place(self.world.infos.of(pod))

    def nodes(self) -> list[str]:
        """The nodes that are looked at, by name."""
        table = self.world.table
        return sorted(
            name
            for name, row in table.rows.items()
            if self._wanted is None or self._wanted.matches(table.labels(row))
        )

    def on(self, node: str) -> list[PodInfo]:
        """Who is on a node and has not been moved, the first to go first: by priority, then the youngest."""
        here = [pod for pod in self.world.on(node) if pod.key not in self._moved]
        return sorted(here, key=_last_to_stay)

    def engine(self, pod: PodInfo) -> Engine | None:
        """Who decides for the pod; None where it is another scheduler."""
        return self._engines.get(pod.spec.schedulerName or "")

    def evict(
        self,
        pod: PodInfo,
        node: str,
        strategy: str,
        why: str,
        *,
        fits: bool = True,
        will_do: Callable[[str], bool] = lambda to: True,
    ) -> bool:
        """Move the pod, where caps and budgets let it go and its successor has a better place.

        Its successor goes where its scheduler would put it: that may be neither the node it comes from nor
        one that is not `will_do`, and with `fits` there has to be one.
        """
        if not self._allowed(pod, node) or self._budgets.why(pod.pod):
            return False
        self.world.unplace(pod.key)
        successor = self.world.infos.of(unbound(pod.pod))
        to = self._place(successor)
        if (fits and not to) or to == node or (to and not will_do(to)):
            if to:
                self.world.unplace(successor.key)
            self.world.place(pod, node)
            return False
        self._budgets.spend(pod.pod)
        self._per_node[node] += 1
        self._per_namespace[pod.namespace] += 1
        self._moved.add(pod.key)
        self.evictions.append(Eviction(pod.pod, node, strategy, why, to))
        return True

    def _allowed(self, pod: PodInfo, node: str) -> bool:
        caps = self._caps
        return not (
            (caps.total is not None and len(self.evictions) >= caps.total)
            or (caps.per_node is not None and self._per_node[node] >= caps.per_node)
            or (caps.per_namespace is not None and self._per_namespace[pod.namespace] >= caps.per_namespace)
        )

    def _place(self, pod: PodInfo) -> str:
        """Where the pod's scheduler puts it, the first by name of nodes that are as good; "" for nowhere."""
        engine = self.engine(pod)
        if engine is None:
            return ""
        decision = engine.decide(pod, self._first)
        if decision.node:
            self.world.place(pod, decision.node)
        return decision.node

    def _first(self, rows: RowIndex) -> int:
        return first_by_name(self.world, rows)


def _last_to_stay(pod: PodInfo) -> tuple[int, float, str]:
    created = pod.pod.metadata.creationTimestamp
    return pod.priority, -(created.timestamp() if created is not None else 0.0), pod.key[1]
