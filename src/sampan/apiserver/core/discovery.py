"""Discovery: which groups, versions and resources there are, in the old and the aggregated form."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core.formats import takes_json
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.status import method_not_allowed, not_acceptable
from sampan.kinds import registry
from sampan.kinds.custom.definition import version_rank
from sampan.kinds.kind import Kind
from sampan.schema.definitions import GroupVersionKind

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_AGGREGATED_PARTS: Final = frozenset(AGGREGATED.split(";"))
_MEDIA: Final = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_encode = msgspec.json.Encoder().encode


class Discovery:
    """Answers below /api and /apis. Documents are made once, when first asked for."""

    def __init__(self, kinds: Sequence[Kind], custom: Sequence[Kind] = (), *, address: str = "") -> None:
        """`address` is where the server is told to be, HOST:PORT; "" where clients know better."""
        self._address = address
        kinds = (*kinds, *custom)
        self._served: dict[str, bytes] = {}
        self._versions: dict[str, dict[str, list[Kind]]] = {}
        for kind in kinds:
            self._versions.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        known = [group.name for group in registry.groups() if group.name in self._versions]
        # Groups of Kubernetes first, in their order, and then those that definitions add.
        self._groups = [*known, *sorted(self._versions.keys() - set(known))]

    def answer(self, request: Request) -> Response | None:
        """The discovery document at the path; None where it is not one."""
        parts = request.path.strip("/").split("/")
        if parts[0] not in ("api", "apis"):
            return None
        if len(parts) == 1 and _wants_aggregated(request.accept):
            return self._aggregated(parts[0], request)
        document = self._legacy(parts, request)
        if document is None:
            return None
        if request.method != "GET" and parts not in (["apis"], ["apis", parts[-1]]):
            # The aggregator's own documents answer any method; those of the versions do not.
            raise method_not_allowed(request.method)
        if not takes_json(request.accept):
            raise not_acceptable(_MEDIA)
        return Response(body=_encode(document))

    def has(self, group: str, version: str) -> bool:
        """Whether a version of a group is served."""
        return version in self._versions.get(group, {})

    @property
    def paths(self) -> list[str]:
        """Where there is a document of discovery."""
        groups = [f"/apis/{group}" for group in self._groups if group]
        versions = [f"/apis/{g}/{v}" for g in self._groups if g for v in self._ordered_versions(g)]
        return ["/api", "/api/v1", "/apis", "/apis/", *groups, *versions]

    def _listed(self) -> list[str]:
        """The groups in the order of the old list: what definitions add by its first APIService's name."""
        known = {group.name for group in registry.groups()}
        custom = [name for name in self._groups if name not in known]
        first = {name: min(f"{version}.{name}" for version in self._versions[name]) for name in custom}
        return [*(name for name in self._groups if name in known), *sorted(custom, key=first.__getitem__)]

    def _legacy(self, parts: list[str], request: Request) -> dict[str, Any] | None:
        match parts:
            case ["api"]:
                addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address or request.host}]
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
            case ["api", "v1"]:
                return self._resource_list("", "v1")
            case ["apis"]:
                groups = [self._group(name) for name in self._listed() if name]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group in self._versions:
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["apis", group, version] if version in self._versions.get(group, {}):
                return self._resource_list(group, version)
        return None

    def _ordered_versions(self, group: str) -> list[str]:
        known = next((g.versions for g in registry.groups() if g.name == group), ())
        served = self._versions[group]
        added = sorted(served.keys() - set(known), key=version_rank)
        return [*(version for version in known if version in served), *added]

    def _group(self, group: str) -> dict[str, Any]:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version}
            for version in self._ordered_versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> dict[str, Any]:
        api_version = f"{group}/{version}" if group else version
        resources: list[dict[str, Any]] = []
        for kind in sorted(self._versions[group][version], key=lambda k: k.plural):
            resources += _resources(kind)
        document = {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}
        if not group:  # clients of the first Kubernetes versions do not know what names its version
            return document
        return {"apiVersion": "v1", **document}

    def _aggregated(self, root: str, request: Request) -> Response:
        body = self._served.get(root)
        if body is None:
            names = [""] if root == "api" else [name for name in self._groups if name]
            document = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2",
                "metadata": {},
                "items": [self._group_discovery(name) for name in names],
            }
            body = self._served[root] = _encode(document)
        etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
        headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
        if request.headers.get("if-none-match") == etag:
            # Caches put a 304's headers over those they keep, so the type must be the document's own.
            return Response(status=304, content_type=AGGREGATED, headers=headers)
        return Response(body=body, content_type=AGGREGATED, headers=headers)

    def _group_discovery(self, group: str) -> dict[str, Any]:
        versions = []
        for version in self._ordered_versions(group):
            resources = [_discovery(kind) for kind in self._versions[group][version]]
            versions.append({"version": version, "resources": resources, "freshness": "Current"})
        return {"metadata": {"name": group} if group else {}, "versions": versions}


