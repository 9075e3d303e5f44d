"""A node asks for certificates in the name of pods of its own, as they are, and for what they mount."""

from __future__ import annotations

from typing import Any

from sampan.apiserver.core import status
from sampan.apiserver.core.admission.noderestriction import uid_of
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.nodeauthz import node_of
from sampan.apiserver.core.resource import Resources
from sampan.kinds.core.pod_validation import MIRROR
from sampan.schema import api


class PodCertificateRequesters:
    """NodeRestriction's part for PodCertificateRequests.

    Apart, as it reads pods: what reads these for pods would keep them from being stamped out.
    """

    kinds = frozenset({"PodCertificateRequest"})
    reads: tuple[type[Any], ...] = (api.Node, api.Pod, api.ServiceAccount)

    def __init__(self, resources: Resources) -> None:
        self._nodes = resources.of(api.Node)
        self._pods = resources.of(api.Pod)
        self._accounts = resources.of(api.ServiceAccount)

    def mutate(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        node = node_of(attributes.context.user)
        why = self._refusal(node, attributes) if node else ""
        if why:
            obj = attributes.obj if attributes.obj is not None else attributes.old
            raise status.forbidden(attributes.context.resource.kind, obj.metadata.name or "", why)

    def _refusal(self, node: str, attributes: Attributes) -> str:
        if attributes.verb != "create" or attributes.subresource:
            return f'node "{node}" can only create PodCertificateRequests'
        spec, namespace = attributes.obj.spec, attributes.namespace
        where = f'"{namespace}/{spec.podName}"'
        if spec.nodeName != node:
            named = f'PodCertificateRequest.Spec.NodeName="{spec.nodeName}"'
            return f'{named}, which is not the requesting node "{node}"'
        if spec.nodeUID != uid_of(self._nodes, "", node):
            return f'PodCertificateRequest for pod {where} names another node UID than that of "{node}"'
        item = self._pods.cache.get(namespace, spec.podName)
        pod = self._pods.decode_stored(item.data) if item is not None else None
        if pod is None or pod.metadata.uid != spec.podUID or pod.spec.nodeName != node:
            return f'pod {where} of that UID is not running on node "{node}"'
        if MIRROR in pod.metadata.annotations:
            return f"pod {where} is a mirror pod"
        account = (pod.spec.serviceAccountName, uid_of(self._accounts, namespace, spec.serviceAccountName))
        if account != (spec.serviceAccountName, spec.serviceAccountUID):
            return f"PodCertificateRequest for pod {where} names another service account than the pod has"
        if spec.signerName not in _signers(pod):
            return f'pod {where} mounts no certificate of signer "{spec.signerName}"'
        return ""


def _signers(pod: Any) -> set[str]:
    """Whose certificates the pod mounts."""
    volumes = [volume.projected for volume in pod.spec.volumes if volume.projected is not None]
    parts = [part.podCertificate for volume in volumes for part in volume.sources]
    return {part.signerName for part in parts if part is not None}
