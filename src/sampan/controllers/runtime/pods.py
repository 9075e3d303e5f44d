"""What controllers ask about pods, worded and reckoned as k8s.io/kubernetes/pkg/api/v1/pod does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sampan.client.resources import ref_of
from sampan.controllers.runtime.owners import owner_reference
from sampan.kinds.core.phases import is_finished as is_finished
from sampan.schema import api, codec

# The name of the index that `on_node` makes.
ON_NODE: Final = "spec.nodeName"


def on_node(pod: api.Pod) -> Iterable[str]:
    """For the index `ON_NODE`: the node that the pod is bound to."""
    return (pod.spec.nodeName,) if pod.spec.nodeName else ()


def is_active(pod: api.Pod) -> bool:
    """Neither finished nor on its way out."""
    return not is_finished(pod) and pod.metadata.deletionTimestamp is None


def is_terminating(pod: api.Pod) -> bool:
    """On its way out, but not finished."""
    return not is_finished(pod) and pod.metadata.deletionTimestamp is not None


def condition(pod: api.Pod, type: str) -> api.PodCondition | None:
    """The pod's condition of this type."""
    return next((c for c in pod.status.conditions if c.type == type), None)


def is_ready(pod: api.Pod) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.status == "True"


def ready_since(pod: api.Pod) -> datetime | None:
    """When the pod became ready; None where it is not, or nobody wrote when."""
    found = condition(pod, "Ready")
    return found.lastTransitionTime if found is not None and found.status == "True" else None


def available_in_s(pod: api.Pod, min_ready_s: int, now: datetime) -> float | None:
    """Seconds until the ready pod counts as available (0: it does); None where it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_s == 0:
        return 0.0
    since = ready_since(pod)
    if since is None:
        return None
    return max((since + timedelta(seconds=min_ready_s) - now).total_seconds(), 0.0)


def is_available(pod: api.Pod, min_ready_s: int, now: datetime) -> bool:
    """Ready for at least `min_ready_s`."""
    return available_in_s(pod, min_ready_s, now) == 0.0


def from_template(template: api.PodTemplateSpec, owner: Any) -> api.Pod:
    """A pod as the template says, controlled by `owner`, its name to be generated from the owner's."""
    whole = codec.copy(template)
    ref = ref_of(owner)
    meta = api.ObjectMeta(
        generateName=f"{ref.name}-",
        namespace=ref.namespace,
        labels=whole.metadata.labels,
        annotations=whole.metadata.annotations,
        finalizers=whole.metadata.finalizers,
        ownerReferences=[owner_reference(owner)],
    )
    return api.Pod(apiVersion="v1", kind="Pod", metadata=meta, spec=whole.spec)
