"""Claims on a real node: directories made, mounted, shared, kept and removed."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]


@pytest.fixture
def claims(cluster: Cluster) -> Iterator[list[str]]:
    """The names of the claims that a test makes; they are deleted when the pods are."""
    made: list[str] = []
    yield made
    cluster.clean()
    for name in made:
        if cluster.has(api.PersistentVolumeClaim, name):
            cluster.run(cluster.client.delete(api.PersistentVolumeClaim, name, NAMESPACE))


def claim(cluster: Cluster, made: list[str], name: str, **spec: Any) -> None:
    resources = {"requests": {"storage": "1Mi"}}
    whole = {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec}
    cluster.make(api.PersistentVolumeClaim, {"metadata": {"name": name}, "spec": whole})
    made.append(name)


def volume_of(cluster: Cluster, name: str) -> api.PersistentVolume:
    found = cluster.run(cluster.client.get(api.PersistentVolumeClaim, name, NAMESPACE))
    return cluster.run(cluster.client.get(api.PersistentVolume, found.spec.volumeName or ""))


def mounting(name: str, **how: Any) -> dict[str, Any]:
    """The parts of a pod that mount a claim at /data."""
    return {
        "container": {"volumeMounts": [{"name": "v", "mountPath": "/data", **how}]},
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}],
    }


def test_what_a_pod_writes_the_next_one_reads_until_the_claim_goes(
    cluster: Cluster, claims: list[str]
) -> None:
    claim(cluster, claims, "kept")
    writer = "mkdir /data/sub; echo one > /data/sub/file; stat -c '%a %u:%g' /data"
    assert cluster.output(writer, **mounting("kept")) == "777 0:0"
    volume = volume_of(cluster, "kept")
    assert volume.spec.local is not None
    directory = Path(volume.spec.local.path)
    assert directory.parent == cluster.root / "nodes" / "node-1" / "local-path"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o777
    assert cluster.output("cat /data/file", **mounting("kept", subPath="sub")) == "one"
    refused = cluster.output("touch /data/x 2>&1 || true", **mounting("kept", readOnly=True))
    assert "Read-only file system" in refused
    user = {"runAsUser": 1234, "runAsGroup": 1234}
    assert (
        cluster.output("echo two > /data/two; cat /data/two", securityContext=user, **mounting("kept"))
        == "two"
    )
    cluster.clean()
    cluster.run(cluster.client.delete(api.PersistentVolumeClaim, "kept", NAMESPACE))
    cluster.until(lambda: not cluster.has(api.PersistentVolumeClaim, "kept"), "the claim is gone")
    cluster.until(lambda: not directory.exists(), "the data is removed")
    name = volume.metadata.name or ""
    cluster.until(lambda: not cluster.has(api.PersistentVolume, name), "the volume is gone")


def test_a_volume_belongs_to_the_pods_group(cluster: Cluster, claims: list[str]) -> None:
    claim(cluster, claims, "grouped")
    cluster.output("mkdir /data/d; echo x > /data/d/f; chmod 600 /data/d/f", **mounting("grouped"))
    group = {"runAsUser": 1234, "runAsGroup": 1234, "fsGroup": 4321}
    script = "stat -c '%a %g' /data /data/d /data/d/f; echo more >> /data/d/f; cat /data/d/f"
    said = cluster.output(script, securityContext=group, **mounting("grouped"))
    assert said.splitlines() == ["2777 4321", "2775 4321", "660 4321", "x", "more"]


def test_data_that_is_to_be_retained_is(cluster: Cluster, claims: list[str]) -> None:
    claim(cluster, claims, "precious")
    cluster.output("echo gold > /data/file", **mounting("precious"))
    volume = volume_of(cluster, "precious")
    name = volume.metadata.name or ""
    retain = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    cluster.run(cluster.client.patch(api.PersistentVolume, name, "", retain))
    cluster.clean()
    cluster.run(cluster.client.delete(api.PersistentVolumeClaim, "precious", NAMESPACE))

    def released() -> bool:
        return cluster.run(cluster.client.get(api.PersistentVolume, name)).status.phase == "Released"

    cluster.until(released, "the volume is Released")
    cluster.run(cluster.client.delete(api.PersistentVolume, name))
    cluster.until(lambda: not cluster.has(api.PersistentVolume, name), "the volume is gone")
    assert volume.spec.local is not None
    assert (Path(volume.spec.local.path) / "file").read_text() == "gold\n"


def test_an_ephemeral_volume_belongs_to_its_pod(cluster: Cluster) -> None:
    resources = {"requests": {"storage": "1Mi"}}
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}
    pod = cluster.pod(
        "echo scratch > /data/file; cat /data/file; sleep 1000",
        container={"volumeMounts": [{"name": "v", "mountPath": "/data"}]},
        volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}],
    )
    pod.says("scratch")
    directory = volume_of(cluster, f"{pod.name}-v").spec.local
    assert directory is not None and Path(directory.path, "file").exists()
    pod.delete(grace_s=0)
    cluster.until(lambda: not cluster.has(api.PersistentVolumeClaim, f"{pod.name}-v"), "the claim is gone")
    cluster.until(lambda: not Path(directory.path).exists(), "the data is removed")


@pytest.mark.parametrize("kind", ["hostPath", "local"])
def test_a_volume_that_somebody_made_by_hand(cluster: Cluster, claims: list[str], kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sp-pv-") as place:
        Path(place, "file").write_text("by hand\n")
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        name = f"manual-{kind.lower()}"
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "manual",
            kind: {"path": place},
            "nodeAffinity": affinity,
        }
        cluster.make(api.PersistentVolume, {"metadata": {"name": name}, "spec": spec})
        claim(cluster, claims, name, storageClassName="manual")
        assert cluster.output("cat /data/file", **mounting(name)) == "by hand"
        cluster.clean()
        cluster.run(cluster.client.delete(api.PersistentVolumeClaim, name, NAMESPACE))
        cluster.run(cluster.client.delete(api.PersistentVolume, name))
        cluster.until(lambda: not cluster.has(api.PersistentVolume, name), "the volume is gone")


def test_a_block_volume_is_refused_with_the_reason(cluster: Cluster, claims: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="sp-pv-") as place:
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "manual",
            "volumeMode": "Block",
            "hostPath": {"path": place},
        }
        cluster.make(api.PersistentVolume, {"metadata": {"name": "raw"}, "spec": spec})
        claim(cluster, claims, "raw", storageClassName="manual", volumeMode="Block")
        pod = cluster.pod(
            container={"volumeDevices": [{"name": "v", "devicePath": "/dev/xvda"}]},
            volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "raw"}}],
        )
        told = pod.told("FailedMount", "volumeMode Block")
        assert f"error processing PVC {NAMESPACE}/raw" in told
        cluster.clean()
        cluster.run(cluster.client.delete(api.PersistentVolume, "raw"))
