"""What an eviction may do: the disruption budget's part of the decision, as kube-apiserver makes it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.kinds.core.phases import is_finished
from sampan.schema import api, codec

# More evictions than this that nobody has confirmed are not granted.
DISRUPTED_MOST: Final = 2000
RETRY_S: Final = 10
_VIOLATES: Final = "Cannot evict pod as it would violate the pod's disruption budget."


def costs_nothing(pod: api.Pod) -> bool:
    """Whether budgets are not asked: the pod has ended, has not begun, or goes anyhow."""
    gone = is_finished(pod) or pod.metadata.deletionTimestamp is not None
    return gone or pod.status.phase == "Pending"


def is_unhealthy_and_free(pod: api.Pod, budget: api.PodDisruptionBudget) -> bool:
    """Whether a pod that is not ready may go without being counted, by unhealthyPodEvictionPolicy."""
    if any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions):
        return False
    if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
        return True
    healthy, wanted = budget.status.currentHealthy or 0, budget.status.desiredHealthy or 0
    return healthy >= wanted > 0


def spend(current: api.PodDisruptionBudget, pod: str, kind: Any, now: datetime) -> api.PodDisruptionBudget:
    """The budget with the eviction counted. Raises 429 for none left, 403 for a bad status."""
    budget, name = codec.copy(current), current.metadata.name or ""
    allowed = budget.status.disruptionsAllowed or 0
    if (budget.status.observedGeneration or 0) < (budget.metadata.generation or 0):
        why = f"The disruption budget {name} is still being processed by the server."
        raise _refusal(why, RETRY_S)
    if allowed < 0:
        raise status.forbidden(kind, name, "pdb disruptions allowed is negative")
    if len(budget.status.disruptedPods) > DISRUPTED_MOST:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise status.forbidden(kind, name, why)
    if allowed == 0:
        raise _refusal(_why(budget))
    budget.status.disruptionsAllowed = allowed - 1
    if allowed == 1:
        _no_more(budget, now)
    budget.status.disruptedPods[pod] = now
    return budget


def _why(budget: api.PodDisruptionBudget) -> str:
    healthy, wanted = budget.status.currentHealthy, budget.status.desiredHealthy
    name = budget.metadata.name
    failed = next((c for c in budget.status.conditions if c.type == "DisruptionAllowed"), None)
    if failed is not None and failed.reason == "SyncFailed":
        return (
            f"The disruption budget {name} does not allow evicting pods currently because it failed sync: "
            + (failed.message or "")
        )
    return f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"


def _refusal(why: str, retry_after_s: int = 0) -> status.StatusError:
    causes = [{"reason": "DisruptionBudget", "message": why}]
    return status.too_many_requests(_VIOLATES, retry_after_s, causes)


def _no_more(budget: api.PodDisruptionBudget, now: datetime) -> None:
    for condition in budget.status.conditions:
        if condition.type == "DisruptionAllowed" and condition.status == "True":
            condition.status, condition.reason = "False", "InsufficientPods"
            condition.lastTransitionTime = now


def announce(current: api.Pod, now: datetime) -> api.Pod:
    """The pod with the condition that tells controllers that it was not its own fault."""
    pod = codec.copy(current)
    condition = api.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
        lastTransitionTime=now,
    )
    if pod.metadata.generation:
        condition.observedGeneration = pod.metadata.generation
    pod.status.conditions = [*(c for c in pod.status.conditions if c.type != condition.type), condition]
    return pod
