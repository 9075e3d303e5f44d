"""NodeRestriction: a node writes about itself and about the pods that are placed on it, and about nothing
else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.nodeauthz import node_of
from sampan.apiserver.core.resource import Resources
from sampan.kinds.core.pod_validation import MIRROR
from sampan.schema import api

# Labels of the kubernetes.io namespaces that a node may put on itself.
_LABELS: Final = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "node.kubernetes.io/windows-build",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
    }
)
_LABEL_NAMESPACES: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction:
    """Refuses what a node writes of others."""

    kinds = frozenset({"Pod", "Node", "Lease", "CSINode", "CertificateSigningRequest", "ResourceSlice"})
    reads: tuple[type[Any], ...] = (api.Node,)

    def __init__(self, resources: Resources) -> None:
        self._nodes = resources.of(api.Node)

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        node = node_of(attributes.context.user)
        if not node:
            return
        kind = attributes.context.resource.kind.kind
        why = {
            "Pod": self._pod,
            "Node": self._node,
            "Lease": self._lease,
            "CSINode": self._csi_node,
            "ResourceSlice": self._slice,
            "CertificateSigningRequest": self._request,
        }[kind](node, attributes)
        if why:
            obj = attributes.obj if attributes.obj is not None else attributes.old
            raise status.forbidden(attributes.context.resource.kind, obj.metadata.name or "", why)

    def _pod(self, node: str, attributes: Attributes) -> str:
        new, old = attributes.obj, attributes.old
        if attributes.verb == "create":
            return self._new_pod(node, new)
        where = old.spec.nodeName or ""
        if attributes.verb == "delete":
            if where == node:
                return ""
            return f'node "{node}" can only delete pods with spec.nodeName set to itself'
        if attributes.subresource != "status":
            return f'unexpected operation "UPDATE", node "{node}" can only update the status of pods'
        if where != node:
            return f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        if new.metadata.labels != old.metadata.labels:
            return f'node "{node}" cannot update labels through pod status'
        return ""

    def _new_pod(self, node: str, pod: Any) -> str:
        name = f'pod "{pod.metadata.name}"'
        if MIRROR not in pod.metadata.annotations:
            return f'{name} does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        if pod.spec.nodeName != node:
            return f'node "{node}" can only create pods with spec.nodeName set to itself'
        uid = uid_of(self._nodes, "", node)
        owners = pod.metadata.ownerReferences
        if len(owners) > 1 or any((o.kind, o.name, o.uid) != ("Node", node, uid) for o in owners):
            return f'node "{node}" can only create pods with an owner reference set to itself'
        if any(volume.persistentVolumeClaim is not None for volume in pod.spec.volumes):
            return f'node "{node}" can not create pods that reference persistentvolumeclaims'
        return ""

    def _node(self, node: str, attributes: Attributes) -> str:
        new, old = attributes.obj, attributes.old
        name = (new if new is not None else old).metadata.name
        if name != node:
            return f'node "{node}" is not allowed to modify node "{name}"'
        if attributes.verb == "create":
            wrong = _forbidden(new.metadata.labels, {})
            return f'node "{node}" is not allowed to set the following labels: {wrong}' if wrong else ""
        if attributes.verb != "update":
            return ""
        if old.spec.taints != new.spec.taints and not attributes.subresource:
            return f'node "{node}" is not allowed to modify taints'
        wrong = _forbidden(new.metadata.labels, old.metadata.labels)
        return f"is not allowed to modify labels: {wrong}" if wrong else ""

    def _lease(self, node: str, attributes: Attributes) -> str:
        if attributes.namespace != "kube-node-lease":
            return 'can only access leases in the "kube-node-lease" system namespace'
        obj = attributes.obj if attributes.obj is not None else attributes.old
        return (
            "" if obj.metadata.name == node else "can only access node lease with the same name as the node"
        )

    def _csi_node(self, node: str, attributes: Attributes) -> str:
        obj = attributes.obj if attributes.obj is not None else attributes.old
        return "" if obj.metadata.name == node else "can only access CSINode with the same name as the node"

    def _slice(self, node: str, attributes: Attributes) -> str:
        obj = attributes.old if attributes.old is not None else attributes.obj
        return "" if obj.spec.nodeName == node else "can only access ResourceSlices of its own node"

    def _request(self, node: str, attributes: Attributes) -> str:
        if attributes.verb != "create" or attributes.obj.spec.signerName not in _NODE_SIGNERS:
            return ""
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        subject = x509.load_pem_x509_csr(attributes.obj.spec.request).subject
        names = [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names == [f"system:node:{node}"]:
            return ""
        return f"can only create a node CSR with CN=system:node:{node}"


_NODE_SIGNERS: Final = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")


def uid_of(resource: Any, namespace: str, name: str) -> str | None:
    """The uid of a stored object; None where there is none."""
    item = resource.cache.get(namespace, name)
    return resource.decode_stored(item.data).metadata.uid if item is not None else None


def _forbidden(new: Mapping[str, str], old: Mapping[str, str]) -> str:
    changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}
    return ", ".join(sorted(key for key in changed if not _may_set(key)))


def _may_set(key: str) -> bool:
    namespace = key.partition("/")[0] if "/" in key else ""
    if key in _LABELS or any(namespace == n or namespace.endswith(f".{n}") for n in _LABEL_NAMESPACES):
        return True
    domain = namespace.endswith((".kubernetes.io", ".k8s.io")) or namespace in ("kubernetes.io", "k8s.io")
    return not domain
