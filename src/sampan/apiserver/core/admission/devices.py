"""Access to devices that others use: only in namespaces that are labelled for it."""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

LABEL: Final = "resource.kubernetes.io/admin-access"
_DETAIL: Final = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"


class DeviceAdmins:
    """Refuses claims with `adminAccess` where the namespace does not bear the label, as Kubernetes does."""

    kinds = frozenset({"ResourceClaim", "ResourceClaimTemplate"})
    reads: tuple[type[Any], ...] = (api.Namespace,)

    def __init__(self, resources: Resources) -> None:
        self._namespaces = resources.of(api.Namespace)

    def mutate(self, attributes: Attributes) -> None:
        """Changes nothing."""

    def validate(self, attributes: Attributes) -> None:
        # Neither a claim's spec nor a template's can be changed later.
        if attributes.verb != "create" or attributes.subresource:
            return
        obj, kind = attributes.obj, attributes.context.resource.kind
        spec, path = obj.spec, Path("spec")
        if kind.kind == "ResourceClaimTemplate":
            spec, path = spec.spec, path["spec"]
        errors = _admins(spec, path["devices"]["requests"])
        if errors and not self._is_labelled(attributes.namespace):
            raise status.invalid(kind, obj.metadata.name or "", errors)

    def _is_labelled(self, namespace: str) -> bool:
        item = self._namespaces.cache.get("", namespace)
        return item is not None and item.labels.get(LABEL) == "true"


def _admins(spec: api.ResourceClaimSpec, path: Path) -> list[FieldError]:
    """An error for each request that asks for admin access."""
    if spec.devices is None:
        return []
    return [
        field.forbidden(path.index(position)["exactly"]["adminAccess"], _DETAIL)
        for position, request in enumerate(spec.devices.requests)
        if request.exactly is not None and request.exactly.adminAccess
    ]
