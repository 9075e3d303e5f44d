"""A definition and its objects through the real kubectl, from explain to the garbage collector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.schema import api
from sampan.testing import Cluster
from tests.api.test_customresources import definition, tab
from tests.kubectl import Kubectl, binaries

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]


def written(path: Path, document: dict[str, Any]) -> str:
    path.write_bytes(msgspec.json.encode(document))
    return str(path)


@pytest.mark.parametrize("version", sorted(binaries()) or ["newest"])
def test_the_life_of_a_custom_kind(version: str, tmp_path: Path) -> None:
    with Cluster() as cluster:
        kubectl = Kubectl(cluster.kubeconfig, binaries().get(version, ""))
        crd, object_file = written(tmp_path / "crd.json", definition()), written(tmp_path / "a.json", tab())
        kubectl("apply", "-f", crd)
        kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=10s")
        assert "cronSpec\t<string> -required-" in kubectl("explain", "crontabs.spec")
        assert "created" in kubectl("apply", "-f", object_file)
        assert "unchanged" in kubectl("apply", "-f", object_file)
        assert kubectl("get", "ct").split()[:3] == ["NAME", "SCHEDULE", "AGE"]
        assert "crontab.stable.example.com/a" in kubectl("get", "all")
        kubectl("apply", "--server-side", "--force-conflicts", "-f", object_file)
        kubectl("scale", "ct/a", "--replicas=3")
        assert "Replicas:   3" in kubectl("describe", "ct", "a")
        refused = kubectl.run("patch", "ct", "a", "--type=merge", "-p", '{"spec":{"replicas":11}}')
        assert "spec.replicas in body should be less than or equal to 10" in refused.stderr
        odd = written(tmp_path / "odd.json", tab("b", owner=1))
        assert 'unknown field "spec.owner"' in kubectl.run("apply", "-f", odd).stderr
        _collect(cluster, kubectl)
        kubectl("create", "namespace", "other")
        kubectl("apply", "-n", "other", "-f", object_file)
        kubectl("delete", "namespace", "other", "--timeout=30s")
        kubectl("apply", "-f", object_file)
        kubectl("delete", "crd", "crontabs.stable.example.com", "--timeout=30s")
        assert "crontabs" not in kubectl("api-resources", "--api-group=stable.example.com")


def _collect(cluster: Cluster, kubectl: Kubectl) -> None:
    """What a custom resource owns goes with it."""
    owner = kubectl.json("get", "ct", "a")
    kubectl("create", "configmap", "owned")
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": "a",
        "uid": owner["metadata"]["uid"],
    }
    patch = msgspec.json.encode({"metadata": {"ownerReferences": [reference]}}).decode()
    kubectl("patch", "configmap", "owned", "--type=merge", "-p", patch)
    kubectl("delete", "ct", "a")
    cluster.wait_until(
        lambda: "owned" not in {c.metadata.name for c in cluster.client.list(api.ConfigMap, "default")}
    )
