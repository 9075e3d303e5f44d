"""Drivers beside real containers: what they prepare is what containers see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.node.volumes.mounting import mounts_below
from sampan.schema import api
from tests.fakes.drivers import Beside, CsiDriver, DevicePlugin, DraDriver
from tests.node.pods.cluster import Cluster

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

DRIVER = "gpu.sampan-test.example.com"
# Where CDI files are on every node: those of this test are named after its claims' uids.
CDI = Path("/var/run/cdi")


@pytest.fixture
def beside() -> Iterator[Beside]:
    with Beside() as made:
        yield made


def test_a_container_gets_the_devices_of_its_claim(cluster: Cluster, beside: Beside, tmp_path: Path) -> None:
    (tmp_path / "library").write_text("of the driver\n")
    edits = {
        "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero"}],
        "mounts": [{"hostPath": str(tmp_path), "containerPath": "/usr/lib/gpu", "options": ["ro", "rbind"]}],
    }
    driver = DraDriver(cluster.root / "nodes" / "node-1", CDI, DRIVER, edits=edits)
    beside.run(driver.start())
    try:
        pool = {"name": "node-1", "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": DRIVER, "nodeName": "node-1", "pool": pool, "devices": [{"name": "gpu-0"}]}
        cluster.make(api.ResourceSlice, {"metadata": {"name": "gpus"}, "spec": spec})
        cluster.make(api.DeviceClass, {"metadata": {"name": "gpu"}, "spec": {}})
        wanted = {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}
        cluster.make(
            api.ResourceClaimTemplate, {"metadata": {"name": "gpu"}, "spec": {"spec": {"devices": wanted}}}
        )
        script = (
            "head -c 3 /dev/gpu0 | wc -c; cat /usr/lib/gpu/library; echo $CDI $GPU_ONE; "
            "touch /usr/lib/gpu/x 2>/dev/null || echo read-only"
        )
        said = cluster.output(
            script,
            container={"resources": {"claims": [{"name": "gpu"}]}},
            resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "gpu"}],
        )
        claim = driver.calls[0][1]
        assert said.splitlines() == ["3", "of the driver", f"yes {claim}", "read-only"]
        cluster.until(lambda: ("unprepare", claim) in driver.calls, "the claim is unprepared")
        assert not [path for path in CDI.iterdir() if DRIVER in path.read_text()]
    finally:
        beside.run(driver.stop())


def test_a_container_gets_the_devices_of_a_plugin(cluster: Cluster, beside: Beside) -> None:
    resource = "example.com/cam"
    plugin = DevicePlugin(cluster.root / "nodes" / "node-1" / "device-plugins", resource, {"a": True})
    beside.run(plugin.start())
    try:
        said = cluster.output(
            "echo $CAM; ls -l /dev/cam-a | cut -c1; ls -d /opt/cam",
            container={"resources": {"limits": {resource: "1"}}},
        )
        assert said.splitlines() == ["a", "c", "/opt/cam"]
    finally:
        beside.run(plugin.stop())


def test_a_container_mounts_the_volume_of_a_csi_driver(cluster: Cluster, beside: Beside) -> None:
    name, root = "disk.sampan-test.example.com", cluster.root / "nodes" / "node-1"
    driver = CsiDriver(root, name, mounts=True, topology={f"topology.{name}/zone": "z1"}, most=5)
    cluster.make(api.CSIDriver, {"metadata": {"name": name}, "spec": {"attachRequired": False}})
    beside.run(driver.start())
    try:
        cluster.until(lambda: driver.registrar.told == [(True, "")], "the driver is registered")
        csi_node = cluster.run(cluster.client.get(api.CSINode, "node-1"))
        assert [(each.name, each.nodeID) for each in csi_node.spec.drivers] == [(name, "id-of-node-1")]
        source = {"driver": name, "volumeHandle": "disk-1"}
        modes, size = ["ReadWriteOnce"], {"storage": "1Gi"}
        spec = {"csi": source, "accessModes": modes, "capacity": size, "storageClassName": ""}
        cluster.make(api.PersistentVolume, {"metadata": {"name": "disk-1"}, "spec": spec})
        wanted = {"accessModes": modes, "resources": {"requests": size}, "storageClassName": ""}
        cluster.make(
            api.PersistentVolumeClaim,
            {"metadata": {"name": "disk"}, "spec": {**wanted, "volumeName": "disk-1"}},
        )
        said = cluster.output(
            "cat /data/published; grep ' /data ' /proc/mounts | cut -d' ' -f3; touch /data/more; ls /data",
            container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}],
        )
        assert said.splitlines() == ["disk-1", "tmpfs", "more", "published"]
        cluster.until(lambda: ("unstage", "disk-1") in driver.calls, "the volume is unstaged")
        assert [what for what, _ in driver.calls] == ["stage", "publish", "unpublish", "unstage"]
        assert not [point for point in mounts_below(root / "pods") if "kubernetes.io~csi" in str(point)]
    finally:
        beside.run(driver.stop())
