"""The checks of the baseline level: what would let a pod take over its node.

Each check looks at a pod's metadata and spec and gives a `Finding`, or None where it is content. Which
check holds
from which version of the standard on, and the words, follow k8s.io/pod-security-admission/policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

Version = tuple[int, int]


class Finding(NamedTuple):
    """Why a check refuses: the thing in two words, and in detail."""

    reason: str
    detail: str


Check = Callable[[Any, Any], Finding | None]

_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_APP_ARMOR_KEY: Final = "container.apparmor.security.beta.kubernetes.io/"
_SELINUX_TYPES: Final = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SELINUX_TYPES_1_31: Final = _SELINUX_TYPES | {"container_engine_t"}
_SYSCTLS_1_0: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
)
_SYSCTLS_1_27: Final = _SYSCTLS_1_0 | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_1_29: Final = _SYSCTLS_1_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_1_32: Final = _SYSCTLS_1_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def containers(spec: Any) -> Iterator[Any]:
    """Every container, in the order in which Kubernetes names them."""
    yield from spec.initContainers
    yield from spec.containers
    yield from spec.ephemeralContainers


def quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def named(bad: list[str]) -> str:
    """`container "a"`, or `containers "a", "b"`."""
    return f"{'container' if len(bad) == 1 else 'containers'} {quoted(bad)}"


def setters(pod_is_bad: bool, bad: list[str]) -> str:
    """Who says it: the pod, containers, or both."""
    return " and ".join([*(["pod"] if pod_is_bad else []), *([named(bad)] if bad else [])])


def security(container: Any) -> Any | None:
    return container.securityContext


def is_user_namespaced(spec: Any) -> bool:
    """Root in such a pod is nobody on the node, so that some checks have no object."""
    return spec.hostUsers is False


def app_armor(metadata: Any, spec: Any) -> Finding | None:
    values: set[str] = set()
    allowed = ("RuntimeDefault", "Localhost")

    def is_bad(context: Any | None) -> bool:
        profile = context.appArmorProfile if context is not None else None
        if profile is None or profile.type in allowed:
            return False
        values.add(profile.type or "")
        return True

    who = setters(is_bad(spec.securityContext), [c.name for c in containers(spec) if is_bad(security(c))])
    texts = [who] if who else []
    for key, value in sorted(metadata.annotations.items()):
        fine = value in ("", "runtime/default") or value.startswith("localhost/")
        if key.startswith(_APP_ARMOR_KEY) and not fine:
            texts.append(f'annotation "{key}"')
            values.add(value)
    if not texts:
        return None
    reason = f"forbidden AppArmor profile{'s' if len(values) > 1 else ''}"
    return Finding(
        reason, f"{' and '.join(texts)} must not set AppArmor profile type to {quoted(sorted(values))}"
    )


def capabilities(_metadata: Any, spec: Any) -> Finding | None:
    bad, added = [], set()
    for container in containers(spec):
        context = security(container)
        if context is None or context.capabilities is None:
            continue
        wrong = {name for name in context.capabilities.add if name not in _CAPABILITIES}
        if wrong:
            bad.append(container.name)
            added |= wrong
    if not bad:
        return None
    return Finding(
        "non-default capabilities",
        f"{named(bad)} must not include {quoted(sorted(added))} in securityContext.capabilities.add",
    )


def host_namespaces(_metadata: Any, spec: Any) -> Finding | None:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, name)]
    return Finding("host namespaces", ", ".join(found)) if found else None


def host_paths(_metadata: Any, spec: Any) -> Finding | None:
    bad = [volume.name for volume in spec.volumes if volume.hostPath is not None]
    if not bad:
        return None
    return Finding("hostPath volumes", f"{'volume' if len(bad) == 1 else 'volumes'} {quoted(bad)}")


def host_ports(_metadata: Any, spec: Any) -> Finding | None:
    bad, ports = [], set()
    for container in containers(spec):
        found = {port.hostPort for port in container.ports if port.hostPort}
        if found:
            bad.append(container.name)
            ports |= found
    if not bad:
        return None
    listed = ", ".join(sorted(map(str, ports)))
    verb = "uses" if len(bad) == 1 else "use"
    return Finding("hostPort", f"{named(bad)} {verb} hostPort{'s' if len(ports) > 1 else ''} {listed}")


def host_probes(_metadata: Any, spec: Any) -> Finding | None:
    bad, hosts = [], set()
    for container in containers(spec):
        found = set(_probed_hosts(container))
        if found:
            bad.append(container.name)
            hosts |= found
    if not bad:
        return None
    bad.sort()
    verb = "uses" if len(bad) == 1 else "use"
    what = f"probe or lifecycle host{'s' if len(hosts) > 1 else ''}"
    return Finding("probe or lifecycle host", f"{named(bad)} {verb} {what} {quoted(sorted(hosts))}")


def _probed_hosts(container: Any) -> Iterator[str]:
    handlers = [container.livenessProbe, container.readinessProbe, container.startupProbe]
    if container.lifecycle is not None:
        handlers += [container.lifecycle.postStart, container.lifecycle.preStop]
    for handler in handlers:
        if handler is None:
            continue
        for action in (handler.httpGet, handler.tcpSocket):
            if action is not None and action.host:
                yield action.host


def privileged(_metadata: Any, spec: Any) -> Finding | None:
    bad = [c.name for c in containers(spec) if (s := security(c)) is not None and s.privileged]
    return (
        Finding("privileged", f"{named(bad)} must not set securityContext.privileged=true") if bad else None
    )


def proc_mount(_metadata: Any, spec: Any) -> Finding | None:
    bad, types = [], set()
    for container in containers(spec):
        context = security(container)
        if context is not None and context.procMount not in (None, "", "Default"):
            bad.append(container.name)
            types.add(context.procMount)
    if not bad:
        return None
    return Finding(
        "procMount", f"{named(bad)} must not set securityContext.procMount to {quoted(sorted(types))}"
    )


def proc_mount_1_35(metadata: Any, spec: Any) -> Finding | None:
    return None if is_user_namespaced(spec) else proc_mount(metadata, spec)


def _selinux(types: frozenset[str]) -> Check:
    def check(_metadata: Any, spec: Any) -> Finding | None:
        wrong_types, others = set(), set()

        def is_bad(context: Any | None) -> bool:
            options = context.seLinuxOptions if context is not None else None
            if options is None:
                return False
            bad = False
            if (options.type or "") not in types:
                wrong_types.add(options.type)
                bad = True
            for name in ("user", "role"):
                if getattr(options, name):
                    others.add(name)
                    bad = True
            return bad

        who = setters(is_bad(spec.securityContext), [c.name for c in containers(spec) if is_bad(security(c))])
        if not who:
            return None
        plural = "s" if len(wrong_types) > 1 else ""
        said = [f"type{plural} {quoted(sorted(wrong_types))}"] if wrong_types else []
        said += [f"{name} may not be set" for name in ("user", "role") if name in others]
        return Finding(
            "seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(said)}"
        )

    return check


def seccomp(_metadata: Any, spec: Any) -> Finding | None:
    values: set[str] = set()

    def is_bad(context: Any | None) -> bool:
        profile = context.seccompProfile if context is not None else None
        if profile is None or profile.type in ("RuntimeDefault", "Localhost"):
            return False
        values.add(profile.type)
        return True

    who = setters(is_bad(spec.securityContext), [c.name for c in containers(spec) if is_bad(security(c))])
    if not who:
        return None
    detail = f"{who} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}"
    return Finding("seccompProfile", detail)


def _sysctls(allowed: frozenset[str]) -> Check:
    def check(_metadata: Any, spec: Any) -> Finding | None:
        context = spec.securityContext
        found = context.sysctls if context is not None else ()
        bad = sorted({sysctl.name for sysctl in found if sysctl.name not in allowed})
        return Finding("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def host_process(_metadata: Any, spec: Any) -> Finding | None:
    def is_bad(context: Any | None) -> bool:
        options = context.windowsOptions if context is not None else None
        return options is not None and bool(options.hostProcess)

    who = setters(is_bad(spec.securityContext), [c.name for c in containers(spec) if is_bad(security(c))])
    if not who:
        return None
    return Finding("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


# Each check's id, and since which versions of the standard it has which form.
CHECKS: Final[tuple[tuple[str, tuple[tuple[Version, Check], ...]], ...]] = (
    ("appArmorProfile", (((1, 0), app_armor),)),
    ("capabilities_baseline", (((1, 0), capabilities),)),
    ("hostNamespaces", (((1, 0), host_namespaces),)),
    ("hostPathVolumes", (((1, 0), host_paths),)),
    ("hostPorts", (((1, 0), host_ports),)),
    ("hostProbesAndHostLifecycle", (((1, 34), host_probes),)),
    ("privileged", (((1, 0), privileged),)),
    ("procMount", (((1, 0), proc_mount), ((1, 35), proc_mount_1_35))),
    ("seLinuxOptions", (((1, 0), _selinux(_SELINUX_TYPES)), ((1, 31), _selinux(_SELINUX_TYPES_1_31)))),
    ("seccompProfile_baseline", (((1, 19), seccomp),)),
    (
        "sysctls",
        (
            ((1, 0), _sysctls(_SYSCTLS_1_0)),
            ((1, 27), _sysctls(_SYSCTLS_1_27)),
            ((1, 29), _sysctls(_SYSCTLS_1_29)),
            ((1, 32), _sysctls(_SYSCTLS_1_32)),
        ),
    ),
    ("windowsHostProcess", (((1, 0), host_process),)),
)