def _wants_aggregated(accept: str) -> bool:
    for clause in accept.split(","):
        parts = {part.strip() for part in clause.split(";")}
        if parts >= _AGGREGATED_PARTS:
            return True
    return False


# What kube-apiserver says of custom resources in another order.
_CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def _verbs(kind: Kind) -> list[str]:
    if kind.own_type is None:
        return list(kind.verbs)
    return [verb for verb in _CUSTOM_VERBS if verb in kind.verbs]


def _subresources(kind: Kind) -> list[tuple[str, dict[str, str], Sequence[str]]]:
    """(name below the kind, its group, version and kind, verbs)."""
    own = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    found: dict[str, tuple[dict[str, str], Sequence[str]]] = {}
    if kind.status:
        found["status"] = (own, ("get", "patch", "update"))
    if kind.scale is not None:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        found["scale"] = (scale, ("get", "patch", "update"))
    for path, named, verbs in kind.subresources:
        gvk = registry.subresource_gvk(kind, named)
        name = path.rpartition("/")[2]
        found[name] = ({"group": gvk.group, "version": gvk.version, "kind": gvk.kind}, verbs)
    names = list(found) if kind.own_type is not None else sorted(found)
    return [(name, *found[name]) for name in names]


def _resources(kind: Kind) -> list[dict[str, Any]]:
    first: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular or kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _verbs(kind),
    }
    if kind.short:
        first["shortNames"] = list(kind.short)
    if kind.categories:
        first["categories"] = list(kind.categories)
    if not kind.virtual:
        stored = kind.stored_as or kind.gvk
        first["storageVersionHash"] = _storage_version_hash(_STORED_THERE.get(stored, stored))
    rows = [first]
    for name, gvk, verbs in _subresources(kind):
        row = {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": gvk["kind"],
            "verbs": list(verbs),
        }
        if (gvk["group"], gvk["version"]) != (kind.group, kind.version):
            row |= {"group": gvk["group"], "version": gvk["version"]}
        rows.append(row)
    return rows


# What kube-apiserver 1.37 stores in another version than this server: who compares hashes goes by its.
_STORED_THERE: Final = {
    GroupVersionKind(group, "v1", kind): GroupVersionKind(group, version, kind)
    for group, version, kind in (
        ("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition"),
        ("certificates.k8s.io", "v1beta1", "ClusterTrustBundle"),
        ("certificates.k8s.io", "v1beta1", "PodCertificateRequest"),
        ("resource.k8s.io", "v1beta2", "DeviceTaintRule"),
        ("storagemigration.k8s.io", "v1beta1", "StorageVersionMigration"),
    )
}


def _storage_version_hash(stored: GroupVersionKind) -> str:
    # kube-apiserver's formula, so that whoever has stored a hash sees a change only where there is one.
    text = f"{stored.group}/{stored.version}/{stored.kind}"
    return b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _response_kind(kind: Kind, gvk: dict[str, str]) -> dict[str, str]:
    # kube-apiserver leaves out a group and version that are those of the resource, but for custom ones.
    if kind.own_type is None and (gvk["group"], gvk["version"]) == (kind.group, kind.version):
        return {"group": "", "version": "", "kind": gvk["kind"]}
    return gvk


def _discovery(kind: Kind) -> dict[str, Any]:
    document: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": _response_kind(
            kind, {"group": kind.group, "version": kind.version, "kind": kind.kind}
        ),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular or kind.kind.lower(),
        "verbs": _verbs(kind),
    }
    if kind.short:
        document["shortNames"] = list(kind.short)
    if kind.categories:
        document["categories"] = list(kind.categories)
    subresources = [
        {"subresource": name, "responseKind": _response_kind(kind, gvk), "verbs": list(verbs)}
        for name, gvk, verbs in _subresources(kind)
    ]
    if subresources:
        document["subresources"] = subresources
    return document
