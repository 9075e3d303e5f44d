"""From creation to the end: order, restarts, hooks, termination."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api
from tests.node.pods.cluster import (
    Cluster,
    condition_of,
    ended,
    last_ended,
    mounts,
    status_of,
)

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]


@pytest.fixture
def host_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sp-host-") as name:
        yield Path(name)


def shell(name: str, script: str, **more: object) -> dict[str, object]:
    return {"name": name, "image": BUSYBOX, "command": ["sh", "-c", script], **more}


def on_host(path: Path) -> list[dict[str, object]]:
    return [{"name": "host", "hostPath": {"path": str(path)}}]


# --- init containers and sidecars -------------------------------------------------------------------------


@pytest.mark.conformance("InitContainer should invoke init containers on a RestartAlways pod")
@pytest.mark.conformance("InitContainer should invoke init containers on a RestartNever pod")
@pytest.mark.parametrize("policy", ["Never", "Always"])
def test_init_containers_run_one_after_the_other(cluster: Cluster, host_dir: Path, policy: str) -> None:
    note = {"volumeMounts": mounts(host="/host")}
    pod = cluster.pod(
        "echo main >> /host/order; sleep 1000",
        container=note,
        initContainers=[
            shell("one", "sleep 0.2; echo one >> /host/order", **note),
            shell("two", "echo two >> /host/order", **note),
        ],
        restartPolicy=policy,
        volumes=on_host(host_dir),
    )
    waiting = pod.until(lambda p: condition_of(p, "Initialized").status == "False", "initialising")
    assert condition_of(waiting, "Initialized").reason == "ContainersNotInitialized"
    assert pod.waits("PodInitializing") == ""
    running = pod.ready()
    assert (host_dir / "order").read_text().split() == ["one", "two", "main"]
    assert [ended(running, name).reason for name in ("one", "two")] == ["Completed", "Completed"]
    assert all(status_of(running, name).ready for name in ("one", "two"))
    done = condition_of(running, "Initialized")
    assert (done.status, done.reason, done.message) == ("True", None, None)


@pytest.mark.conformance(
    "InitContainer should not start app containers and fail the pod if init containers "
    "fail on a RestartNever pod"
)
def test_a_failed_init_container_fails_a_pod_that_never_restarts(cluster: Cluster) -> None:
    pod = cluster.pod(initContainers=[shell("bad", "exit 7"), shell("next", "true")])
    over = pod.over()
    assert over.status.phase == "Failed"
    assert ended(over, "bad").exitCode == 7
    assert condition_of(over, "Initialized").status == "False"
    assert "[bad next]" in (condition_of(over, "Initialized").message or "")
    state = status_of(over).state
    assert state is not None and state.running is None
    assert status_of(over).containerID is None


@pytest.mark.conformance(
    "InitContainer should not start app containers if init containers fail on a RestartAlways pod"
)
def test_a_failed_init_container_is_run_again_otherwise(cluster: Cluster) -> None:
    pod = cluster.pod(initContainers=[shell("bad", "exit 1")], restartPolicy="Always")
    pod.restarted(1, "bad")
    pod.waits("CrashLoopBackOff", "bad")
    state = status_of(pod.get()).state
    assert state is not None and state.waiting is not None and state.waiting.reason == "PodInitializing"
    assert pod.get().status.phase == "Pending"


def test_sidecars_start_before_and_end_after_the_main_containers(cluster: Cluster, host_dir: Path) -> None:
    note = {"volumeMounts": mounts(host="/host")}
    proxy = "trap 'echo proxy-ends >> /host/order; exit 0' TERM; echo proxy >> /host/order; "
    pod = cluster.pod(
        "echo main >> /host/order; sleep 0.3; echo main-ends >> /host/order",
        container=note,
        initContainers=[
            shell("proxy", proxy + "while :; do sleep 0.05; done", restartPolicy="Always", **note),
            shell("init", "sleep 0.2; echo init >> /host/order", **note),
        ],
        terminationGracePeriodSeconds=10,
        volumes=on_host(host_dir),
    )
    both = pod.until(lambda p: status_of(p, "main").started, "running with its sidecar")
    assert status_of(both, "proxy").started and status_of(both, "proxy").ready
    assert pod.over().status.phase == "Succeeded"
    order = (host_dir / "order").read_text().split()
    assert order == ["proxy", "init", "main", "main-ends", "proxy-ends"]


# --- restarts ---------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Container Runtime blackbox test when starting a container that exits should run with the expected status"
)
@pytest.mark.conformance(
    "Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason"
)
@pytest.mark.parametrize(("code", "phase", "reason"), [(0, "Succeeded", "Completed"), (3, "Failed", "Error")])
def test_a_pod_that_runs_once(cluster: Cluster, code: int, phase: str, reason: str) -> None:
    over = cluster.pod(f"exit {code}").over()
    assert over.status.phase == phase
    how = ended(over)
    assert (how.exitCode, how.reason) == (code, reason)
    assert how.startedAt is not None and how.finishedAt is not None and how.startedAt <= how.finishedAt
    assert (how.containerID or "").startswith("containerd://")
    assert status_of(over).restartCount == 0
    ready = condition_of(over, "Ready")
    assert (ready.status, ready.reason) == ("False", "PodCompleted" if code == 0 else "PodFailed")


@pytest.mark.conformance(
    "Container Runtime blackbox test when starting a container that exits should run with the expected status"
)
@pytest.mark.conformance(
    "Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete"
)
def test_a_crashing_container_is_started_again_after_a_delay(cluster: Cluster) -> None:
    pod = cluster.pod("echo try; exit 5", restartPolicy="Always")
    message = pod.waits("CrashLoopBackOff")
    assert message.startswith("back-off 10s restarting failed container=main pod=")
    waiting = pod.get()
    assert waiting.status.phase == "Running"
    assert last_ended(waiting).exitCode == 5
    assert condition_of(waiting, "Ready").reason == "ContainersNotReady"
    assert condition_of(waiting, "Ready").message == "containers with unready status: [main]"
    pod.told("BackOff", "Back-off restarting failed container main in pod")
    again = pod.restarted(2)
    assert last_ended(again).exitCode == 5
    pod.until(lambda p: "back-off 20s" in str(status_of(p).state), "waiting longer")
    assert pod.log(attempt=2) == "try"
    pod.delete()
    assert pod.history()[-1].metadata.deletionTimestamp is not None


@pytest.mark.conformance(
    "Container Runtime blackbox test when starting a container that exits should run with the expected status"
)
def test_on_failure_restarts_until_it_succeeds(cluster: Cluster) -> None:
    pod = cluster.pod(
        "if [ -e /d/once ]; then exit 0; fi; touch /d/once; exit 9",
        container={"volumeMounts": mounts(d="/d")},
        restartPolicy="OnFailure",
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    over = pod.over()
    assert over.status.phase == "Succeeded"
    assert status_of(over).restartCount == 1
    assert last_ended(over).exitCode == 9
    assert ended(over).exitCode == 0


def test_a_command_that_is_not_there(cluster: Cluster) -> None:
    over = cluster.pod(container={"command": ["/no/such/program"]}).over()
    assert over.status.phase == "Failed"
    assert ended(over).exitCode in (127, 128)
    assert ended(over).reason in ("StartError", "ContainerCannotRun")
    assert "/no/such/program" in (ended(over).message or "")


@pytest.mark.conformance("Pods should allow activeDeadlineSeconds to be updated")
def test_a_deadline_ends_the_pod(cluster: Cluster) -> None:
    pod = cluster.pod(restartPolicy="Always")
    pod.running()
    cluster.patch(api.Pod, pod.name, {"spec": {"activeDeadlineSeconds": 1}})
    over = pod.over()
    assert (over.status.phase, over.status.reason) == ("Failed", "DeadlineExceeded")
    assert over.status.message == "Pod was active on the node longer than the specified deadline"
    gone = pod.until(lambda p: (s := status_of(p).state) is not None and s.terminated, "stopped")
    assert ended(gone).exitCode in (137, 143)


@pytest.mark.conformance("Ephemeral Containers will start an ephemeral container in an existing pod")
def test_an_ephemeral_container_joins_a_running_pod(cluster: Cluster) -> None:
    pod = cluster.pod("sleep 7321")
    pod.ready()
    debugger = {
        "name": "debugger",
        "image": BUSYBOX,
        "command": ["sh", "-c", "ps -o args; echo end"],
        "targetContainerName": "main",
    }
    cluster.patch(api.Pod, pod.name, {"spec": {"ephemeralContainers": [debugger]}}, "ephemeralcontainers")
    pod.says("\nend", "debugger")
    assert "sleep 7321" in pod.log("debugger")
    done = pod.until(lambda p: (s := status_of(p, "debugger").state) is not None and s.terminated, "debugged")
    assert ended(done, "debugger").exitCode == 0
    assert done.status.phase == "Running"
    assert condition_of(done, "Ready").status == "True"


# --- hooks ------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute "
    "poststart exec hook properly"
)
def test_post_start_runs_beside_the_container(cluster: Cluster) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /tmp/hook"]}}}
    pod = cluster.pod(
        "until grep hooked /tmp/hook 2>/dev/null; do sleep 0.05; done; sleep 1000",
        container={"lifecycle": hook},
    )
    pod.ready()
    pod.says("hooked")


def test_a_failing_post_start_kills_the_container(cluster: Cluster) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo broken; exit 4"]}}}
    pod = cluster.pod(container={"lifecycle": hook})
    assert pod.told("FailedPostStartHook") == "PostStartHook failed"
    over = pod.over()
    assert over.status.phase == "Failed"
    assert ended(over).exitCode in (137, 143)


@pytest.mark.conformance(
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute "
    "poststart http hook properly"
)
@pytest.mark.conformance(
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly"
)
@pytest.mark.conformance("PreStop should call prestop when killing a pod")
def test_http_hooks_reach_another_pod(cluster: Cluster) -> None:
    server = cluster.pod(
        "mkdir /www; cd /www; touch start stop; httpd -f -vv -p 8080 2>&1",
        container={"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
    )
    ip = server.ready().status.podIP
    hook = {
        "postStart": {"httpGet": {"host": ip, "port": 8080, "path": "/start"}},
        "preStop": {"httpGet": {"host": ip, "port": 8080, "path": "/stop"}},
    }
    pod = cluster.pod(container={"lifecycle": hook})
    pod.ready()
    server.says("url:/start")
    pod.delete()
    server.says("url:/stop")


# --- the end ----------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly"
)
@pytest.mark.conformance("Pods should be submitted and removed")
def test_a_pod_ends_gracefully(cluster: Cluster, host_dir: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /host/order; sleep 0.3"]}}}
    pod = cluster.pod(
        "trap 'echo term >> /host/order; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        container={"lifecycle": hook, "volumeMounts": mounts(host="/host")},
        terminationGracePeriodSeconds=20,
        volumes=on_host(host_dir),
    )
    pod.says("up")
    pod.delete()
    states = pod.history()
    assert (host_dir / "order").read_text().split() == ["hook", "term"]
    assert states[0].metadata.deletionGracePeriodSeconds == 20
    assert states[0].metadata.deletionTimestamp is not None
    last = states[-1]
    assert ended(last).exitCode == 0
    assert last.status.phase in ("Succeeded", "Failed")
    finished = ended(last).finishedAt
    assert finished is not None and finished < states[0].metadata.deletionTimestamp


def test_who_ignores_term_is_killed_when_its_grace_is_over(cluster: Cluster) -> None:
    pod = cluster.pod(
        "trap 'echo ignored' TERM; echo up; while :; do sleep 0.05; done", terminationGracePeriodSeconds=2
    )
    pod.says("up")
    pod.delete()
    deleted_at = pod.get().metadata.deletionTimestamp
    pod.says("ignored")
    last = pod.history()[-1]
    assert (ended(last).exitCode, ended(last).reason) == (137, "Error")
    finished = ended(last).finishedAt
    assert finished is not None and deleted_at is not None
    # Times in statuses are whole seconds.
    assert abs((finished - deleted_at).total_seconds()) <= 2


def test_a_pod_is_deleted_while_it_starts(cluster: Cluster) -> None:
    pods = [cluster.pod(terminationGracePeriodSeconds=1) for _ in range(4)]
    pods[1].until(lambda p: p.status.startTime, "seen by its node")
    pods[2].until(lambda p: p.status.podIP, "in its sandbox")
    for pod, grace_s in zip(pods, (0, 1, None, 0), strict=True):
        pod.delete(grace_s)
    for pod in pods:
        cluster.until(lambda pod=pod: not cluster.has(api.Pod, pod.name), f"{pod.name} is gone")  # type: ignore[misc]
        cluster.until(lambda pod=pod: not (cluster.pods_directory / pod.uid).exists(), "its files are gone")  # type: ignore[misc]


def test_thirty_pods_at_once(cluster: Cluster) -> None:
    pods = [cluster.pod("echo up; sleep 1000") for _ in range(30)]
    states = [pod.ready() for pod in pods]
    addresses = {state.status.podIP for state in states}
    assert len(addresses) == 30 and None not in addresses
    for pod in pods:
        pod.says("up")
        pod.delete(grace_s=1)
    for pod in pods:
        cluster.until(lambda pod=pod: not cluster.has(api.Pod, pod.name), f"{pod.name} is gone")  # type: ignore[misc]
        cluster.until(lambda pod=pod: not (cluster.pods_directory / pod.uid).exists(), "its files are gone")  # type: ignore[misc]
