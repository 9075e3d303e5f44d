"""kubectl on a cluster whose nodes are simulated by `sampan up`, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubectl import Kubectl
from tests.node.sampans import Machine, eventually, sampan_in

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
        # They need no certificate each: thousands of them would take long to make.
        assert not list(Path(sampan.root / "pki").glob("node-*"))
        before = sampan.parts()["nodes"]
        sampan.down()
        sampan.up()
        assert eventually(lambda: sampan.parts()["nodes"] not in (0, before))
        assert len(kubectl.json("get", "pods")["items"]) == 3
