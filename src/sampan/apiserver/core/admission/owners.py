"""OwnerReferencesPermissionEnforcement: who may make an owner wait for its dependents.

Not in Kubernetes' default set; off here too unless it is turned on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.apiserver.core import status
from sampan.apiserver.core.authz import Access, Authorizer
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.users import MASTERS


class OwnerReferences:
    """Changing owners needs the right to delete the object; blocking an owner's deletion, the right to
    update the
    owner's finalizers."""

    kinds: frozenset[str] = frozenset()

    def __init__(self, resources: Resources, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._plurals = {(each.kind.api_version, each.kind.kind): each.kind for each in resources}

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        context = attributes.context
        if (
            attributes.verb == "delete"
            or attributes.subresource == "status"
            or MASTERS in context.user.groups
        ):
            return
        new = attributes.obj.metadata.ownerReferences
        old = attributes.old.metadata.ownerReferences if attributes.old is not None else []
        if new == old:
            return
        kind, name = context.resource.kind, attributes.obj.metadata.name or ""
        if attributes.old is not None:
            access = Access("delete", kind.group, kind.plural, attributes.namespace, name)
            if not self._authorizer.allows(context.user, access):
                raise status.forbidden(kind, name, "cannot set an ownerRef on a resource you can't delete")
        for access in self._blocked(new, old, attributes.namespace):
            if not self._authorizer.allows(context.user, access):
                raise status.forbidden(
                    kind,
                    name,
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set "
                    "finalizers on",
                )

    def _blocked(self, new: list[Any], old: list[Any], namespace: str) -> Iterator[Access]:
        before = {ref.uid for ref in old if ref.blockOwnerDeletion}
        for ref in new:
            if not ref.blockOwnerDeletion or ref.uid in before:
                continue
            kind = self._plurals.get((ref.apiVersion, ref.kind))
            if kind is not None:
                where = namespace if kind.namespaced else ""
                yield Access("update", kind.group, f"{kind.plural}/finalizers", where, ref.name)
