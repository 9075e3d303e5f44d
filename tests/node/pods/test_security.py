"""Who a container runs as, what it may do, and how much it may use."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api
from tests.node.pods.cluster import Cluster, ended, lines_of

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

NET_ADMIN, SYS_TIME, CHOWN = 1 << 12, 1 << 25, 1


def secured(**context: Any) -> dict[str, Any]:
    return {"securityContext": context}


def proc_status(cluster: Cluster, **given: Any) -> dict[str, str]:
    """The container's /proc/self/status."""
    log = cluster.output("cat /proc/self/status", **given)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in log.splitlines())}


@pytest.mark.conformance(
    "Security Context should support container.SecurityContext.RunAsUser And "
    "container.SecurityContext.RunAsGroup"
)
@pytest.mark.conformance(
    "Security Context should support pod.Spec.SecurityContext.RunAsUser And "
    "pod.Spec.SecurityContext.RunAsGroup"
)
@pytest.mark.conformance(
    "Security Context When creating a container with runAsUser should run the container with uid 65534"
)
def test_users_and_groups(cluster: Cluster) -> None:
    def who(name: str, **own: Any) -> dict[str, Any]:
        command = ["sh", "-c", "echo $(id -u) $(id -g) $(id -G)"]
        return {"name": name, "image": BUSYBOX, "command": command, "securityContext": own}

    pod = cluster.pod(
        containers=[who("main"), who("own", runAsUser=65534, runAsGroup=2001)],
        securityContext={"runAsUser": 1000, "runAsGroup": 1001, "supplementalGroups": [3000]},
    )
    pod.over()
    assert pod.log("main") == "1000 1001 1001 3000"
    assert pod.log("own") == "65534 2001 2001 3000"


@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        ({"runAsNonRoot": True}, "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "container's runAsUser breaks non-root policy"),
    ],
)
def test_root_is_refused_where_nobody_may_be_root(
    cluster: Cluster, context: dict[str, Any], complaint: str
) -> None:
    pod = cluster.pod(container=secured(**context))
    message = pod.waits("CreateContainerConfigError")
    assert message.startswith(f'{complaint} (pod: "{pod.name}_pods({pod.uid})", container: main)')
    pod.told("Failed", f"Error: {complaint}")


def test_non_root_runs(cluster: Cluster) -> None:
    assert cluster.output("id -u", container=secured(runAsNonRoot=True, runAsUser=1000)) == "1000"


@pytest.mark.conformance(
    "Security Context When creating a pod with readOnlyRootFilesystem should run the "
    "container with writable rootfs when readOnlyRootFilesystem=false"
)
@pytest.mark.conformance(
    "Kubelet when scheduling a read only busybox container should not write to root filesystem"
)
@pytest.mark.parametrize("readonly", [True, False])
def test_the_root_file_system(cluster: Cluster, readonly: bool) -> None:
    script = "touch /new 2>/dev/null && echo written || echo read-only"
    log = cluster.output(script, container=secured(readOnlyRootFilesystem=readonly))
    assert log == ("read-only" if readonly else "written")


def test_capabilities(cluster: Cluster) -> None:
    added = proc_status(cluster, container=secured(capabilities={"add": ["NET_ADMIN"], "drop": ["CHOWN"]}))
    effective = int(added["CapEff"], 16)
    assert effective & NET_ADMIN
    assert not effective & CHOWN
    dropped = proc_status(cluster, container=secured(capabilities={"drop": ["ALL"]}))
    assert int(dropped["CapEff"], 16) == 0


@pytest.mark.conformance(
    "Security Context When creating a pod with privileged should run the container as unprivileged when false"
)
def test_privileged(cluster: Cluster) -> None:
    log = cluster.output(
        "mount -t tmpfs none /mnt 2>/dev/null || { mkdir /m && mount -t tmpfs none /m; }; ls /dev | wc -l",
        container=secured(privileged=True),
    )
    plain = cluster.output(
        "mkdir /m; mount -t tmpfs none /m 2>/dev/null || ls /dev | wc -l", container=secured(privileged=False)
    )
    assert int(log) > int(plain)


