"""What a pod is told of where its node is: PodTopologyLabels, on by default since Kubernetes 1.35.

The zone and the region of its node become labels of the pod when it is bound, or made with a node: so what
runs in it can read them (downward API). What the pod says itself of the two is overwritten; a node that
nobody knows tells nothing.
"""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resource, Resources
from sampan.kinds.core.topology import copied
from sampan.schema import api

_SINCE: Final = (1, 35)


class Places:
    """Where nodes are, by their labels; nowhere where the version that is served does not tell pods."""

    def __init__(self, nodes: Resource) -> None:
        self._nodes = nodes

    @property
    def are_told(self) -> bool:
        """Whether pods hear of it at all, and bindings may bring labels along."""
        older = self._nodes.older_version
        return not older or tuple(map(int, older.split(".")[:2])) >= _SINCE

    def of(self, node: str) -> dict[str, str]:
        """The labels that a pod of the node gets."""
        item = self._nodes.cache.get("", node)
        if item is None or not self.are_told:
            return {}
        return copied(item.labels)


class TopologyLabels:
    """Labels pods that are made with a node; bindings have theirs from `Places` (core/bindings.py)."""

    kinds = frozenset({"Pod"})
    reads: tuple[type[Any], ...] = (api.Node,)

    def __init__(self, resources: Resources) -> None:
        self._places = Places(resources.of(api.Node))

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource or not attributes.obj.spec.nodeName:
            return
        attributes.obj.metadata.labels.update(self._places.of(attributes.obj.spec.nodeName))

    def validate(self, attributes: Attributes) -> None:
        return None
