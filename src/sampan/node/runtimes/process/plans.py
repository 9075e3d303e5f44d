"""What a keeper is told to run, from what a pod asks for."""

from __future__ import annotations

import os
from pathlib import Path

from sampan.node.runtimes.process import addresses, records
from sampan.node.runtimes.runtime import ContainerSpec, SandboxSpec


def plan_of(sandbox: SandboxSpec, spec: ContainerSpec, ip: str, can_mount: bool) -> records.Plan:
    """The plan of a container whose pod has the address `ip`; its mounts are bound only if `can_mount`."""
    environment: dict[str, str] = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
    }
    environment |= {"HOSTNAME": sandbox.hostname, addresses.VARIABLE: ip}
    for mount in spec.mounts:
        environment[addresses.mount_variable(mount.container_path)] = mount.host_path
    environment |= dict(spec.env)
    log_path = (
        str(Path(sandbox.log_directory) / spec.log_path) if spec.log_path and sandbox.log_directory else ""
    )
    security = spec.security
    is_root = os.geteuid() == 0
    return records.Plan(
        argv=(*spec.command, *spec.args),
        env=tuple(environment.items()),
        cwd=spec.working_dir,
        log_path=log_path,
        tty=spec.tty,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        binds=tuple((each.host_path, each.container_path, each.readonly) for each in spec.mounts)
        if can_mount
        else (),
        uid=security.run_as_user if is_root else None,
        gid=security.run_as_group if is_root else None,
        groups=security.supplemental_groups,
    )


def problem(spec: ContainerSpec) -> str:
    """Why the container cannot be made: a sentence, or nothing."""
    if not spec.command:
        return (
            f"The container {spec.name} has no command; the process runtime unpacks no images, so it cannot "
            "know the image's own. Set `command` in the container."
        )
    user = spec.security.run_as_user
    if user is not None and os.geteuid() not in (0, user):
        return (
            f"The container {spec.name} is to run as user {user}, but this node runs as user {os.geteuid()}, "
            "which is not root. Leave runAsUser out, or run the node as root."
        )
    return ""
