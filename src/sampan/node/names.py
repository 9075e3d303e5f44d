"""Labels, annotations and paths by which the node recognises what it made: kubelet's own."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.schema import api

POD_NAME: Final = "io.kubernetes.pod.name"
POD_NAMESPACE: Final = "io.kubernetes.pod.namespace"
POD_UID: Final = "io.kubernetes.pod.uid"
CONTAINER_NAME: Final = "io.kubernetes.container.name"

CONTAINER_HASH: Final = "io.kubernetes.container.hash"
RESTART_COUNT: Final = "io.kubernetes.container.restartCount"
MESSAGE_PATH: Final = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY: Final = "io.kubernetes.container.terminationMessagePolicy"
POD_GRACE: Final = "io.kubernetes.pod.terminationGracePeriod"
CONFIG_SOURCE: Final = "kubernetes.io/config.source"


class PodKey(msgspec.Struct, frozen=True):
    """Who a pod is: the uid tells two pods of one name apart."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def long(self) -> str:
        """`name_namespace(uid)`, as kubelet writes pods in messages."""
        return f"{self.name}_{self.namespace}({self.uid})"


def key_of(pod: api.Pod) -> PodKey:
    """The identity of an API pod."""
    meta = pod.metadata
    return PodKey(meta.namespace or "", meta.name or "", meta.uid or "")


def container_hash(name: str, image: str) -> str:
    """What must stay the same for a running container to be left alone: kubelet hashes name and image."""
    return f"{zlib.crc32(f'{name} {image}'.encode()):x}"


def log_directory(root: str, key: PodKey) -> str:
    """The pod's directory of logs, as /var/log/pods has it."""
    return f"{root}/{key.namespace}_{key.name}_{key.uid}"


def log_path(container: str, attempt: int) -> str:
    """A container's log within its pod's log directory."""
    return f"{container}/{attempt}.log"


def pod_directory(root: str, uid: str) -> str:
    """Where the volumes and small files of a pod live."""
    return f"{root}/{uid}"


def pod_labels(key: PodKey) -> dict[str, str]:
    """The labels that every sandbox and container of a pod carries."""
    return {POD_NAME: key.name, POD_NAMESPACE: key.namespace, POD_UID: key.uid}


def uid_of(labels: Mapping[str, str]) -> str:
    """The pod uid in a sandbox's or container's labels; empty where it is not one of ours."""
    return labels.get(POD_UID, "")


def as_container(ephemeral: api.EphemeralContainer) -> api.Container:
    """An ephemeral container as an ordinary one: the fields are the same but for the target."""
    fields: dict[str, Any] = {
        name: getattr(ephemeral, name) for name in api.Container.__struct_fields__ if hasattr(ephemeral, name)
    }
    return api.Container(**fields)
