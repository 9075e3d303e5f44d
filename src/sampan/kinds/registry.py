"""Every kind that is served: one explicit tuple, look-ups over it, and its place in paths and keys."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from sampan.kinds.core import KINDS as CORE
from sampan.kinds.groups import KINDS as OTHERS
from sampan.kinds.groups import SWITCHED
from sampan.kinds.kind import Kind
from sampan.schema import codec
from sampan.schema.definitions import GroupVersionKind

ALL: Final[tuple[Kind, ...]] = CORE + OTHERS
# With those that are served only where a runtime-config asks for them: look-ups know them all the same.
KNOWN: Final[tuple[Kind, ...]] = ALL + SWITCHED

# The order in which kube-apiserver lists its groups; clients take the first match for a bare resource name.
_GROUP_ORDER: Final = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
)
_STABILITY: Final = {"alpha": 0, "beta": 1, "": 2}
_ROOT: Final = "/registry"


class Group(msgspec.Struct, frozen=True):
    """An API group with its versions, the preferred one first."""

    name: str
    versions: tuple[str, ...]

    @property
    def preferred(self) -> str:
        return self.versions[0]


def by_type(struct: type[Any]) -> Kind:
    """The kind of a struct class such as `api.Pod`. Raises KeyError where it is no served kind."""
    return _by_struct_name()[struct.__name__]


def by_resource(group: str, version: str, plural: str) -> Kind | None:
    """The kind behind `/apis/<group>/<version>/<plural>`, in whichever of its versions."""
    return _BY_RESOURCE.get((group, version, plural))


def by_gvk(gvk: GroupVersionKind) -> Kind | None:
    """The kind of this name, in whichever of its versions."""
    return _BY_GVK.get(gvk)


def served_as(kind: Kind) -> tuple[GroupVersionKind, ...]:
    """Every group, version and kind under which `kind` is served; the stored one first."""
    return (kind.gvk, *(_served(text, kind) for text in kind.also_served))


def kinds_of(group: str, version: str) -> tuple[Kind, ...]:
    """The kinds served in a group and version, in the order of `ALL`."""
    return _BY_GROUP_VERSION.get((group, version), ())


def groups() -> tuple[Group, ...]:
    """The groups in discovery order; the core group has the name ""."""
    return _GROUPS


def subresource_gvk(kind: Kind, named: str) -> GroupVersionKind:
    """The type that an entry of `Kind.subresources` names: `Pod` of the own group, `policy/v1/Eviction`."""
    group, _, rest = named.rpartition("/")[0].partition("/")
    return (
        GroupVersionKind(group, rest, named.rpartition("/")[2])
        if rest
        else msgspec.structs.replace(kind.gvk, kind=named)
    )


def path(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path: `/api/v1/namespaces/x/pods/y/status`, `/apis/apps/v1/deployments`."""
    parts = ["/apis/" if kind.group else "/api/", kind.api_version]
    if kind.namespaced and namespace:
        parts += ("/namespaces/", namespace)
    parts += ("/", kind.plural)
    if name:
        parts += ("/", name)
    if subresource:
        parts += ("/", subresource)
    return "".join(parts)


def storage_prefix(kind: Kind, namespace: str = "") -> str:
    """What the keys of all objects of `kind` (in `namespace`, if given) start with; ends in a slash."""
    prefix = f"{_ROOT}/{kind.group or 'core'}/{kind.plural}/"
    return f"{prefix}{namespace}/" if kind.namespaced and namespace else prefix


def storage_key(kind: Kind, namespace: str, name: str) -> str:
    """`/registry/<group or core>/<plural>/[<namespace>/]<name>`."""
    if kind.namespaced:
        return f"{_ROOT}/{kind.group or 'core'}/{kind.plural}/{namespace}/{name}"
    return f"{_ROOT}/{kind.group or 'core'}/{kind.plural}/{name}"


def _served(text: str, kind: Kind) -> GroupVersionKind:
    # "autoscaling/v1", or "events.k8s.io/v1/Event" where the kind differs.
    group, _, rest = text.partition("/")
    version, _, other = rest.partition("/")
    return (
        GroupVersionKind(group, version, other or kind.kind)
        if rest
        else GroupVersionKind("", group, kind.kind)
    )


def _all_served() -> Iterator[tuple[GroupVersionKind, Kind]]:
    for kind in KNOWN:
        for gvk in served_as(kind):
            yield gvk, kind


@lru_cache(maxsize=1)
def _by_struct_name() -> dict[str, Kind]:
    # By the name of the struct, not the struct itself: looking up must not compile every type.
    definitions = codec.types().definitions
    names: dict[str, Kind] = {}
    for gvk, kind in _all_served():
        full = definitions.by_gvk.get(gvk)
        if full is not None:
            names[full.replace(".", "_").replace("-", "_")] = kind
    return names


def _version_rank(version: str) -> tuple[int, int, int]:
    # v2 before v1 before v1beta2 before v1beta1 before v1alpha1.
    major, stability, minor = version.removeprefix("v"), "", "0"
    for word in ("alpha", "beta"):
        if word in version:
            major, _, minor = version.removeprefix("v").partition(word)
            stability = word
    return (-_STABILITY[stability], -int(major), -int(minor))


def _groups() -> tuple[Group, ...]:
    versions: dict[str, set[str]] = {}
    for gvk, _kind in _all_served():
        versions.setdefault(gvk.group, set()).add(gvk.version)
    order = {name: position for position, name in enumerate(_GROUP_ORDER)}
    names = sorted(versions, key=lambda name: (order.get(name, len(order)), name))
    return tuple(Group(name, tuple(sorted(versions[name], key=_version_rank))) for name in names)


def _by_group_version() -> dict[tuple[str, str], tuple[Kind, ...]]:
    found: dict[tuple[str, str], tuple[Kind, ...]] = {}
    for gvk, kind in _all_served():
        where = (gvk.group, gvk.version)
        found[where] = (*found.get(where, ()), kind)
    return found


_BY_GVK: Final = dict(_all_served())
_BY_RESOURCE: Final = {(gvk.group, gvk.version, kind.plural): kind for gvk, kind in _all_served()}
_BY_GROUP_VERSION: Final = _by_group_version()
_GROUPS: Final = _groups()
