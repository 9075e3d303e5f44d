"""CSI volumes on a node: a driver on real sockets is registered, stages, publishes, and takes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.node.drivers import csi
from sampan.node.drivers.csiplan import Volume, attachment_name, best_version, capability, gets_group
from sampan.schema import api, codec
from tests.fakes.drivers import CsiDriver
from tests.unit.node.fakes import container, make_pod, pod_path
from tests.unit.node.test_claims import Bench, _quick, run

__all__ = ["_quick"]
DISK = "disk.example.com"
STORAGE = "/apis/storage.k8s.io/v1"


def with_csi(root: Path, test: Callable[[Bench, CsiDriver], Awaitable[None]], **driver: Any) -> None:
    async def scenario(bench: Bench) -> None:
        disk = CsiDriver(bench.root, DISK, **driver)
        await bench.until(lambda: "/api/v1/nodes/node-1" in bench.api.objects)
        await disk.start()
        try:
            await bench.until(lambda: disk.registrar.told == [(True, "")])
            await test(bench, disk)
        finally:
            await bench.stop_agent()
            await disk.stop()

    run(root, scenario)


def volume(bench: Bench, name: str = "pv", **csi: Any) -> None:
    """A bound claim and its volume, called alike."""
    source = {"driver": DISK, "volumeHandle": f"{name}-handle", "fsType": "ext4", **csi}
    claim = {"namespace": "default", "name": name, "uid": f"{name}-claim"}
    bench.api._put(
        f"/api/v1/persistentvolumes/{name}",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "uid": name},
            "spec": {
                "csi": source,
                "accessModes": ["ReadWriteOnce"],
                "mountOptions": ["noatime"],
                "claimRef": claim,
            },
        },
        "ADDED",
    )
    bench.api._put(
        f"/api/v1/namespaces/default/persistentvolumeclaims/{name}",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default", "uid": f"{name}-claim"},
            "spec": {"volumeName": name},
            "status": {"phase": "Bound"},
        },
        "ADDED",
    )


def attach(bench: Bench, name: str = "pv") -> None:
    attachment = attachment_name(Volume(driver=DISK, handle=f"{name}-handle", spec_name=name), "node-1")
    whole = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": attachment},
        "spec": {"attacher": DISK, "nodeName": "node-1", "source": {"persistentVolumeName": name}},
        "status": {"attached": True, "attachmentMetadata": {"device": "/dev/sdx"}},
    }
    bench.api._put(f"{STORAGE}/volumeattachments/{attachment}", whole, "ADDED")


def csi_driver(bench: Bench, **spec: Any) -> None:
    whole = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DISK}, "spec": spec}
    bench.api._put(f"{STORAGE}/csidrivers/{DISK}", whole, "ADDED")


def pod(bench: Bench, name: str = "web", claim: str = "pv", **spec: Any) -> None:
    mounted = container(volumeMounts=[{"name": "data", "mountPath": "/data"}])
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    bench.api.put(pod_path(name), make_pod(name, containers=[mounted], **{"volumes": volumes, **spec}))


def test_a_driver_is_told_of_in_the_node_and_the_csi_node(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        node = bench.api.objects["/api/v1/nodes/node-1"]["metadata"]
        assert (
            node["annotations"]["csi.volume.kubernetes.io/nodeid"] == '{"disk.example.com": "id-of-node-1"}'
        )
        assert node["labels"]["topology.example.com/zone"] == "z1"
        csi_node = codec.from_builtins(bench.api.objects[f"{STORAGE}/csinodes/node-1"], api.CSINode)
        (entry,) = csi_node.spec.drivers
        assert (entry.name, entry.nodeID, entry.topologyKeys) == (
            DISK,
            "id-of-node-1",
            ["topology.example.com/zone"],
        )
        assert entry.allocatable is not None and entry.allocatable.count == 7
        assert csi_node.metadata.ownerReferences[0].kind == "Node"
        await disk.stop()
        await bench.until(lambda: not bench.api.objects[f"{STORAGE}/csinodes/node-1"]["spec"].get("drivers"))
        assert "csi.volume.kubernetes.io/nodeid" not in bench.api.objects["/api/v1/nodes/node-1"][
            "metadata"
        ].get("annotations", {})

    with_csi(tmp_path, scenario, most=7, topology={"topology.example.com/zone": "z1"})


def test_a_volume_is_attached_staged_and_published(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        volume(
            bench,
            volumeAttributes={"size": "big"},
            nodeStageSecretRef={"name": "key", "namespace": "default"},
        )
        bench.api.put(
            "/api/v1/namespaces/default/secrets/key",
            api.Secret(
                apiVersion="v1",
                kind="Secret",
                metadata=api.ObjectMeta(name="key", namespace="default"),
                data={"password": b"secret"},
            ),
        )
        pod(bench)
        await bench.until(lambda: any("is not attached yet" in text for _, text in bench.events))
        in_use = [f"kubernetes.io/csi/{DISK}^pv-handle"]
        await bench.until(
            lambda: bench.api.objects["/api/v1/nodes/node-1"]["status"].get("volumesInUse") == in_use
        )
        assert not disk.calls
        attach(bench)
        await bench.until(lambda: bench.phase() == "Running")
        assert disk.calls == [("stage", "pv-handle"), ("publish", "pv-handle")]
        stage, publish = disk.requests
        assert dict(stage.secrets) == {"password": "secret"} and not publish.secrets
        assert dict(stage.publish_context) == {"device": "/dev/sdx"}
        assert dict(publish.volume_context) == {"size": "big"}
        mode = publish.volume_capability
        assert (mode.mount.fs_type, list(mode.mount.mount_flags), mode.access_mode.mode) == (
            "ext4",
            ["noatime"],
            1,
        )
        assert publish.staging_target_path == stage.staging_target_path
        (made,) = bench.runtime.made
        (mount,) = [m for m in made.mounts if m.container_path == "/data"]
        assert mount.host_path == str(bench.root / "pods/web-uid/volumes/kubernetes.io~csi/pv/mount")
        assert (Path(mount.host_path) / "published").exists()
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: pod_path() not in bench.api.objects)
        assert disk.calls[2:] == [("unpublish", "pv-handle"), ("unstage", "pv-handle")]
        await bench.until(lambda: not bench.api.objects["/api/v1/nodes/node-1"]["status"].get("volumesInUse"))

    with_csi(tmp_path, scenario)


def test_a_volume_of_two_pods_is_staged_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False, podInfoOnMount=True)
        volume(bench)
        pod(bench, "web")
        pod(bench, "api")
        await bench.until(lambda: {bench.phase("web"), bench.phase("api")} == {"Running"})
        assert sorted(disk.calls) == [
            ("publish", "pv-handle"),
            ("publish", "pv-handle"),
            ("stage", "pv-handle"),
        ]
        told = [dict(r.volume_context) for r in disk.requests if hasattr(r, "target_path")]
        assert {each["csi.storage.k8s.io/pod.name"] for each in told} == {"web", "api"}
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: pod_path("web") not in bench.api.objects)
        assert "unstage" not in dict(disk.calls)
        bench.api.mark_deleted("api", grace_s=1)
        await bench.until(lambda: pod_path("api") not in bench.api.objects)
        assert disk.calls[-1] == ("unstage", "pv-handle")

    with_csi(tmp_path, scenario)


def test_a_pod_that_is_released_twice_at_once_is_unpublished_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False)
        volume(bench)
        pod(bench, "web")
        await bench.until(lambda: bench.phase("web") == "Running")
        assert bench.agent._drivers is not None
        drivers, uid = bench.agent._drivers.csi, bench.api.objects[pod_path("web")]["metadata"]["uid"]
        await asyncio.gather(drivers.release(uid), drivers.release(uid))
        assert disk.calls[2:] == [("unpublish", "pv-handle"), ("unstage", "pv-handle")]

    with_csi(tmp_path, scenario)


def test_a_volume_whose_group_could_not_be_given_is_mounted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    give = csi.CsiDrivers._give_to_group

    async def fails_once(drivers: csi.CsiDrivers, *args: Any) -> None:
        given.append("tried")
        if len(given) == 1:
            raise csi.VolumeError("the disk is busy")
        await give(drivers, *args)

    monkeypatch.setattr(csi.CsiDrivers, "_give_to_group", fails_once)

    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False)
        volume(bench)
        pod(bench, "web")
        await bench.until(lambda: bench.phase("web") == "Running")
        assert given == ["tried", "tried"]

    with_csi(tmp_path, scenario)


def test_an_agent_that_begins_again_takes_away_what_is_left(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False)
        volume(bench)
        pod(bench)
        await bench.until(lambda: bench.phase() == "Running")
        await bench.stop_agent()
        bench.api.remove(pod_path())
        listing = await bench.runtime.list()
        for sandbox in listing.sandboxes:
            await bench.runtime.remove_sandbox(sandbox.id)
        await bench.start_agent()
        await bench.until(lambda: ("unstage", "pv-handle") in disk.calls)
        assert disk.calls.count(("publish", "pv-handle")) == 1

    with_csi(tmp_path, scenario)


def test_a_pod_waits_for_its_driver_and_for_its_success(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False)
        volume(bench)
        disk.failing = "no such disk"
        pod(bench)
        await bench.until(lambda: any(r == "FailedMount" and "no such disk" in m for r, m in bench.events))
        disk.failing = ""
        await bench.until(lambda: bench.phase() == "Running")
        volume(bench, "other", driver="absent.example.com")
        pod(bench, "lost", "other")
        why = "driver name absent.example.com not found in the list of registered CSI drivers"
        await bench.until(lambda: any(why in text for _, text in bench.events))

    with_csi(tmp_path, scenario, stages=False)


def test_a_volume_that_the_pod_names_itself(tmp_path: Path) -> None:
    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        source = {"driver": DISK, "volumeAttributes": {"path": "x"}, "readOnly": True}
        pod(bench, volumes=[{"name": "data", "csi": source}])
        why = f"driver {DISK} does not support ephemeral inline volumes"
        await bench.until(lambda: any(why in text for _, text in bench.events))
        csi_driver(bench, attachRequired=True, podInfoOnMount=True, volumeLifecycleModes=["Ephemeral"])
        await bench.until(lambda: bench.phase() == "Running")
        (publish,) = disk.requests
        assert publish.volume_id.startswith("csi-") and publish.readonly
        assert dict(publish.volume_context)["csi.storage.k8s.io/ephemeral"] == "true"

    with_csi(tmp_path, scenario)


def test_a_driver_gets_tokens_and_publishes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csi, "SWEEP_S", 0.05)

    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False, requiresRepublish=True, tokenRequests=[{"audience": "vault"}])
        volume(bench)
        pod(bench)
        await bench.until(lambda: disk.calls.count(("publish", "pv-handle")) > 2)
        (text,) = {
            dict(r.volume_context)["csi.storage.k8s.io/serviceAccount.tokens"]
            for r in disk.requests
            if hasattr(r, "target_path")
        }
        assert json.loads(text)["vault"]["token"] == "token-1"
        assert json.loads(text)["vault"]["expirationTimestamp"].endswith("Z")
        assert disk.calls.count(("stage", "pv-handle")) == 1

    with_csi(tmp_path, scenario)


def test_a_volume_that_has_grown_grows_on_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csi, "SWEEP_S", 0.05)

    async def scenario(bench: Bench, disk: CsiDriver) -> None:
        csi_driver(bench, attachRequired=False)
        volume(bench)
        claim_path = "/api/v1/namespaces/default/persistentvolumeclaims/pv"
        claim = bench.api.objects[claim_path]
        claim["status"] |= {
            "capacity": {"storage": "1Gi"},
            "conditions": [{"type": "FileSystemResizePending", "status": "True"}],
        }
        pod(bench)
        await bench.until(lambda: bench.phase() == "Running")
        assert "expand" not in dict(disk.calls)
        bench.api.objects["/api/v1/persistentvolumes/pv"]["spec"]["capacity"] = {"storage": "2Gi"}
        await bench.until(lambda: bench.api.objects[claim_path]["status"]["capacity"] == {"storage": "2Gi"})
        (expand,) = [r for r in disk.requests if hasattr(r, "capacity_range")]
        assert expand.capacity_range.required_bytes == 2 << 30
        assert expand.volume_path.endswith("/mount") and expand.staging_target_path
        assert disk.calls.count(("expand", "pv-handle")) == 1

    with_csi(tmp_path, scenario)


@pytest.mark.parametrize(
    ("versions", "best"),
    [(("0.3.0",), ""), (("1.0.0", "1.10.1", "1.9"), "1.10.1"), (("v1.2.0",), "v1.2.0"), ((), "")],
)
def test_the_highest_version_of_csi_1_counts(versions: tuple[str, ...], best: str) -> None:
    assert best_version(versions) == best


@pytest.mark.parametrize(
    ("modes", "capabilities", "mode"),
    [
        (("ReadWriteOnce",), (), 1),
        (("ReadOnlyMany",), (), 3),
        (("ReadWriteMany",), (), 5),
        (("ReadWriteOncePod",), (), 1),
        (("ReadWriteOnce",), (5,), 7),
        (("ReadWriteOncePod",), (5,), 6),
    ],
)
def test_access_modes(modes: tuple[str, ...], capabilities: tuple[int, ...], mode: int) -> None:
    found = capability(
        Volume(driver=DISK, handle="h", spec_name="n", access_modes=modes), frozenset(capabilities), 44
    )
    assert found["access_mode"] == {"mode": mode}
    assert "volume_mount_group" not in found["mount"]


@pytest.mark.parametrize(
    ("policy", "fs_type", "modes", "gets"),
    [
        ("File", "", ("ReadWriteMany",), True),
        ("None", "ext4", ("ReadWriteOnce",), False),
        ("ReadWriteOnceWithFSType", "ext4", ("ReadWriteOnce",), True),
        ("", "ext4", ("ReadWriteMany",), False),
        ("", "", ("ReadWriteOnce",), False),
    ],
)
def test_fs_group_policies(policy: str, fs_type: str, modes: tuple[str, ...], gets: bool) -> None:
    volume = Volume(driver=DISK, handle="h", spec_name="n", fs_type=fs_type, access_modes=modes)
    assert gets_group(volume, policy) is gets
