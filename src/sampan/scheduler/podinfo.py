"""What the scheduler knows of one pod, with everything that equal pods share worked out once. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.kinds.core.topology import copied
from sampan.scheduler.claims import Mounts, mounts_of, named
from sampan.scheduler.requests import Demand, demand
from sampan.schema import api, codec

Key = tuple[str, str]  # namespace, name

# Shapes and templates that are remembered; those that were used longest ago are worked out again.
MOST_SHAPES: Final = 4096
_TOKENS: Final = "kube-api-access-"


class Shape:
    """What pods have in common that ask the same of a node: all of the spec that plugins read.

    `memo` is the plugins' own place for what they work out of it; pods of one shape share it.
    """

    __slots__ = ("demand", "extended", "has_mounts", "key", "memo", "mounts", "spec")

    def __init__(self, key: bytes, pod: api.Pod) -> None:
        self.key = key
        self.spec = pod.spec
        self.demand = demand(pod, resized=False)
        self.extended = tuple(name for name, n in self.demand.amounts.items() if "/" in name and n > 0)
        self.mounts = mounts_of(pod.spec)
        self.has_mounts = self.mounts != Mounts()
        self.memo: dict[Any, Any] = {}


class Template:
    """A shape with the labels, namespace and owner of its pods: what other pods' rules see of them."""

    __slots__ = ("labels", "memo", "namespace", "owner", "shape")

    def __init__(self, shape: Shape, namespace: str, labels: Mapping[str, str], owner: Any) -> None:
        self.shape = shape
        self.namespace = namespace
        self.labels = labels
        self.owner = owner  # the controller's reference, or None
        self.memo: dict[Any, Any] = {}


class PodInfo:
    """One pod. Equal in all that matters while its `resource version` is."""

    __slots__ = ("demand", "key", "pod", "priority", "template", "terminating", "uid")

    def __init__(self, pod: api.Pod, template: Template, wanted: Demand) -> None:
        metadata = pod.metadata
        self.pod = pod
        self.key: Key = (metadata.namespace or "", metadata.name or "")
        self.uid = metadata.uid or ""
        self.priority = pod.spec.priority or 0
        self.demand = wanted
        self.template = template
        self.terminating = metadata.deletionTimestamp is not None

    @property
    def shape(self) -> Shape:
        return self.template.shape

    @property
    def labels(self) -> Mapping[str, str]:
        return self.template.labels

    @property
    def namespace(self) -> str:
        return self.template.namespace

    @property
    def claims(self) -> Sequence[tuple[str, bool]]:
        """The names of the pod's claims, and whether each is made for the pod alone."""
        mounts = self.template.shape.mounts
        return named(mounts, self.key[1]) if mounts.claims else ()

    @property
    def spec(self) -> api.PodSpec:
        return self.pod.spec


class PodInfos:
    """Makes PodInfos, sharing shapes and templates."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[bytes, Shape] = OrderedDict()
        self._templates: OrderedDict[tuple[Any, ...], Template] = OrderedDict()

    def of(self, pod: api.Pod, before: PodInfo | None = None) -> PodInfo:
        """What is known of `pod`; `before` is what was known of it, if anything was."""
        if before is not None and _is_alike(before.pod, pod):
            template = before.template
        else:
            template = self._template(pod, self._shape(pod))
        return PodInfo(pod, template, demand(pod) if is_held(pod) else template.shape.demand)

    def once_on(self, pod: PodInfo, node: api.Node | None) -> PodInfo:
        """The pod as it is shown once it is bound to the node: with the labels that it gets there."""
        labels = copied(node.metadata.labels) if node is not None else {}
        if not labels:
            return pod
        memo, key = pod.template.memo, ("on", *labels.items())
        template: Template | None = memo.get(key)
        if template is None:
            template = memo[key] = self._alike(pod.template, {**pod.labels, **labels})
        return PodInfo(pod.pod, template, pod.demand)

    def _alike(self, template: Template, labels: Mapping[str, str]) -> Template:
        return self._template_of(template.shape, template.namespace, labels, template.owner)

    def _shape(self, pod: api.Pod) -> Shape:
        key = shape_key(pod.spec)
        known = self._shapes.get(key)
        if known is None:
            known = self._shapes[key] = Shape(key, pod)
            if len(self._shapes) > MOST_SHAPES:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(key)
        return known

    def _template(self, pod: api.Pod, shape: Shape) -> Template:
        metadata = pod.metadata
        owner = next((o for o in metadata.ownerReferences if o.controller), None)
        return self._template_of(shape, metadata.namespace or "", metadata.labels, owner)

    def _template_of(self, shape: Shape, namespace: str, labels: Mapping[str, str], owner: Any) -> Template:
        key = (namespace, tuple(sorted(labels.items())), owner.uid if owner is not None else "", shape.key)
        known = self._templates.get(key)
        if known is None or known.shape is not shape:
            known = self._templates[key] = Template(shape, namespace, dict(labels), owner)
            if len(self._templates) > MOST_SHAPES:
                self._templates.popitem(last=False)
        return known


def shape_key(spec: api.PodSpec) -> bytes:
    """Equal for pods that no plugin can tell apart by their spec."""
    volumes = [v for v in spec.volumes if not (v.name or "").startswith(_TOKENS)] if spec.volumes else None
    return codec.encode(
        (
            [(c.image, c.resources, c.ports) for c in spec.containers],
            [(c.image, c.resources, c.ports, c.restartPolicy) for c in spec.initContainers] or None,
            spec.nodeSelector or None,
            spec.affinity,
            spec.tolerations or None,
            spec.topologySpreadConstraints or None,
            spec.overhead or None,
            spec.resources,
            volumes,
            spec.resourceClaims or None,
            spec.schedulerName,
        )
    )


def _is_alike(before: api.Pod, pod: api.Pod) -> bool:
    """Whether both have one template."""
    old, new = before.metadata, pod.metadata
    return (
        old.namespace == new.namespace
        and old.labels == new.labels
        and old.ownerReferences == new.ownerReferences
        and before.spec == pod.spec
    )


def is_held(pod: api.Pod) -> bool:
    """Whether its status says what its containers have, which may be more than they ask for."""
    return any(
        s.allocatedResources or (s.resources is not None and s.resources.requests)
        for s in (*pod.status.containerStatuses, *pod.status.initContainerStatuses)
    )
