"""Values of the Runtime Protocol to CRI messages (as plain dictionaries) and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sampan.node.runtimes.runtime import (
    Container,
    ContainerSpec,
    Credentials,
    Image,
    Resources,
    Sandbox,
    SandboxSpec,
    State,
    Usage,
)

_PROPAGATION = {"None": 0, "": 0, "HostToContainer": 1, "Bidirectional": 2}
_POD, _CONTAINER, _NODE, _TARGET = 0, 1, 2, 3
_RUNTIME_DEFAULT, _UNCONFINED, _LOCALHOST = 0, 1, 2
_STATES = {0: State.CREATED, 1: State.RUNNING, 2: State.EXITED}
_READY = 0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# crictl, log agents and CNI plugins find a container's pod by these.
POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
# Which of the clusters that share a runtime made it.
OWNER = "sampan.dev/owner"
# What the pod asked for: runtimes report the first name that they know the image by.
ASKED_IMAGE = "sampan.dev/image"


def moment(nanoseconds: int) -> datetime:
    """CRI's Unix nanoseconds as a moment, to the microsecond."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _optional_moment(nanoseconds: int) -> datetime | None:
    return moment(nanoseconds) if nanoseconds > 0 else None


def sandbox_config(spec: SandboxSpec, *, owner: str = "", cgroup_parent: str = "") -> dict[str, Any]:
    """A PodSandboxConfig."""
    security: dict[str, Any] = {
        "namespace_options": _namespaces(spec),
        "privileged": spec.privileged,
        "supplemental_groups": list(spec.supplemental_groups),
        "seccomp": {"profile_type": _RUNTIME_DEFAULT},
    }
    security |= _user(spec.run_as_user, spec.run_as_group)
    dns = {"servers": spec.dns_servers, "searches": spec.dns_searches, "options": spec.dns_options}
    return {
        "metadata": {
            "name": spec.name,
            "uid": spec.uid,
            "namespace": spec.namespace,
            "attempt": spec.attempt,
        },
        # A pod of the host's network has the host's name.
        "hostname": "" if spec.host_network else spec.hostname,
        "log_directory": spec.log_directory,
        "dns_config": dns if any(dns.values()) else {},
        "labels": _pod_labels(spec, owner) | dict(spec.labels),
        "annotations": dict(spec.annotations),
        "linux": {
            "cgroup_parent": cgroup_parent,
            "security_context": security,
            "sysctls": dict(spec.sysctls),
        },
    }


def _pod_labels(spec: SandboxSpec, owner: str) -> dict[str, str]:
    labels = {POD_NAME: spec.name, POD_NAMESPACE: spec.namespace, POD_UID: spec.uid}
    return labels | ({OWNER: owner} if owner else {})


def _namespaces(spec: SandboxSpec) -> dict[str, int]:
    pid = _NODE if spec.host_pid else _POD if spec.share_process_namespace else _CONTAINER
    return {
        "network": _NODE if spec.host_network else _POD,
        "pid": pid,
        "ipc": _NODE if spec.host_ipc else _POD,
    }


def _container_namespaces(sandbox: SandboxSpec, spec: ContainerSpec) -> dict[str, Any]:
    options: dict[str, Any] = _namespaces(sandbox)
    if spec.target_id and options["pid"] == _CONTAINER:
        return options | {"pid": _TARGET, "target_id": spec.target_id}
    return options


def _user(user: int | None, group: int | None) -> dict[str, Any]:
    ids: dict[str, Any] = {}
    if user is not None:
        ids["run_as_user"] = {"value": user}
    # A group without a user is refused by runtimes; kubelet sends it only with one.
    if group is not None and user is not None:
        ids["run_as_group"] = {"value": group}
    return ids


def container_config(sandbox: SandboxSpec, spec: ContainerSpec, *, owner: str = "") -> dict[str, Any]:
    """A ContainerConfig."""
    return {
        "metadata": {"name": spec.name, "attempt": spec.attempt},
        "image": {"image": spec.image},
        "command": spec.command,
        "args": spec.args,
        "working_dir": spec.working_dir,
        # Values may hold any bytes; on the wire, CRI's `string` and `bytes` are the same.
        "envs": [
            {"key": name, "value": value.encode("utf-8", "surrogateescape")} for name, value in spec.env
        ],
        "mounts": [
            {
                "container_path": mount.container_path,
                "host_path": mount.host_path,
                "readonly": mount.readonly,
                "propagation": _PROPAGATION[mount.propagation],
            }
            for mount in spec.mounts
        ],
        "devices": [
            {
                "container_path": device.container_path,
                "host_path": device.host_path,
                "permissions": device.permissions,
            }
            for device in spec.devices
        ],
        "labels": _pod_labels(sandbox, owner) | {CONTAINER_NAME: spec.name} | dict(spec.labels),
        "annotations": {ASKED_IMAGE: spec.image} | dict(spec.annotations),
        "log_path": spec.log_path,
        "stdin": spec.stdin,
        "stdin_once": spec.stdin_once,
        "tty": spec.tty,
        "linux": {"resources": resources(spec.resources), "security_context": _security(sandbox, spec)},
    }