@pytest.mark.conformance(
    "Security Context when creating containers with AllowPrivilegeEscalation should not "
    "allow privilege escalation when false"
)
@pytest.mark.parametrize("allowed", [True, False])
def test_privilege_escalation(cluster: Cluster, allowed: bool) -> None:
    context = secured(allowPrivilegeEscalation=allowed, runAsUser=1000)
    assert proc_status(cluster, container=context)["NoNewPrivs"] == ("0" if allowed else "1")


@pytest.mark.parametrize(("profile", "mode"), [("RuntimeDefault", "2"), ("Unconfined", "0")])
def test_seccomp(cluster: Cluster, profile: str, mode: str) -> None:
    assert proc_status(cluster, securityContext={"seccompProfile": {"type": profile}})["Seccomp"] == mode


@pytest.mark.parametrize("shared", [True, False])
def test_the_process_namespace(cluster: Cluster, shared: bool) -> None:
    other = {"name": "other", "image": BUSYBOX, "command": ["sleep", "7654"]}
    main = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", "sleep 0.5; ps -o args; echo; sleep 1000"],
    }
    pod = cluster.pod(containers=[other, main], shareProcessNamespace=shared)
    pod.says("ps -o args")
    assert ("sleep 7654" in pod.log()) is shared
    assert ("/pause" in pod.log()) is shared


@pytest.mark.conformance("Sysctls should support sysctls")
def test_sysctls(cluster: Cluster) -> None:
    log = cluster.output(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        securityContext={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "77"}]},
    )
    assert log == "77"


# --- resources --------------------------------------------------------------------------------------------

CGROUP = (
    "cd /sys/fs/cgroup; for f in cpu/cpu.shares cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes "
    "cpu.weight cpu.max memory.max; do [ -e $f ] && echo $f=$(cat $f); done; true"
)


def test_limits_become_the_cgroups(cluster: Cluster) -> None:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    seen = lines_of(cluster.output(CGROUP, container={"resources": resources}))
    memory = seen.get("memory/memory.limit_in_bytes") or seen["memory.max"]
    assert int(memory) == 64 << 20
    if "cpu/cpu.shares" in seen:
        assert (seen["cpu/cpu.shares"], seen["cpu/cpu.cfs_quota_us"]) == ("256", "50000")
    else:
        assert seen["cpu.max"] == "50000 100000"


def test_too_much_memory_kills(cluster: Cluster) -> None:
    pod = cluster.pod("tail /dev/zero", container={"resources": {"limits": {"memory": "16Mi"}}})
    over = pod.over()
    assert over.status.phase == "Failed"
    assert (ended(over).reason, ended(over).exitCode) == ("OOMKilled", 137)


def test_a_pod_is_resized_in_place(cluster: Cluster) -> None:
    pod = cluster.pod(
        f"{CGROUP}; while :; do sleep 0.2; {CGROUP}; done",
        container={"resources": {"limits": {"cpu": "200m", "memory": "64Mi"}}},
    )
    before = pod.ready()
    assert before.status.qosClass == "Guaranteed"
    more = {"limits": {"cpu": "300m"}, "requests": {"cpu": "300m"}}
    cluster.patch(
        api.Pod, pod.name, {"spec": {"containers": [{"name": "main", "resources": more}]}}, "resize"
    )
    cluster.until(lambda: "30000" in pod.log(), "the cgroup has the new limit")

    def shown(state: api.Pod) -> bool:
        [container] = state.status.containerStatuses
        return container.resources is not None and container.resources.limits["cpu"].text == "300m"

    after = pod.until(shown, "shown with its new resources")
    [old], [new] = before.status.containerStatuses, after.status.containerStatuses
    assert (new.containerID, new.restartCount) == (old.containerID, 0)
