"""How many more evictions PodDisruptionBudgets allow, as evictions are planned. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.apiserver.core.evictions import costs_nothing, is_unhealthy_and_free
from sampan.scheduler.groups import selector_of
from sampan.schema import api


class Budgets:
    """How many more evictions each PodDisruptionBudget allows, as pods go and others take their place."""

    def __init__(self, budgets: Iterable[api.PodDisruptionBudget]) -> None:
        # With their selectors, read once.
        self._all = [(budget, selector_of(budget.spec.selector)) for budget in budgets]
        self._allowed = {id(b): max(b.status.disruptionsAllowed or 0, 0) for b, _ in self._all}

    def spend(self, pod: api.Pod) -> str:
        """Why the eviction is refused; counts it where it is not."""
        why = self.why(pod)
        if not why:
            for budget in self._counted(pod):
                self._allowed[id(budget)] -= 1
        return why

    def give_back(self, pod: api.Pod) -> None:
        """A pod of the same kind has become ready elsewhere."""
        for budget in self._counted(pod):
            self._allowed[id(budget)] += 1

    def why(self, pod: api.Pod) -> str:
        """Why the pod may not be evicted as things are; "" where it may."""
        if costs_nothing(pod):
            return ""
        selecting = self._selecting(pod)
        if len(selecting) > 1:
            names = ", ".join(b.metadata.name or "" for b in selecting)
            return f"the PodDisruptionBudgets {names} select it, and evictions heed one at most"
        for budget in self._counted(pod):
            if not self._allowed[id(budget)]:
                status = budget.status
                return (
                    f"PodDisruptionBudget {budget.metadata.name} needs {status.desiredHealthy or 0} "
                    f"healthy pods, has {status.currentHealthy or 0} and allows "
                    f"{status.disruptionsAllowed or 0} disruptions"
                )
        return ""

    def _selecting(self, pod: api.Pod) -> list[api.PodDisruptionBudget]:
        namespace, labels = pod.metadata.namespace, pod.metadata.labels
        return [
            budget
            for budget, selector in self._all
            if budget.metadata.namespace == namespace and selector.matches(labels)
        ]

    def _counted(self, pod: api.Pod) -> list[api.PodDisruptionBudget]:
        if costs_nothing(pod):
            return []
        return [b for b in self._selecting(pod) if not is_unhealthy_and_free(pod, b)]
