"""What the runtime is asked for: sandbox and container specs from a pod. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sampan.node.config import AgentConfig
from sampan.node.dns import Resolver
from sampan.node.expansion import expand
from sampan.node.hosts import sandbox_hostname
from sampan.node.model import NodeFacts
from sampan.node.names import (
    CONFIG_SOURCE,
    CONTAINER_HASH,
    CONTAINER_NAME,
    MESSAGE_PATH,
    MESSAGE_POLICY,
    POD_GRACE,
    RESTART_COUNT,
    PodKey,
    container_hash,
    key_of,
    log_directory,
    log_path,
    pod_labels,
)
from sampan.node.resources import container_resources, qos_class
from sampan.node.runtimes.runtime import ContainerSpec, Image, Mount, SandboxSpec
from sampan.node.security import container_security, supplemental_groups
from sampan.schema import api

DEFAULT_MESSAGE_PATH: Final = "/dev/termination-log"


def sandbox_spec(
    pod: api.Pod, attempt: int, config: AgentConfig, resolver: Resolver, runtime_handler: str, node_name: str
) -> SandboxSpec:
    """The sandbox of a pod."""
    key = key_of(pod)
    security = pod.spec.securityContext
    host_network = bool(pod.spec.hostNetwork)
    return SandboxSpec(
        namespace=key.namespace,
        name=key.name,
        uid=key.uid,
        attempt=attempt,
        hostname="" if host_network else sandbox_hostname(pod, node_name, config.cluster_domain),
        labels=sandbox_labels(pod, key),
        annotations=sandbox_annotations(pod),
        dns_servers=resolver.servers,
        dns_searches=resolver.searches,
        dns_options=resolver.options,
        log_directory=log_directory(config.log_dir, key),
        host_network=host_network,
        host_pid=bool(pod.spec.hostPID),
        host_ipc=bool(pod.spec.hostIPC),
        share_process_namespace=bool(pod.spec.shareProcessNamespace),
        sysctls={s.name: s.value for s in security.sysctls} if security is not None else {},
        privileged=any(
            c.securityContext is not None and bool(c.securityContext.privileged)
            for c in (*pod.spec.initContainers, *pod.spec.containers)
        ),
        run_as_user=security.runAsUser if security is not None else None,
        run_as_group=security.runAsGroup if security is not None and security.runAsUser is not None else None,
        supplemental_groups=supplemental_groups(pod),
        runtime_handler=runtime_handler,
    )


def sandbox_labels(pod: api.Pod, key: PodKey) -> dict[str, str]:
    """The pod's own labels, and whose sandbox it is."""
    return {**pod.metadata.labels, **pod_labels(key)}


def sandbox_annotations(pod: api.Pod) -> dict[str, str]:
    """The pod's own annotations, and what its end must know where the API has forgotten it."""
    return {**pod.metadata.annotations, CONFIG_SOURCE: "api", POD_GRACE: str(_grace_s(pod))}


def container_labels(key: PodKey, name: str) -> dict[str, str]:
    """Whose container it is."""
    return {**pod_labels(key), CONTAINER_NAME: name}


def container_annotations(pod: api.Pod, container: api.Container, attempt: int) -> dict[str, str]:
    """What an agent that was restarted must know of a container."""
    return {
        CONTAINER_HASH: container_hash(container.name, container.image or ""),
        RESTART_COUNT: str(attempt),
        MESSAGE_PATH: container.terminationMessagePath or DEFAULT_MESSAGE_PATH,
        MESSAGE_POLICY: container.terminationMessagePolicy or "File",
        POD_GRACE: str(_grace_s(pod)),
    }


def _grace_s(pod: api.Pod) -> int:
    grace_s = pod.spec.terminationGracePeriodSeconds
    return 30 if grace_s is None else grace_s


def container_spec(
    pod: api.Pod,
    container: api.Container,
    attempt: int,
    *,
    image_ref: str,
    image: Image | None,
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    node: NodeFacts,
    node_memory_bytes: int,
    target_id: str = "",
) -> ContainerSpec:
    """One instance of a container. Raises ConfigError where runAsNonRoot is broken."""
    return ContainerSpec(
        name=container.name,
        attempt=attempt,
        image=image_ref,
        command=tuple(expand(word, env) for word in container.command),
        args=tuple(expand(word, env) for word in container.args),
        working_dir=container.workingDir or "",
        env=tuple(env.items()),
        mounts=tuple(mounts),
        labels=container_labels(key_of(pod), container.name),
        annotations=container_annotations(pod, container, attempt),
        log_path=log_path(container.name, attempt),
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdinOnce),
        tty=bool(container.tty),
        target_id=target_id,
        resources=container_resources(container, qos_class(pod), node_memory_bytes),
        security=container_security(pod, container, image),
    )
