"""RuntimeClass: what a pod's class adds to it, overhead and where it can run."""

from __future__ import annotations

from typing import Any

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.schema import api


class RuntimeClasses:
    """Gives pods the overhead and the placement of their RuntimeClass; refuses other overhead."""

    kinds = frozenset({"Pod"})
    reads: tuple[type[Any], ...] = (api.RuntimeClass,)

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.of(api.RuntimeClass)

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        spec = attributes.obj.spec
        if not spec.runtimeClassName:
            return
        found = self._class_of(attributes)
        overhead = found.overhead.podFixed if found.overhead is not None else {}
        if overhead:
            if spec.overhead and spec.overhead != overhead:
                raise self._refused(
                    attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                )
            spec.overhead = dict(overhead)
        if found.scheduling is not None:
            self._place(attributes, spec, found.scheduling)

    def _place(self, attributes: Attributes, spec: Any, scheduling: Any) -> None:
        for key, value in scheduling.nodeSelector.items():
            if spec.nodeSelector.get(key, value) != value:
                why = (
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                    f"pod.spec.nodeSelector[{key}] = {spec.nodeSelector[key]}"
                )
                raise self._refused(attributes, why)
            spec.nodeSelector[key] = value
        for toleration in scheduling.tolerations:
            if toleration not in spec.tolerations:
                spec.tolerations.append(toleration)

    def validate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        spec = attributes.obj.spec
        if not spec.overhead:
            return
        if not spec.runtimeClassName:
            raise self._refused(
                attributes,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )
        found = self._class_of(attributes)
        if (found.overhead.podFixed if found.overhead is not None else {}) != spec.overhead:
            raise self._refused(
                attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            )

    def _class_of(self, attributes: Attributes) -> Any:
        name = attributes.obj.spec.runtimeClassName
        item = self._classes.cache.get("", name)
        if item is None:
            raise self._refused(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        return self._classes.decode_stored(item.data)

    def _refused(self, attributes: Attributes, why: str) -> status.StatusError:
        return status.forbidden(attributes.context.resource.kind, attributes.obj.metadata.name or "", why)
