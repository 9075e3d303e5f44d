"""LimitRanger: a namespace's LimitRanges give defaults to what is created there, and bounds."""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.admission import limitranges
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.schema import api

_PARTS: Final = ("", "resize")


class LimitRanger:
    """Defaults on creation; bounds on creation, on resizing pods and on changing claims."""

    kinds = frozenset({"Pod", "PersistentVolumeClaim"})
    reads: tuple[type[Any], ...] = (api.LimitRange,)

    def __init__(self, resources: Resources) -> None:
        self._ranges = resources.of(api.LimitRange)

    def mutate(self, attributes: Attributes) -> None:
        if not self._ranges.cache.count or attributes.verb != "create" or attributes.subresource:
            return
        if attributes.context.resource.kind.kind == "Pod":
            for limits in self._of(attributes.namespace):
                limitranges.give_defaults(attributes.obj, limits)

    def validate(self, attributes: Attributes) -> None:
        if (
            not self._ranges.cache.count
            or attributes.verb == "delete"
            or attributes.subresource not in _PARTS
        ):
            return
        is_pod = attributes.context.resource.kind.kind == "Pod"
        if is_pod and attributes.verb == "update" and not attributes.subresource:
            return
        if attributes.obj.metadata.deletionTimestamp is not None:
            return
        wrong = limitranges.pod_errors if is_pod else limitranges.claim_errors
        errors = list(
            dict.fromkeys(
                e for limits in self._of(attributes.namespace) for e in wrong(attributes.obj, limits)
            )
        )
        if errors:
            why = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
            raise status.forbidden(attributes.context.resource.kind, attributes.obj.metadata.name or "", why)

    def _of(self, namespace: str) -> list[Any]:
        ranges = self._ranges
        return [ranges.decode_stored(item.data) for item in ranges.cache.items(namespace)]
