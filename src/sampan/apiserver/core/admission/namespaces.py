"""NamespaceLifecycle: nothing new in a namespace that is not there or is going."""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.schema import api

_IMMORTAL: Final = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle:
    """Refuses creation in missing or terminating namespaces, and deletion of the ones a cluster needs."""

    kinds: frozenset[str] = frozenset()
    reads: tuple[type[Any], ...] = (api.Namespace,)

    def __init__(self, resources: Resources) -> None:
        self._namespaces = resources.of(api.Namespace)

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or not attributes.namespace:
            return
        item = self._namespaces.cache.get("", attributes.namespace)
        if item is None:
            raise status.not_found(self._namespaces.kind, attributes.namespace)
        # Cheaper than decoding, and exact: JSON text holds this only where the phase says so.
        if b'"phase":"Terminating"' in item.data:
            name, kind = attributes.obj.metadata.name or "", attributes.context.resource.kind
            message = (
                f"unable to create new content in namespace {attributes.namespace} "
                "because it is being terminated"
            )
            refused = status.forbidden(kind, name, message)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {attributes.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            refused.details["causes"] = [cause]
            raise refused

    def validate(self, attributes: Attributes) -> None:
        if attributes.verb != "delete" or attributes.context.resource.kind.kind != "Namespace":
            return
        if attributes.old.metadata.name in _IMMORTAL:
            kind = attributes.context.resource.kind
            raise status.forbidden(kind, attributes.old.metadata.name, "this namespace may not be deleted")
