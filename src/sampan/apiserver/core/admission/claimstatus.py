"""Who may write what into the status of a ResourceClaim, as kube-apiserver asks since 1.36.

Giving devices away needs the resource `resourceclaims/binding`. What a driver reports of devices needs
`resourceclaims/driver` with its name: with the verb `associated-node:<verb>` for those whose token says that
they run on the node of the claim, with `arbitrary-node:<verb>` for everybody.
"""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.authz import Access, Authorizer, refusal
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.users import ACCOUNT, NODE_NAME, User
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_GROUP: Final = "resource.k8s.io"
_PATH: Final = Path("status")


class ClaimRights:
    """Asks the authorizer once more where a claim's allocation, users or devices change."""

    kinds = frozenset({"ResourceClaim"})
    reads: tuple[type[Any], ...] = ()

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def mutate(self, attributes: Attributes) -> None:
        """What was reported of devices goes with them: who gives them back need not know of it."""
        if attributes.subresource != "status" or attributes.verb != "update":
            return
        new, old = attributes.obj.status, attributes.old.status
        if new.devices and old.allocation is not None and new.allocation != old.allocation:
            gone = _results(old.allocation) - _results(new.allocation)
            new.devices = [device for device in new.devices if _id(device) not in gone]

    def validate(self, attributes: Attributes) -> None:
        if attributes.subresource != "status" or attributes.verb != "update":
            return
        new, old = attributes.obj.status, attributes.old.status
        errors: list[FieldError] = []
        if new.allocation != old.allocation or new.reservedFor != old.reservedFor:
            errors += self._binding(attributes)
        if new.allocation is not None and new.devices != old.devices:
            errors += self._drivers(attributes, new, old)
        if errors:
            raise status.invalid(attributes.context.resource.kind, attributes.obj.metadata.name or "", errors)

    def _binding(self, attributes: Attributes) -> list[FieldError]:
        verb = attributes.context.target.verb
        access = Access(verb, _GROUP, "resourceclaims/binding")
        if self._authorizer.allows(attributes.context.user, access):
            return []
        detail = (
            'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", '
            f'verb="{verb}" permission: {_why_not(attributes.context.user, access)}'
        )
        return [field.forbidden(_PATH["allocation"], detail)]

    def _drivers(self, attributes: Attributes, new: Any, old: Any) -> list[FieldError]:
        user, verb = attributes.context.user, attributes.context.target.verb
        verbs = [f"arbitrary-node:{verb}"]
        if runs_on(user, node_of(new.allocation)):
            verbs.insert(0, f"associated-node:{verb}")
        errors: list[FieldError] = []
        for driver in sorted(changed_drivers(new.devices, old.devices)):
            tries = [Access(v, _GROUP, "resourceclaims/driver", attributes.namespace, driver) for v in verbs]
            if any(self._authorizer.allows(user, access) for access in tries):
                continue
            detail = (
                'changing status.devices requires resource="resourceclaims/driver", '
                f'verb="[{" ".join(verbs)}]" permission: {_why_not(user, tries[0])}'
            )
            errors.append(field.forbidden(_PATH["devices"], detail))
        return errors


def _why_not(user: User, access: Access) -> str:
    named = f' "{access.name}"' if access.name else ""
    return f"resourceclaims.{_GROUP}{named} is forbidden: {refusal(user, access)}"


def changed_drivers(
    new: list[api.AllocatedDeviceStatus], old: list[api.AllocatedDeviceStatus]
) -> frozenset[str]:
    """The drivers of devices whose reports came, went or differ."""
    before = {_id(device): device for device in old}
    after = {_id(device): device for device in new}
    ids = before.keys() | after.keys()
    return frozenset(each[0] for each in ids if before.get(each) != after.get(each))


def _results(allocation: api.AllocationResult | None) -> set[tuple[str, str, str, str]]:
    given = allocation.devices.results if allocation is not None and allocation.devices is not None else []
    return {(each.driver, each.pool, each.device, each.shareID or "") for each in given}


def _id(device: api.AllocatedDeviceStatus) -> tuple[str, str, str, str]:
    return device.driver, device.pool, device.device, device.shareID or ""


def node_of(allocation: api.AllocationResult) -> str:
    """The one node that the allocation is for by name; "" where it is for several, or said otherwise."""
    terms = allocation.nodeSelector.nodeSelectorTerms if allocation.nodeSelector is not None else []
    if len(terms) != 1 or terms[0].matchExpressions or len(terms[0].matchFields) != 1:
        return ""
    (only,) = terms[0].matchFields
    named = only.key == "metadata.name" and only.operator == "In" and len(only.values) == 1
    return only.values[0] if named else ""


def runs_on(user: User, node: str) -> bool:
    """Whether the user is a service account whose token says that its pod is on the node."""
    return bool(node) and user.name.startswith(ACCOUNT) and tuple(user.extra.get(NODE_NAME, ())) == (node,)
