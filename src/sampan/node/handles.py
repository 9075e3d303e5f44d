"""Where the pods of a node and their containers are, for whoever streams to and from them."""

from __future__ import annotations

import msgspec

from sampan.node.names import log_directory, log_path
from sampan.node.pods import PodHost
from sampan.node.turn import spec_of
from sampan.schema import api


class ContainerHandle(msgspec.Struct, frozen=True, kw_only=True):
    """Where a container of a pod is, for whoever streams to and from it.

    `container_id` is empty before its first start. `log_path` is the current instance's log file,
    `previous_log_path` the one before ("" if there is none).
    """

    namespace: str
    pod: str
    uid: str
    container: str
    container_id: str
    sandbox_id: str
    attempt: int
    running: bool
    log_path: str
    previous_log_path: str
    previous_container_id: str
    tty: bool
    stdin: bool
    stdin_once: bool


def pods(host: PodHost) -> list[api.Pod]:
    """The pods of a host, with the status that it last computed for them."""
    found = []
    for worker in host.workers.values():
        status = worker.state.reported or worker.pod.status
        found.append(msgspec.structs.replace(worker.pod, status=status))
    return found


def find_container(
    host: PodHost, log_dir: str, namespace: str, pod: str, container: str
) -> ContainerHandle | None:
    """The container of that name (the first one for an empty name); None where there is none."""
    for worker in host.workers.values():
        key = worker.state.key
        if (key.namespace, key.name) != (namespace, pod) or worker.state.api_gone:
            continue
        name = container or next((c.name for c in worker.pod.spec.containers), "")
        record, spec = worker.state.containers.get(name), spec_of(worker.pod, name)
        if record is None or spec is None:
            return None
        current, previous, sandbox = record.current, record.previous, worker.state.sandbox
        logs = log_directory(log_dir, key)
        return ContainerHandle(
            namespace=namespace,
            pod=pod,
            uid=key.uid,
            container=name,
            container_id=current.id if current is not None else "",
            sandbox_id=sandbox.id if sandbox is not None else "",
            attempt=current.attempt if current is not None else 0,
            running=current is not None and current.state == "running",
            log_path=f"{logs}/{log_path(name, current.attempt)}" if current is not None else "",
            previous_log_path=f"{logs}/{log_path(name, previous.attempt)}" if previous is not None else "",
            previous_container_id=previous.id if previous is not None else "",
            tty=bool(spec.tty),
            stdin=bool(spec.stdin),
            stdin_once=bool(spec.stdinOnce),
        )
    return None


def find_sandbox(host: PodHost, namespace: str, pod: str) -> str:
    """The pod's ready sandbox, for port forwarding; empty where there is none."""
    for worker in host.workers.values():
        key, sandbox = worker.state.key, worker.state.sandbox
        if (key.namespace, key.name) == (namespace, pod) and sandbox is not None:
            return sandbox.id if sandbox.phase == "ready" else ""
    return ""