def _security(sandbox: SandboxSpec, spec: ContainerSpec) -> dict[str, Any]:
    security = spec.security
    context: dict[str, Any] = {
        "capabilities": {
            "add_capabilities": security.add_capabilities,
            "drop_capabilities": security.drop_capabilities,
        },
        "privileged": security.privileged,
        "namespace_options": _container_namespaces(sandbox, spec),
        "run_as_username": security.run_as_username,
        "readonly_rootfs": security.readonly_rootfs,
        "supplemental_groups": security.supplemental_groups,
        "no_new_privs": security.no_new_privileges,
        "seccomp": seccomp(security.seccomp),
    }
    # containerd refuses a group where neither a user id nor a user name is given.
    ids = _user(security.run_as_user, security.run_as_group)
    if security.run_as_group is not None and security.run_as_username:
        ids["run_as_group"] = {"value": security.run_as_group}
    return context | ids


def seccomp(profile: str) -> dict[str, Any]:
    """A SecurityProfile from RuntimeDefault, Unconfined or Localhost/<profile>."""
    kind, _, path = profile.partition("/")
    if kind == "Localhost":
        return {"profile_type": _LOCALHOST, "localhost_ref": path}
    return {"profile_type": _RUNTIME_DEFAULT if kind == "RuntimeDefault" else _UNCONFINED}


def resources(wanted: Resources) -> dict[str, int]:
    """LinuxContainerResources; zero means that nothing is said about it."""
    return {
        "cpu_period": wanted.cpu_period_us if wanted.cpu_quota_us else 0,
        "cpu_quota": wanted.cpu_quota_us,
        "cpu_shares": wanted.cpu_shares,
        "memory_limit_in_bytes": wanted.memory_limit_bytes,
        "oom_score_adj": wanted.oom_score_adj,
    }


def auth(credentials: Credentials | None) -> dict[str, str]:
    """An AuthConfig."""
    if credentials is None:
        return {}
    return {
        "username": credentials.username,
        "password": credentials.password,
        "identity_token": credentials.identity_token,
    }


def sandbox(status: Any) -> Sandbox:
    """From a PodSandboxStatus."""
    ips = [status.network.ip, *(each.ip for each in status.network.additional_ips)]
    return Sandbox(
        id=status.id,
        namespace=status.metadata.namespace,
        name=status.metadata.name,
        uid=status.metadata.uid,
        attempt=status.metadata.attempt,
        ready=status.state == _READY,
        created_at=moment(status.created_at),
        ips=tuple(ip for ip in ips if ip),
        labels=dict(status.labels),
        annotations=dict(status.annotations),
    )


def state(number: int) -> State:
    """A ContainerState."""
    return _STATES.get(number, State.UNKNOWN)


def container(status: Any, sandbox_id: str) -> Container:
    """From a ContainerStatus, which does not name its sandbox."""
    annotations = dict(status.annotations)
    asked = annotations.pop(ASKED_IMAGE, "")
    return Container(
        id=status.id,
        sandbox_id=sandbox_id,
        name=status.metadata.name,
        attempt=status.metadata.attempt,
        state=state(status.state),
        # An image asked for by its id is better shown by its name.
        image=status.image.image if not asked or asked.startswith("sha256:") else asked,
        image_ref=status.image_ref,
        created_at=moment(status.created_at),
        started_at=_optional_moment(status.started_at),
        finished_at=_optional_moment(status.finished_at),
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        labels=dict(status.labels),
        annotations=annotations,
    )


def image(found: Any) -> Image:
    """From CRI's Image."""
    return Image(
        id=found.id,
        tags=tuple(found.repo_tags),
        digests=tuple(found.repo_digests),
        size_bytes=found.size,
        uid=found.uid.value if found.HasField("uid") else None,
        username=found.username,
        pinned=found.pinned,
    )


def usage(stats: Any) -> Usage:
    """From ContainerStats."""
    return Usage(
        container_id=stats.attributes.id,
        cpu_total_ns=stats.cpu.usage_core_nano_seconds.value,
        memory_working_set_bytes=stats.memory.working_set_bytes.value,
        disk_bytes=stats.writable_layer.used_bytes.value,
    )
