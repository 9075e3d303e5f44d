"""What happens to claims, volumes and ingresses on their way in: default classes, protection, growth."""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resource, Resources
from sampan.kinds.groups.storage.classes import default_class, youngest
from sampan.kinds.groups.storage.protection import PROTECTION
from sampan.schema import api

_INGRESS_DEFAULT: Final = "ingressclass.kubernetes.io/is-default-class"
_INGRESS_CLASS: Final = "kubernetes.io/ingress.class"
_CLAIM_CLASS: Final = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass:
    """Gives a claim that names no class the cluster's default one: the newest where there are several."""

    kinds = frozenset({"PersistentVolumeClaim"})
    reads: tuple[type[Any], ...] = (api.StorageClass,)

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.of(api.StorageClass)

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource or not self._classes.cache.count:
            return
        claim: api.PersistentVolumeClaim = attributes.obj
        if claim.spec.storageClassName is not None or _CLAIM_CLASS in claim.metadata.annotations:
            return
        found = default_class(_perhaps_default(self._classes))
        if found is not None:
            claim.spec.storageClassName = found.metadata.name

    def validate(self, attributes: Attributes) -> None:
        return None


class DefaultIngressClass:
    """Gives an ingress that names no class the default one: the newest where there are several."""

    kinds = frozenset({"Ingress"})
    reads: tuple[type[Any], ...] = (api.IngressClass,)

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.of(api.IngressClass)

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource or not self._classes.cache.count:
            return
        ingress: api.Ingress = attributes.obj
        if ingress.spec.ingressClassName is not None or _INGRESS_CLASS in ingress.metadata.annotations:
            return
        found = youngest(
            each
            for each in _perhaps_default(self._classes)
            if each.metadata.annotations.get(_INGRESS_DEFAULT) == "true"
        )
        if found is not None:
            ingress.spec.ingressClassName = found.metadata.name

    def validate(self, attributes: Attributes) -> None:
        return None


def _perhaps_default(classes: Resource) -> list[Any]:
    """The classes that are worth decoding: all others say nothing of being the default."""
    return [classes.decode_stored(item.data) for item in classes.cache if b"is-default-class" in item.data]


class StorageObjectsInUse:
    """Puts on claims, volumes and classes of attributes the finalizers that keep them while they are used."""

    kinds = frozenset(PROTECTION)
    reads: tuple[type[Any], ...] = ()

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        wanted = PROTECTION[attributes.context.resource.kind.kind]
        finalizers = attributes.obj.metadata.finalizers
        if wanted not in finalizers:
            finalizers.append(wanted)

    def validate(self, attributes: Attributes) -> None:
        return None


class ClaimResize:
    """Lets a claim grow only where it is bound and its class says that volumes can
    (PersistentVolumeClaimResize)."""

    kinds = frozenset({"PersistentVolumeClaim"})
    reads: tuple[type[Any], ...] = (api.StorageClass,)

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.of(api.StorageClass)

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        if attributes.verb != "update" or attributes.subresource:
            return
        old, new = _asked(attributes.old), _asked(attributes.obj)
        if old is None or new is None or new.value <= old.value:
            return
        kind, name = attributes.context.resource.kind, attributes.obj.metadata.name or ""
        if attributes.old.status.phase != "Bound":
            raise status.forbidden(kind, name, "Only bound persistent volume claims can be expanded")
        if not self._can_grow(attributes.obj):
            raise status.forbidden(
                kind,
                name,
                "only dynamically provisioned pvc can be resized and "
                "the storageclass that provisions the pvc must support resize",
            )

    def _can_grow(self, claim: Any) -> bool:
        name = claim.metadata.annotations.get(_CLAIM_CLASS) or claim.spec.storageClassName
        item = self._classes.cache.get("", name) if name else None
        return item is not None and bool(self._classes.decode_stored(item.data).allowVolumeExpansion)


def _asked(claim: Any) -> Any:
    resources = claim.spec.resources
    return resources.requests.get("storage") if resources is not None else None
