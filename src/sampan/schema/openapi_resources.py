"""What OpenAPI documents say of a resource, as values: published kinds and custom ones alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from sampan.schema.definitions import Definitions, GroupVersionKind, Schema


class Subresource(msgspec.Struct, frozen=True):
    """`pods/eviction`: its name, the type it takes and the verbs it has."""

    name: str
    gvk: GroupVersionKind
    verbs: tuple[str, ...]


class ServedResource(msgspec.Struct, frozen=True):
    """A resource in one group and version. `custom` is the schema of a custom resource."""

    gvk: GroupVersionKind
    plural: str
    namespaced: bool
    verbs: tuple[str, ...]
    subresources: tuple[Subresource, ...] = ()
    custom: Schema | None = None

    @property
    def root(self) -> str:
        """`api/v1`, `apis/apps/v1`: the document's name and the start of its paths."""
        return f"apis/{self.gvk.api_version}" if self.gvk.group else f"api/{self.gvk.version}"

    @property
    def definition(self) -> str:
        """The name of a custom resource's definition: `com.example.stable.v1.CronTab`."""
        reverse = ".".join(reversed(self.gvk.group.split(".")))
        return f"{reverse}.{self.gvk.version}.{self.gvk.kind}"


class KindLike(Protocol):
    """What a kind must tell. `sampan.kinds.kind.Kind` does."""

    @property
    def api_version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def namespaced(self) -> bool: ...
    @property
    def verbs(self) -> tuple[str, ...]: ...
    @property
    def status(self) -> bool: ...
    @property
    def scale(self) -> Any: ...
    @property
    def subresources(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]: ...
    @property
    def also_served(self) -> tuple[str, ...]: ...


_SCALE = GroupVersionKind("autoscaling", "v1", "Scale")
_CHANGED = ("get", "patch", "update")


def of_kinds(
    kinds: Iterable[KindLike], custom: Mapping[GroupVersionKind, Schema] | None = None
) -> tuple[ServedResource, ...]:
    """The resources of `kinds`, one for each version served; `custom` has the schemas of custom kinds."""
    schemas = custom or {}
    return tuple(
        ServedResource(
            gvk, kind.plural, kind.namespaced, kind.verbs, _subresources(kind, gvk), schemas.get(gvk)
        )
        for kind in kinds
        for gvk in _versions(kind)
    )


def definition_of(resource: ServedResource, definitions: Definitions) -> str | None:
    """The name of a resource's definition; None where the served version publishes none."""
    if resource.custom is not None:
        return resource.definition
    return definitions.by_gvk.get(resource.gvk)


def _versions(kind: KindLike) -> Iterator[GroupVersionKind]:
    yield parse_gvk(f"{kind.api_version}/{kind.kind}")
    for text in kind.also_served:
        # "autoscaling/v1", or "events.k8s.io/v1/Event" where the kind differs.
        named = text if text.count("/") == 2 else f"{text}/{kind.kind}"
        yield parse_gvk(named)


def parse_gvk(text: str) -> GroupVersionKind:
    """`policy/v1/Eviction` and `v1/Binding` as what they name."""
    api_version, _, kind = text.rpartition("/")
    group, _, version = api_version.rpartition("/")
    return GroupVersionKind(group, version, kind)


def _subresources(kind: KindLike, gvk: GroupVersionKind) -> tuple[Subresource, ...]:
    found: list[Subresource] = []
    if kind.status:
        found.append(Subresource("status", gvk, _CHANGED))
    if kind.scale is not None:
        found.append(Subresource("scale", _SCALE, _CHANGED))
    for path, named, verbs in kind.subresources:
        name = path.partition("/")[2]
        of = parse_gvk(named) if "/" in named else msgspec.structs.replace(gvk, kind=named)
        found.append(Subresource(name, of, verbs))
    return tuple(found)
