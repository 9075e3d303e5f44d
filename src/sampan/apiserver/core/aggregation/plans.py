"""What follows from APIServices: routes, conditions, discovery, and the ones for built-in groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.schema import api, codec

AVAILABLE: Final = "Available"
# Status, reason and message of the condition where this server answers itself.
LOCAL: Final = ("True", "Local", "Local APIServices are always available")
AUTOMANAGED: Final = "kube-aggregator.kubernetes.io/automanaged"
# The values of that mark: made when a server starts, or kept while a definition has the version served.
ON_START: Final = "onstart"
WHILE_SERVED: Final = "true"
_GROUP: Final = "apiregistration.k8s.io"
# (groupPriorityMinimum, versionPriority) of what definitions add.
_CUSTOM_PRIORITIES: Final = (1000, 100)
# (groupPriorityMinimum, versionPriority) of what kube-apiserver serves itself; others follow in order.
_GROUP_PRIORITIES: Final[dict[str, int]] = {
    "": 18_000,
    "apps": 17_800,
    "events.k8s.io": 17_750,
    "authentication.k8s.io": 17_700,
    "authorization.k8s.io": 17_600,
    "autoscaling": 17_500,
    "batch": 17_400,
    "certificates.k8s.io": 17_300,
    "networking.k8s.io": 17_200,
    "policy": 17_100,
    "rbac.authorization.k8s.io": 17_000,
    "storage.k8s.io": 16_800,
    "apiextensions.k8s.io": 16_700,
    "admissionregistration.k8s.io": 16_700,
    "scheduling.k8s.io": 16_600,
    "coordination.k8s.io": 16_500,
    "node.k8s.io": 16_300,
    "discovery.k8s.io": 16_200,
    "flowcontrol.apiserver.k8s.io": 16_100,
    "internal.apiserver.k8s.io": 16_000,
    "resource.k8s.io": 16_200,
    "storagemigration.k8s.io": 15_800,
}
_OTHER_PRIORITY: Final = 15_000
# versionPriority where it is not that of the order of versions.
_VERSION_PRIORITIES: Final = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("autoscaling", "v1"): 15,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1"): 21,
}


class Route(msgspec.Struct, frozen=True):
    """Where the requests of one group and version go."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: bytes
    insecure: bool
    group_priority: int
    version_priority: int
    available: bool

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must be for."""
        return f"{self.service}.{self.namespace}.svc"


def route(obj: api.APIService) -> Route | None:
    """The route of an APIService; None for one that this server answers itself."""
    spec = obj.spec
    if spec.service is None:
        return None
    return Route(
        name=obj.metadata.name or "",
        group=spec.group or "",
        version=spec.version or "",
        namespace=spec.service.namespace or "",
        service=spec.service.name or "",
        port=spec.service.port or 443,
        ca=spec.caBundle or b"",
        insecure=bool(spec.insecureSkipTLSVerify),
        group_priority=spec.groupPriorityMinimum or 0,
        version_priority=spec.versionPriority or 0,
        available=any(c.type == AVAILABLE and c.status == "True" for c in obj.status.conditions),
    )


def with_condition(
    obj: api.APIService, status: str, reason: str, message: str, now: datetime
) -> api.APIService | None:
    """The object with its Available condition corrected; None where it is right already."""
    old = next((c for c in obj.status.conditions if c.type == AVAILABLE), None)
    if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
        return None
    fresh: api.APIService = codec.copy(obj)
    since = old.lastTransitionTime if old is not None and old.status == status else now
    made = api.APIServiceCondition(
        type=AVAILABLE, status=status, reason=reason, message=message, lastTransitionTime=since
    )
    fresh.status.conditions = [*(c for c in fresh.status.conditions if c.type != AVAILABLE), made]
    return fresh


def _version_priority(group: str, version: str, position: int) -> int:
    known = _VERSION_PRIORITIES.get((group, version))
    return known or max(1, (15 if version.isalpha() or "beta" not in version else 9) - position)


def local_services(versions: Mapping[str, Sequence[str]]) -> list[api.APIService]:
    """The APIServices of the groups that this server has, `versions` of each preferred first."""
    made = []
    for group, served in versions.items():
        if group == _GROUP:  # which the aggregator itself answers
            continue
        for position, version in enumerate(served):
            priorities = (
                _GROUP_PRIORITIES.get(group, _OTHER_PRIORITY),
                _version_priority(group, version, position),
            )
            made.append(_service(group, version, priorities, ON_START))
    return made


def custom_service(group: str, version: str) -> api.APIService:
    """The APIService of a version that definitions add."""
    return _service(group, version, _CUSTOM_PRIORITIES, WHILE_SERVED)


def _service(group: str, version: str, priorities: tuple[int, int], mark: str) -> api.APIService:
    of_group, of_version = priorities
    spec = api.APIServiceSpec(
        group=group or None, version=version, groupPriorityMinimum=of_group, versionPriority=of_version
    )
    metadata = api.ObjectMeta(name=f"{version}.{group}", labels={AUTOMANAGED: mark})
    return api.APIService(apiVersion=f"{_GROUP}/v1", kind="APIService", metadata=metadata, spec=spec)


def groups_of(routes: Iterable[Route]) -> dict[str, list[Route]]:
    """The routes by group, groups and versions in the order that discovery gives them."""
    found: dict[str, list[Route]] = {}
    ordered = sorted(routes, key=lambda r: (-r.group_priority, r.group, -r.version_priority, r.version))
    for each in ordered:
        found.setdefault(each.group, []).append(each)
    return found


def api_group(group: str, routes: Sequence[Route]) -> dict[str, Any]:
    """The APIGroup of a group that extension servers answer."""
    versions = [{"groupVersion": f"{group}/{each.version}", "version": each.version} for each in routes]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def merged_groups(document: dict[str, Any], routes: Iterable[Route]) -> dict[str, Any]:
    """An APIGroupList with what extension servers answer in it."""
    theirs = groups_of(routes)
    groups = []
    for group in document["groups"]:
        extra = theirs.pop(group["name"], None)
        if extra is not None:
            known = {version["version"] for version in group["versions"]}
            more = api_group(group["name"], extra)["versions"]
            versions = [*group["versions"], *(v for v in more if v["version"] not in known)]
            group = {**group, "versions": versions}
        groups.append(group)
    return {**document, "groups": [*groups, *(api_group(name, each) for name, each in theirs.items())]}


def merged_discovery(
    document: dict[str, Any], routes: Iterable[Route], resources: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """An APIGroupDiscoveryList with what extension servers answer in it.

    `resources` are the APIResources of each APIService by its name; a version whose server has never been
    heard is Stale, as in kube-aggregator.
    """
    items = {item["metadata"].get("name", ""): item for item in document["items"]}
    for group, theirs in groups_of(routes).items():
        versions = [
            {
                "version": each.version,
                "resources": discovery_resources(resources.get(each.name, ()), each),
                "freshness": "Current" if each.name in resources and each.available else "Stale",
            }
            for each in theirs
        ]
        have = items.get(group)
        if have is None:
            metadata = {"name": group}
            items[group] = {"metadata": metadata, "versions": versions}
        else:
            known = {version["version"] for version in versions}
            kept = [version for version in have["versions"] if version["version"] not in known]
            items[group] = {**have, "versions": [*kept, *versions]}
    return {**document, "items": list(items.values())}


def discovery_resources(resources: Sequence[Any], served: Route) -> list[dict[str, Any]]:
    """APIResources in the shape of aggregated discovery."""
    made: dict[str, dict[str, Any]] = {}
    for each in sorted(resources, key=lambda resource: "/" in resource["name"]):
        name, slash, subresource = each["name"].partition("/")
        kind = {
            "group": each.get("group") or served.group,
            "version": each.get("version") or served.version,
            "kind": each.get("kind", ""),
        }
        if slash:
            if name in made:
                below = {"subresource": subresource, "responseKind": kind, "verbs": each.get("verbs") or []}
                made[name].setdefault("subresources", []).append(below)
            continue
        made[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if each.get("namespaced") else "Cluster",
            "singularResource": each.get("singularName") or "",
            "verbs": each.get("verbs") or [],
            **{key: each[key] for key in ("shortNames", "categories") if each.get(key)},
        }
    return list(made.values())
