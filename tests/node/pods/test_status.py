"""What the API says of a pod: statuses, conditions, messages, images."""

from __future__ import annotations

import pytest

from sampan.node.images.builtin import BUSYBOX, PAUSE
from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster, condition_of, ended, status_of

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@pytest.mark.conformance("Pods should get a host IP")
def test_the_status_of_a_running_pod(cluster: Cluster) -> None:
    pod = cluster.pod(container={"resources": {"requests": {"cpu": "10m"}}})
    running = pod.ready()
    status = running.status
    node = cluster.run(cluster.client.get(api.Node, "node-1"))
    node_ip = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    assert status.qosClass == "Burstable"
    assert (status.hostIP, [each.ip for each in status.hostIPs]) == (node_ip, [node_ip])
    assert [each.ip for each in status.podIPs] == [status.podIP]
    assert status.startTime is not None
    assert status.observedGeneration == running.metadata.generation == 1
    [container] = status.containerStatuses
    assert (container.name, container.image, container.restartCount) == ("main", BUSYBOX, 0)
    assert (container.ready, container.started) == (True, True)
    assert (container.containerID or "").startswith("containerd://")
    assert "sha256:" in container.imageID
    assert container.state is not None and container.state.running is not None
    started_at = container.state.running.startedAt
    assert started_at is not None and started_at >= status.startTime
    assert container.lastState is None or container.lastState == api.ContainerState()


def test_conditions_lose_their_reasons_when_they_become_true(cluster: Cluster) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    pod = cluster.pod("sleep 0.3; touch /tmp/ready; sleep 1000", container={"readinessProbe": probe})
    unready = pod.until(
        lambda p: condition_of(p, "Ready").status == "False" and p.status.phase == "Running", "unready"
    )
    for kind in ("Ready", "ContainersReady"):
        condition = condition_of(unready, kind)
        assert condition.reason == "ContainersNotReady"
        assert condition.message == "containers with unready status: [main]"
    ready = pod.ready()
    assert {c.type for c in ready.status.conditions} == set(CONDITIONS)
    for kind in CONDITIONS:
        condition = condition_of(ready, kind)
        assert (condition.status, condition.reason, condition.message) == ("True", None, None), kind
        assert condition.lastTransitionTime is not None
        assert condition.observedGeneration == 1


def test_readiness_gates_are_waited_for(cluster: Cluster) -> None:
    pod = cluster.pod(readinessGates=[{"conditionType": "example.com/gate"}])
    waiting = pod.until(lambda p: condition_of(p, "ContainersReady").status == "True", "up")
    ready = condition_of(waiting, "Ready")
    assert (ready.status, ready.reason) == ("False", "ReadinessGatesNotReady")
    assert ready.message == 'corresponding condition of pod readiness gate "example.com/gate" does not exist.'
    for value in ("True", "False"):
        gate = {"type": "example.com/gate", "status": value}
        cluster.patch(api.Pod, pod.name, {"status": {"conditions": [gate]}}, "status")
        found = pod.until(lambda p, v=value: condition_of(p, "Ready").status == v, value)  # type: ignore[misc]
        assert condition_of(found, "example.com/gate").status == value


@pytest.mark.conformance(
    "Container Runtime blackbox test on terminated container should report termination "
    "message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set"
)
@pytest.mark.conformance(
    "Container Runtime blackbox test on terminated container should report termination "
    "message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set"
)
@pytest.mark.conformance(
    "Container Runtime blackbox test on terminated container should report termination "
    "message from log output if TerminationMessagePolicy FallbackToLogsOnError is set"
)
@pytest.mark.conformance(
    "Container Runtime blackbox test on terminated container should report termination "
    "message if TerminationMessagePath is set as non-root user and at a non-default path"
)
@pytest.mark.parametrize(
    ("script", "container", "expected"),
    [
        ("echo -n DONE > /dev/termination-log", {}, "DONE"),
        ("echo -n OWN > /x/y", {"terminationMessagePath": "/x/y"}, "OWN"),
        (
            "echo first; echo last; exit 1",
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "first\nlast\n",
        ),
        ("echo nothing", {"terminationMessagePolicy": "FallbackToLogsOnError"}, None),
        (
            "echo log; echo -n OK > /dev/termination-log",
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "OK",
        ),
        (
            "echo log; echo -n FILE > /dev/termination-log; exit 1",
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "FILE",
        ),
        (
            "echo -n ME > /dev/own-log",
            {"terminationMessagePath": "/dev/own-log", "securityContext": {"runAsUser": 1000}},
            "ME",
        ),
    ],
)
def test_last_words(
    cluster: Cluster, script: str, container: dict[str, object], expected: str | None
) -> None:
    assert ended(cluster.pod(script, container=container).over()).message == expected


