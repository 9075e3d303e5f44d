"""The node authorizer: what a node may read follows from the pods that are placed on it.

Follows plugin/pkg/auth/authorizer/node. The graph is kept by pods: which node each is on and what it refers
to. A
change of a pod costs no more than a note; the pods that were noted are looked at when a node asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.users import User
from sampan.kinds.core.pod_validation import MIRROR
from sampan.store.items import names_of

GROUP: Final = "system:nodes"
PREFIX: Final = "system:node:"
PODS_PREFIX: Final = "/registry/core/pods/"
_LEASES: Final = "kube-node-lease"
_READ: Final = ("get", "list", "watch")
_OWN: Final = ("get", "update", "patch", "delete")


class Ref(NamedTuple):
    """Something that a pod refers to."""

    plural: str
    namespace: str
    name: str


def node_of(user: User) -> str:
    """The node that the user is; "" for everybody else."""
    return user.name.removeprefix(PREFIX) if user.name.startswith(PREFIX) and GROUP in user.groups else ""


class NodeGraph:
    """Which node reaches what, by its pods."""

    def __init__(self, find: Callable[[str, str], Resource]) -> None:
        self._find = find
        self._noted: set[str] | None = None  # None: everything has to be looked at
        self._node_by_pod: dict[str, str] = {}
        self._refs: dict[str, frozenset[Ref]] = {}
        self._pods: dict[str, set[str]] = {}

    def note(self, key: str) -> None:
        """A pod changed."""
        if self._noted is not None:
            self._noted.add(key)

    def forget(self) -> None:
        """All pods have to be looked at again."""
        self._noted = None

    def reaches(self, node: str, ref: Ref) -> bool:
        """Whether a pod on the node refers to it, directly or through its claims and volumes."""
        self._catch_up()
        pods = self._pods.get(node, ())
        if any(ref in self._refs[pod] for pod in pods):
            return True
        if ref.plural == "persistentvolumes":
            volume = self.stored("", "persistentvolumes", "", ref.name)
            claim = volume.spec.claimRef if volume is not None else None
            return claim is not None and self.reaches(
                node, Ref("persistentvolumeclaims", claim.namespace or "", claim.name or "")
            )
        return ref.plural == "secrets" and ref in self._secrets_of_volumes(pods)

    def holds_pod(self, node: str, namespace: str, name: str) -> bool:
        self._catch_up()
        return self._node_by_pod.get(f"{PODS_PREFIX}{namespace}/{name}") == node

    def _secrets_of_volumes(self, pods: Any) -> Iterator[Ref]:
        for pod in pods:
            for ref in self._refs[pod]:
                if ref.plural != "persistentvolumeclaims":
                    continue
                claim = self.stored("", "persistentvolumeclaims", ref.namespace, ref.name)
                volume = (
                    self.stored("", "persistentvolumes", "", claim.spec.volumeName or "") if claim else None
                )
                csi = volume.spec.csi if volume is not None else None
                for field in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
                    secret = getattr(csi, field, None) if csi is not None else None
                    if secret is not None:
                        yield Ref("secrets", secret.namespace or "", secret.name or "")

    def stored(self, group: str, plural: str, namespace: str, name: str) -> Any | None:
        resource = self._find(group, plural)
        item = resource.cache.get(namespace, name) if name else None
        return resource.decode_stored(item.data) if item is not None else None

    def _catch_up(self) -> None:
        pods = self._find("", "pods")
        if self._noted is None:
            self._node_by_pod.clear()
            self._refs.clear()
            self._pods.clear()
            keys = {item.key for item in pods.cache}
        else:
            keys = self._noted
        self._noted = set()
        for key in keys:
            namespace, name = names_of(key)
            item = pods.cache.get(namespace, name)
            self._place(key, pods.decode_stored(item.data) if item is not None else None)

    def _place(self, key: str, pod: Any | None) -> None:
        before = self._node_by_pod.pop(key, "")
        if before:
            self._pods[before].discard(key)
            self._refs.pop(key, None)
        node = pod.spec.nodeName if pod is not None else None
        if not node or pod is None:
            return
        self._node_by_pod[key] = node
        self._pods.setdefault(node, set()).add(key)
        # What a node says of its own pods must not open anything to it.
        self._refs[key] = frozenset() if MIRROR in pod.metadata.annotations else frozenset(refs_of(pod))


def refs_of(pod: Any) -> Iterator[Ref]:
    """Everything that a pod refers to in its namespace."""
    namespace, spec = pod.metadata.namespace or "", pod.spec
    if spec.serviceAccountName:
        yield Ref("serviceaccounts", namespace, spec.serviceAccountName)
    for pull in spec.imagePullSecrets:
        yield Ref("secrets", namespace, pull.name or "")
    for container in (*spec.initContainers, *spec.containers, *spec.ephemeralContainers):
        for source in container.envFrom:
            if source.secretRef is not None:
                yield Ref("secrets", namespace, source.secretRef.name or "")
            if source.configMapRef is not None:
                yield Ref("configmaps", namespace, source.configMapRef.name or "")
        for variable in container.env:
            value = variable.valueFrom
            if value is not None and value.secretKeyRef is not None:
                yield Ref("secrets", namespace, value.secretKeyRef.name or "")
            if value is not None and value.configMapKeyRef is not None:
                yield Ref("configmaps", namespace, value.configMapKeyRef.name or "")
    for volume in spec.volumes:
        yield from _of_volume(volume, namespace, pod.metadata.name or "")
    for claim in spec.resourceClaims:
        if claim.resourceClaimName:
            yield Ref("resourceclaims", namespace, claim.resourceClaimName)
    for status in pod.status.resourceClaimStatuses:
        if status.resourceClaimName:
            yield Ref("resourceclaims", namespace, status.resourceClaimName)
    made = pod.status.extendedResourceClaimStatus
    if made is not None:
        yield Ref("resourceclaims", namespace, made.resourceClaimName)


def _of_volume(volume: Any, namespace: str, pod: str) -> Iterator[Ref]:
    if volume.secret is not None:
        yield Ref("secrets", namespace, volume.secret.secretName or "")
    if volume.configMap is not None:
        yield Ref("configmaps", namespace, volume.configMap.name or "")
    if volume.persistentVolumeClaim is not None:
        yield Ref("persistentvolumeclaims", namespace, volume.persistentVolumeClaim.claimName or "")
    if volume.ephemeral is not None:
        yield Ref("persistentvolumeclaims", namespace, f"{pod}-{volume.name}")
    for source in volume.projected.sources if volume.projected is not None else ():
        if source.secret is not None:
            yield Ref("secrets", namespace, source.secret.name or "")
        if source.configMap is not None:
            yield Ref("configmaps", namespace, source.configMap.name or "")
    for name in volume.__struct_fields__:
        source = getattr(volume, name)
        for field in ("secretRef", "nodePublishSecretRef"):
            secret = getattr(source, field, None) if name != "name" else None
            if secret is not None:
                yield Ref("secrets", namespace, secret.name or "")


def decide(graph: NodeGraph, node: str, access: Any) -> bool | None:
    """Whether the node may; None where the question is none of a node's pods, and its role answers it.

    `access` is an authz.Access.
    """
    resource, _, part = access.resource.partition("/")
    if access.group == "" and resource in _BY_PODS:
        return _by_pods(graph, node, access, resource, part)
    if access.group == "resource.k8s.io" and resource == "resourceclaims":
        return access.verb == "get" and not part and _reaches(graph, node, access, resource)
    if access.group == "storage.k8s.io" and resource == "volumeattachments":
        attached = graph.stored("storage.k8s.io", resource, "", access.name)
        return access.verb == "get" and attached is not None and attached.spec.nodeName == node
    if access.group == "coordination.k8s.io" and resource == "leases":
        return access.namespace == _LEASES and _own(access, node)
    if access.group == "storage.k8s.io" and resource == "csinodes":
        return _own(access, node)
    if access.group == "resource.k8s.io" and resource == "resourceslices":
        if access.verb in ("create", *_OWN):
            return None  # admission knows whose they are
        return _selects(access.fields, "spec.nodeName", node)
    return None


_BY_PODS: Final = frozenset(
    {
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "persistentvolumes",
        "serviceaccounts",
        "pods",
        "nodes",
    }
)


def _by_pods(graph: NodeGraph, node: str, access: Any, resource: str, part: str) -> bool | None:
    verb = access.verb
    match resource:
        case "secrets" | "configmaps":
            return verb in _READ and not part and _reaches(graph, node, access, resource)
        case "persistentvolumeclaims":
            verbs = ("get", "update", "patch") if part == "status" else ("get",)
            return verb in verbs and part in ("", "status") and _reaches(graph, node, access, resource)
        case "persistentvolumes":
            # Local volumes are a node's own, which another role says.
            return (verb == "get" and not part and _reaches(graph, node, access, resource)) or None
        case "serviceaccounts":
            asks = (verb == "create" and part == "token") or (verb == "get" and not part)
            return asks and _reaches(graph, node, access, resource)
        case "pods":
            if verb == "get" and not part:
                return graph.holds_pod(node, access.namespace, access.name)
            if verb in ("list", "watch"):
                return _selects(access.fields, "spec.nodeName", node)
            return None
        case _:
            if verb in _READ and not part:
                return bool(access.name == node)
            return None


def _reaches(graph: NodeGraph, node: str, access: Any, plural: str) -> bool:
    return bool(access.name) and graph.reaches(node, Ref(plural, access.namespace, access.name))


def _own(access: Any, node: str) -> bool:
    # Who is created is not known here; admission looks at the name.
    return access.verb == "create" or (access.verb in _OWN and access.name == node)


def _selects(fields: str, field: str, value: str) -> bool:
    return any(term in (f"{field}={value}", f"{field}=={value}") for term in fields.split(","))
