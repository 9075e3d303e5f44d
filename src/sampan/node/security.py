"""The security context of a container: the pod's, overridden by its own. Pure."""

from __future__ import annotations

from sampan.node.errors import ConfigError
from sampan.node.names import key_of
from sampan.node.runtimes.runtime import Image, Security
from sampan.schema import api

UNCONFINED = "Unconfined"


def container_security(pod: api.Pod, container: api.Container, image: Image | None) -> Security:
    """What the runtime must enforce. Raises ConfigError with kubelet's words for a broken runAsNonRoot."""
    ours = pod.spec.securityContext or api.PodSecurityContext()
    own = container.securityContext or api.SecurityContext()
    user = own.runAsUser if own.runAsUser is not None else ours.runAsUser
    group = own.runAsGroup if own.runAsGroup is not None else ours.runAsGroup
    non_root = own.runAsNonRoot if own.runAsNonRoot is not None else ours.runAsNonRoot
    if non_root:
        _check_non_root(pod, container, user, image)
    username = ""
    if user is None and image is not None:
        user = image.uid
        username = image.username if image.uid is None else ""
    privileged = bool(own.privileged)
    capabilities = own.capabilities or api.Capabilities()
    return Security(
        run_as_user=user,
        run_as_group=group if user is not None or username else None,
        run_as_username=username,
        supplemental_groups=supplemental_groups(pod),
        privileged=privileged,
        readonly_rootfs=bool(own.readOnlyRootFilesystem),
        no_new_privileges=own.allowPrivilegeEscalation is False,
        add_capabilities=tuple(capabilities.add),
        drop_capabilities=tuple(capabilities.drop),
        seccomp=_seccomp(own.seccompProfile or ours.seccompProfile, privileged),
    )


def supplemental_groups(pod: api.Pod) -> tuple[int, ...]:
    """The pod's extra groups: fsGroup is one of them."""
    ours = pod.spec.securityContext
    if ours is None:
        return ()
    groups = [*ours.supplementalGroups]
    if ours.fsGroup is not None and ours.fsGroup not in groups:
        groups.append(ours.fsGroup)
    return tuple(groups)


def _seccomp(profile: api.SeccompProfile | None, privileged: bool) -> str:
    if profile is None or privileged:
        return UNCONFINED
    if profile.type == "Localhost":
        return f"Localhost/{profile.localhostProfile or ''}"
    return profile.type


def _check_non_root(pod: api.Pod, container: api.Container, user: int | None, image: Image | None) -> None:
    where = f'(pod: "{key_of(pod).long}", container: {container.name})'
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image is not None and image.uid is None and image.username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )
    if image is None or not image.uid:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
