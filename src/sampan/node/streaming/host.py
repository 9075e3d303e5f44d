"""What the server asks of the node it serves: the pods, where their containers are, and the runtime."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from sampan.node.handles import ContainerHandle
from sampan.node.runtimes.runtime import Runtime
from sampan.node.streaming.errors import Refused
from sampan.schema import api


class StreamHost(Protocol):
    """An `Agent`, or whatever else has pods that are streamed to and from."""

    @property
    def runtime(self) -> Runtime: ...

    def pods(self) -> list[api.Pod]: ...

    def find_container(self, namespace: str, pod: str, container: str) -> ContainerHandle | None: ...

    def find_sandbox(self, namespace: str, pod: str) -> str: ...


@runtime_checkable
class KeepsLogs(Protocol):
    """A runtime that has its containers' logs itself, in CRI format, and no files of them."""

    def log(self, container_id: str) -> bytes: ...


class LogPlace(msgspec.Struct, frozen=True):
    """One instance of a container whose log is asked for. `path` is empty where no file is known."""

    container_id: str
    path: str


def find_pod(host: StreamHost, namespace: str, name: str) -> api.Pod:
    """The pod as the node has it. Raises Refused (404)."""
    found = [p for p in host.pods() if p.metadata.name == name and (p.metadata.namespace or "") == namespace]
    if not found:
        raise Refused(404, f'pod "{name}" does not exist on this node')
    # A pod that is being wound down may have a successor of its name.
    return next((pod for pod in found if pod.metadata.deletionTimestamp is None), found[0])


def log_place(host: StreamHost, pod: api.Pod, container: str, *, previous: bool) -> LogPlace:
    """Which instance's log a request means, by kubelet's rules. Raises Refused (400, 404) with its words."""
    name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
    spec = pod.spec
    containers = {c.name for c in (*spec.containers, *spec.initContainers)}
    if container not in containers | {c.name for c in spec.ephemeralContainers}:
        raise Refused(404, f'container "{container}" not found in pod "{name}"')
    wanted = instance_id(pod, container, previous=previous)
    handle = host.find_container(namespace, name, container)
    if handle is None:
        return LogPlace(wanted, "")
    if wanted == handle.previous_container_id:
        return LogPlace(wanted, handle.previous_log_path)
    return LogPlace(wanted, handle.log_path)


def instance_id(pod: api.Pod, container: str, *, previous: bool) -> str:
    """The runtime's id of the instance that a log request means. Raises Refused (400). Pure."""
    name = pod.metadata.name
    status = pod.status
    statuses = (*status.containerStatuses, *status.initContainerStatuses, *status.ephemeralContainerStatuses)
    found = next((s for s in statuses if s.name == container), None)
    if found is None:
        raise Refused(400, f'container "{container}" in pod "{name}" is not available')
    state, last = found.state, found.lastState.terminated if found.lastState else None
    ended = state.terminated if state else None
    before = last.containerID if last is not None else None
    if previous:
        if not before:
            raise Refused(400, f'previous terminated container "{container}" in pod "{name}" not found')
        return bare_id(before)
    if state and state.running is not None:
        return bare_id(found.containerID or "")
    if ended is not None or last is not None:
        chosen = (ended.containerID if ended is not None else None) or before
        if not chosen:
            raise Refused(400, f'container "{container}" in pod "{name}" is terminated')
        return bare_id(chosen)
    reason = state.waiting.reason if state and state.waiting is not None else None
    waits = f'container "{container}" in pod "{name}" is waiting to start'
    if reason is None:
        raise Refused(400, f"{waits} - no logs yet")
    told = {
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }
    raise Refused(400, f"{waits}: {told.get(reason, reason)}")


def bare_id(container_id: str) -> str:
    """`containerd://abc` without its scheme."""
    return container_id.rpartition("://")[2]
