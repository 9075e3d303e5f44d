"""A CustomResourceDefinition as the server needs it to serve its objects: small, and its schemas not parsed.

A cluster may hold thousands of definitions of which few are used; a schema is parsed when its objects are.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from sampan.schema.definitions import GroupVersionKind

PREFIX: Final = "/registry/apiextensions.k8s.io/customresourcedefinitions/"
CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"
_VERSION: Final = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_STABILITY: Final = {"alpha": 0, "beta": 1, None: 2}


class Names(msgspec.Struct, frozen=True):
    """spec.names or status.acceptedNames."""

    plural: str = ""
    singular: str = ""
    kind: str = ""
    listKind: str = ""
    shortNames: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


class ScaleAt(msgspec.Struct, frozen=True):
    """Where a scale subresource finds its numbers."""

    specReplicasPath: str = ""
    statusReplicasPath: str = ""
    labelSelectorPath: str = ""


class Subresources(msgspec.Struct, frozen=True):
    status: dict[str, Any] | None = None
    scale: ScaleAt | None = None


class PrinterColumn(msgspec.Struct, frozen=True):
    name: str = ""
    type: str = "string"
    jsonPath: str = ""
    description: str = ""
    format: str = ""
    priority: int = 0


class SelectableField(msgspec.Struct, frozen=True):
    jsonPath: str = ""


class Validation(msgspec.Struct, frozen=True):
    """`openAPIV3Schema` as the bytes it was stored in."""

    openAPIV3Schema: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class Version(msgspec.Struct, frozen=True):
    name: str
    served: bool = False
    storage: bool = False
    deprecated: bool = False
    deprecationWarning: str | None = None
    schema: Validation = msgspec.field(default_factory=Validation)
    subresources: Subresources = msgspec.field(default_factory=Subresources)
    additionalPrinterColumns: tuple[PrinterColumn, ...] = ()
    selectableFields: tuple[SelectableField, ...] = ()

    def parsed_schema(self) -> dict[str, Any]:
        """openAPIV3Schema as plain JSON."""
        found: dict[str, Any] = msgspec.json.decode(bytes(self.schema.openAPIV3Schema) or b"{}")
        return found

    def documented_schema(self) -> dict[str, Any]:
        """The schema with what OpenAPI tells beside it: the fields that objects can be selected by."""
        found = self.parsed_schema()
        if self.selectableFields:
            paths = (field.jsonPath.removeprefix(".") for field in self.selectableFields)
            found["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in paths]
        return found


class Conversion(msgspec.Struct, frozen=True):
    strategy: str = "None"
    webhook: dict[str, Any] | None = None


class Spec(msgspec.Struct, frozen=True):
    group: str
    names: Names
    scope: str
    versions: tuple[Version, ...]
    conversion: Conversion = msgspec.field(default_factory=Conversion)


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class Status(msgspec.Struct, frozen=True):
    acceptedNames: Names = msgspec.field(default_factory=Names)
    conditions: tuple[Condition, ...] = ()
    storedVersions: tuple[str, ...] = ()


class Metadata(msgspec.Struct, frozen=True):
    name: str
    uid: str = ""
    resourceVersion: str = ""
    generation: int = 0
    deletionTimestamp: str | None = None
    finalizers: tuple[str, ...] = ()


class Definition(msgspec.Struct, frozen=True):
    """A CustomResourceDefinition."""

    metadata: Metadata
    spec: Spec
    status: Status = msgspec.field(default_factory=Status)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def prefix(self) -> str:
        """What the keys of its objects start with."""
        return f"/registry/{self.spec.group}/{self.spec.names.plural}/"

    @property
    def terminating(self) -> bool:
        return self.metadata.deletionTimestamp is not None

    @property
    def established(self) -> bool:
        """Whether its objects are served."""
        return self.holds("Established")

    def holds(self, condition: str) -> bool:
        return any(c.type == condition and c.status == "True" for c in self.status.conditions)

    @property
    def storage(self) -> Version:
        """The version that objects are stored in from now on."""
        return next(version for version in self.spec.versions if version.storage)

    @property
    def served(self) -> tuple[Version, ...]:
        """The versions that are served, the preferred one first."""
        found = (version for version in self.spec.versions if version.served)
        return tuple(sorted(found, key=lambda version: version_rank(version.name)))

    def version(self, name: str) -> Version | None:
        return next((version for version in self.spec.versions if version.name == name), None)

    def gvk(self, version: str) -> GroupVersionKind:
        return GroupVersionKind(self.spec.group, version, self.names.kind)

    @property
    def names(self) -> Names:
        """The names it is served under: the accepted ones."""
        accepted = self.status.acceptedNames
        return accepted if accepted.plural and accepted.kind else self.spec.names


_decode = msgspec.json.Decoder(Definition).decode


def decode(data: bytes) -> Definition:
    """The definition in bytes that this server stored."""
    return _decode(data)


def version_rank(version: str) -> tuple[int, int, int, int, str]:
    """Sorts versions as Kubernetes ranks them: v2, v1, v2beta1, v1alpha1, and then all else by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (1, 0, 0, 0, version)
    major, stability, minor = match.groups()
    return (0, -_STABILITY[stability], -int(major), -int(minor or 0), "")