def test_patching_the_status_is_not_undone(cluster: Cluster) -> None:
    pod = cluster.pod()
    pod.ready()
    mark = {"type": "example.com/mark", "status": "True", "message": "set by somebody else"}
    cluster.patch(api.Pod, pod.name, {"status": {"conditions": [mark]}}, "status")
    cluster.patch(api.Pod, pod.name, {"spec": {"activeDeadlineSeconds": 600}})
    seen = pod.until(lambda p: p.status.observedGeneration == 2, "observed again")
    assert condition_of(seen, "example.com/mark").message == "set by somebody else"
    assert condition_of(seen, "Ready").status == "True"


@pytest.mark.conformance("Kubelet when scheduling a busybox command in a pod should print the output to logs")
def test_kubectl_reads_logs_and_runs_commands(cluster: Cluster) -> None:
    pod = cluster.pod("echo out; echo err >&2; export MARK=1; sleep 1000")
    pod.ready()
    pod.says("out")
    assert sorted(cluster.kubectl("logs", "-n", NAMESPACE, pod.name).split()) == ["err", "out"]
    assert pod.exec("hostname; tr '\\0' ' ' < /proc/1/cmdline").splitlines()[0] == pod.name
    failed = cluster.kubectl.run("exec", "-n", NAMESPACE, pod.name, "--", "sh", "-c", "exit 7")
    assert failed.returncode == 7


# --- images -----------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_pulled(cluster: Cluster) -> None:
    image = "127.0.0.1:1/none:1"
    pod = cluster.pod(container={"image": image})
    assert image in pod.waits("ErrImagePull")
    message = pod.waits("ImagePullBackOff")
    assert message.startswith(f'Back-off pulling image "{image}": ErrImagePull: ')
    pod.told("Pulling", f'Pulling image "{image}"')
    pod.told("Failed", f'Failed to pull image "{image}": ')
    pod.told("Failed", "Error: ErrImagePull")
    pod.told("BackOff", f'Back-off pulling image "{image}"')
    assert pod.get().status.phase == "Pending"
    # A pod's image may be mended in place.
    cluster.patch(api.Pod, pod.name, {"spec": {"containers": [{"name": "main", "image": BUSYBOX}]}})
    running = pod.ready()
    assert status_of(running).image == BUSYBOX


def test_an_image_that_is_never_pulled(cluster: Cluster) -> None:
    pod = cluster.pod(container={"image": "sampan.local/absent:1", "imagePullPolicy": "Never"})
    message = pod.waits("ErrImageNeverPull")
    assert message == 'Container image "sampan.local/absent:1" is not present with pull policy of Never'
    pod.told("ErrImageNeverPull", message)


def test_an_image_name_that_is_none(cluster: Cluster) -> None:
    pod = cluster.pod(container={"image": "Not An Image"})
    assert "Not An Image" in pod.waits("InvalidImageName")


def test_the_events_of_a_start(cluster: Cluster) -> None:
    pod = cluster.pod()
    pod.told("Started")
    pod.told("Scheduled")
    told = pod.events()
    # The scheduler and the node each tell in their own time: only the node's are in order.
    assert [reason for reason, _ in told if reason != "Scheduled"] == ["Pulled", "Created", "Started"]
    assert len(told) == 4
    assert "already present on machine" in dict(told)["Pulled"]


@pytest.mark.conformance(
    "Containers should be able to override the image's default arguments (container cmd) "
)
@pytest.mark.conformance(
    "Containers should be able to override the image's default command (container entrypoint)"
)
@pytest.mark.conformance("Containers should be able to override the image's default command and arguments")
@pytest.mark.conformance("Containers should use the image defaults if command and args are blank")
def test_what_the_image_says_runs_by_default(cluster: Cluster) -> None:
    pause = cluster.pod(container={"image": PAUSE, "command": []})
    shell = cluster.pod(container={"command": []})
    told = cluster.pod(container={"command": [], "args": ["echo", "only args"]})
    entry = cluster.pod(container={"command": ["echo", "the", "entry"]})
    both = cluster.pod(container={"command": ["echo", "command"], "args": ["and", "args"]})
    pause.ready()
    for pod, said in ((entry, "the entry"), (both, "command and args")):
        assert pod.over().status.phase == "Succeeded"
        assert pod.log() == said
    assert shell.over().status.phase == "Succeeded"
    assert told.over().status.phase == "Succeeded"
    assert told.log() == "only args"
