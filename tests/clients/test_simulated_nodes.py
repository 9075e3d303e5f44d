"""kubectl on a cluster whose nodes are simulated by `sampan up`, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.kubectl import Kubectl
from tests.node.sampans import Machine, eventually, sampan_in

USES = '{"cpu": "250m", "memory": "64Mi"}'

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]


def test_logs_and_exec_reach_the_nodes_one_server() -> None:
    with sampan_in(Machine()) as sampan:
        sampan.up("--runtime", "simulated", "--nodes", "3")
        kubectl = Kubectl(sampan.root / "kubeconfig")
        kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
        kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
        pods = kubectl.json("get", "pods")["items"]
        assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2", "node-3"}
        for pod in pods:
            name = pod["metadata"]["name"]
            assert kubectl("logs", name) == "simulated container web\n"
            assert kubectl("exec", name, "--", "hostname").strip() == "simulated: hostname"
        _tops(kubectl)
        _explanations(kubectl)
        # They need no certificate each: thousands of them would take long to make.
        assert not list(Path(sampan.root / "pki").glob("node-*"))
        before = sampan.parts()["nodes"]
        sampan.down()
        sampan.up()
        assert eventually(lambda: sampan.parts()["nodes"] not in (0, before))
        assert len(kubectl.json("get", "pods")["items"]) == 3


def _tops(kubectl: Kubectl) -> None:
    """The metrics API tells what pods use, which here is what their annotation says."""
    patch = {"spec": {"template": {"metadata": {"annotations": {"sampan.dev/simulate": USES}}}}}
    kubectl("patch", "deployment/web", "--type=merge", "-p", msgspec.json.encode(patch).decode())
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    kubectl("wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", "--timeout=60s")

    def shown() -> list[list[str]]:
        done = kubectl.run("top", "pods", "--no-headers", "-l", "app=web")
        rows = [line.split()[1:] for line in done.stdout.splitlines()]
        return rows if done.returncode == 0 and len(rows) == 3 else []

    for cpu, memory in eventually(shown):
        assert memory == "64Mi"
        assert _is_quarter(cpu)
    nodes = [line.split() for line in kubectl("top", "nodes", "--no-headers").splitlines()]
    assert [row[0] for row in nodes] == ["node-1", "node-2", "node-3"]
    assert all(_is_quarter(row[1]) for row in nodes)


def _explanations(kubectl: Kubectl) -> None:
    """Why a pod is where it is, or nowhere, asked of the API server."""
    asks = (
        '{"spec": {"containers": [{"name": "c", "image": "a", "resources": {"requests": {"cpu": "500"}}}]}}'
    )
    kubectl("run", "huge", "--image=a", f"--overrides={asks}")
    kubectl("wait", "--for=condition=Available", "apiservice/v1alpha1.scheduling.sampan.dev", "--timeout=60s")
    told = kubectl.json("get", "podexplanation", "huge")
    assert (told["kind"], told["metadata"]) == ("PodExplanation", {"name": "huge", "namespace": "default"})
    assert told["message"].startswith("0/3 nodes are available: 3 Insufficient cpu.")
    refusals = [node["refusals"] for node in told["nodes"]]
    assert refusals == [[{"plugin": "NodeResourcesFit", "why": "Insufficient cpu"}]] * 3
    assert {change["kind"] for way in told["ways"] for change in way["changes"]} == {"resource"}
    (web, *_) = kubectl.json("get", "pods", "-l", "app=web")["items"]
    told = kubectl.json("get", "podexplanation", web["metadata"]["name"])
    assert told["node"] == web["spec"]["nodeName"]
    assert all(node["scores"] and not node["refusals"] for node in told["nodes"])
    missing = kubectl.run("get", "podexplanation", "nobody")
    assert missing.returncode == 1
    assert "NotFound" in missing.stderr
    kubectl("delete", "pod", "huge")


def _is_quarter(cpu: str) -> bool:
    # Two looks at a counter are some microseconds off, and kubectl rounds up.
    return 248 <= int(cpu.removesuffix("m")) <= 253
