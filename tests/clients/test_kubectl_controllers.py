"""kubectl and ReplicationControllers, which it treats apart, and pods that it replaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sampan.schema import api
from sampan.testing import Cluster
from tests.kubectl import Kubectl

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

CONTROLLER = """
apiVersion: v1
kind: ReplicationController
metadata:
  name: web
spec:
  replicas: 2
  selector: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers: [{name: main, image: "web:1", ports: [{containerPort: 6379}]}]
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(simulated_clock=False) as made:
        yield made


@pytest.fixture
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    made = Kubectl(cluster.kubeconfig)
    made("create", "-f", "-", stdin=CONTROLLER)
    ready = "--for=jsonpath={.status.readyReplicas}=2"
    made("wait", ready, "rc/web", "--timeout=20s")
    yield made
    made("delete", "rc,services", "-l", "app=web", "--timeout=30s")
    made("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=30s")


@pytest.mark.conformance(
    "Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and "
    "pods"
)
def test_describe(kubectl: Kubectl) -> None:
    told = " ".join(kubectl("describe", "rc", "web").split())
    for words in (
        "Name: web",
        "Selector: app=web",
        "2 current / 2 desired",
        "Image: web:1",
    ):
        assert words in told, told
    assert "SuccessfulCreate" in told
    pod = " ".join(kubectl("describe", "pods", "-l", "app=web").split())
    for words in (
        "Controlled By: ReplicationController/web",
        "Status: Running",
        "Node: node-1",
    ):
        assert words in pod, pod
    assert "node-1" in kubectl("describe", "node", "node-1")
    assert "kubernetes.io/metadata.name=default" in kubectl("describe", "namespace", "default")


@pytest.mark.conformance("Kubectl client Kubectl expose should create services for rc")
def test_expose(kubectl: Kubectl, cluster: Cluster) -> None:
    def endpoints(name: str) -> list[int | None]:
        found = cluster.client.list(api.EndpointSlice, "default", labels=f"kubernetes.io/service-name={name}")
        return [p.port for one in found for _ in one.endpoints for p in one.ports]

    kubectl("expose", "rc", "web", "--name=rm2", "--port=1234", "--target-port=6379")
    cluster.wait_until(lambda: endpoints("rm2") == [6379] * 2)
    kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379")
    cluster.wait_until(lambda: endpoints("rm3") == [6379] * 2)
    kubectl("delete", "service", "rm2", "rm3")


@pytest.mark.conformance("Kubectl client Kubectl label should update the label on a resource")
@pytest.mark.conformance("Kubectl client Kubectl patch should add annotations for pods in rc")
def test_label_and_patch_pods(kubectl: Kubectl) -> None:
    names = kubectl("get", "pods", "-l", "app=web", "-o", "name").split()
    kubectl("label", names[0], "testing-label=testing-label-value")
    assert kubectl("get", names[0], "-L", "testing-label").count("testing-label-value") == 1
    kubectl("label", names[0], "testing-label-")
    assert "testing-label-value" not in kubectl("get", names[0], "-L", "testing-label")
    for name in names:
        kubectl("patch", name, "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    items = kubectl.json("get", "pods", "-l", "app=web")["items"]
    assert [item["metadata"]["annotations"]["x"] for item in items] == ["y", "y"]


@pytest.mark.conformance("Kubectl client Kubectl replace should update a single-container pod's image")
@pytest.mark.conformance(
    "Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods"
)
def test_a_pod_s_image(kubectl: Kubectl) -> None:
    kubectl("run", "one", "--image=first:1", "--labels=run=one")
    patch = '{"spec":{"containers":[{"name":"one","image":"second:1"}]}}'

    def image() -> str:
        return kubectl("get", "pod", "one", "-o", "jsonpath={.spec.containers[0].image}")

    assert "patched" in kubectl("patch", "pod", "one", "-p", patch, "--dry-run=server")
    assert image() == "first:1"
    whole = kubectl("get", "pod", "one", "-o", "json").replace("first:1", "second:1")
    kubectl("replace", "-f", "-", stdin=whole)
    assert image() == "second:1"
    kubectl("delete", "pod", "one", "--now", "--timeout=30s")


@pytest.mark.conformance("Kubectl client Update Demo should create and stop a replication controller")
@pytest.mark.conformance("Kubectl client Update Demo should scale a replication controller")
def test_scale(kubectl: Kubectl, cluster: Cluster) -> None:
    def pods() -> int:
        found = cluster.client.list(api.Pod, "default", labels="app=web")
        return sum(p.status.phase == "Running" and p.metadata.deletionTimestamp is None for p in found)

    for replicas in (1, 2):
        kubectl("scale", "rc", "web", f"--replicas={replicas}", "--timeout=30s")
        cluster.wait_until(lambda replicas=replicas: pods() == replicas)  # type: ignore[misc]
    kubectl("delete", "rc", "web", "--timeout=30s")
    cluster.wait_until(lambda: pods() == 0)
