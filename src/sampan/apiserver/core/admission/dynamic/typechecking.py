"""Keeps status.typeChecking and observedGeneration of ValidatingAdmissionPolicies.

In the server itself, which knows the schemas of all kinds; kube-controller-manager has to ask for them.
"""

from __future__ import annotations

import asyncio

import msgspec

from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resource, Resources
from sampan.kinds.groups.admissionregistration import typechecking
from sampan.kinds.groups.admissionregistration.typechecking import Matched
from sampan.schema import api


class TypeChecks:
    """Looks at every policy once in each of its generations."""

    def __init__(self, resources: Resources, own: OwnWrites) -> None:
        self._resources = resources
        self._own = own
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Do so until cancelled."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            await self._look()

    async def _look(self) -> None:
        policies = self._resources.of(api.ValidatingAdmissionPolicy)
        for item in list(policies.cache):
            policy = policies.decode_stored(item.data)
            generation = policy.metadata.generation or 0
            if (policy.status.observedGeneration or 0) >= generation:
                continue
            status = typechecking.checked(policy, self._find, self._find_kind)
            fresh = msgspec.structs.replace(policy, status=status)
            # Whoever changes it meanwhile is followed by another turn.
            await self._own.update(policies, fresh, "status")

    def _find(self, group: str, version: str, plural: str) -> Matched | None:
        return _matched(self._resources.find(group, version, plural))

    def _find_kind(self, api_version: str, kind: str) -> Matched | None:
        return _matched(self._resources.of_kind(api_version, kind))


def _matched(resource: Resource | None) -> Matched | None:
    return None if resource is None else Matched(resource.kind.gvk, resource.node)
