"""Which CSI volumes are attached to which node, and when they are taken away."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.controllers.storage import attachment
from sampan.controllers.storage.attachment import OUT_OF_SERVICE, attachment_name, unique_name
from sampan.machinery.quantity import quantity
from sampan.schema import api, codec
from tests.fakes.bench import NAMESPACE, Bench
from tests.fakes.waiting import run
from tests.unit.controllers.test_storage import claim, node, pod

DRIVER = "disks.example.com"
SOURCE = api.CSIPersistentVolumeSource(driver=DRIVER, volumeHandle="h1")


def volume(mode: str = "ReadWriteOnce") -> api.PersistentVolume:
    return api.PersistentVolume(
        apiVersion="v1",
        kind="PersistentVolume",
        metadata=api.ObjectMeta(name="disk", uid="uid-disk"),
        spec=api.PersistentVolumeSpec(
            accessModes=[mode],
            capacity={"storage": quantity("1Gi")},
            csi=SOURCE,
            claimRef=api.ObjectReference(namespace=NAMESPACE, name="data", uid="uid-data"),
        ),
    )


def bench(*pods: api.Pod, mode: str = "ReadWriteOnce", nodes: tuple[str, ...] = ("n1", "n2")) -> Bench:
    made = Bench()
    for obj in (claim(volumeName="disk"), volume(mode), *map(node, nodes), *pods):
        made.server.put(obj)
    return made


async def settle(made: Bench, name: str = "n1") -> list[str]:
    """The nodes that the volume is to be attached to, once there is nothing more to do for this one."""
    await made.settle(attachment.CONTROLLER, name)
    found = await made.all(api.VolumeAttachment)
    return sorted(one.spec.nodeName for one in found if one.metadata.deletionTimestamp is None)


async def attached(made: Bench, name: str = "n1") -> None:
    """What the driver's attacher and the node do."""
    found = await made.get(api.VolumeAttachment, attachment_name(SOURCE, name), "")
    found.status.attached = True
    await made.client.update_status(found)
    await settle(made, name)
    on = await made.get(api.Node, name, "")
    assert [one.name for one in on.status.volumesAttached] == [unique_name(SOURCE)]
    on.status.volumesInUse = [unique_name(SOURCE)]
    await made.client.update_status(on)


async def change(made: Bench, *, in_use: bool = False, ready: str = "True", taint: bool = False) -> None:
    on = await made.get(api.Node, "n1", "")
    on.status.volumesInUse = [unique_name(SOURCE)] if in_use else []
    on.status.conditions = [api.NodeCondition(type="Ready", status=ready)]
    on.spec.taints = [api.Taint(key=OUT_OF_SERVICE, effect="NoExecute")] if taint else []
    made.server.put(on)


def test_it_is_attached_for_the_first_pod_and_told_of() -> None:
    async def main() -> None:
        made = bench(pod(on="n1"))
        assert await settle(made) == ["n1"]
        (one,) = await made.all(api.VolumeAttachment)
        assert one.metadata.name == attachment_name(SOURCE, "n1")
        assert one.spec.attacher == DRIVER
        found = await made.get(api.VolumeAttachment, one.metadata.name or "", "")
        found.status.attached = True
        await made.client.update_status(found)
        plan: Any = await made.step(attachment.CONTROLLER, "n1")
        assert [e.reason for e in plan.effects[1:]] == ["SuccessfulAttachVolume"]

    run(main())


def test_a_driver_that_does_not_attach_is_left_alone() -> None:
    async def main() -> None:
        made = bench(pod(on="n1"))
        made.server.put(
            api.CSIDriver(
                apiVersion="storage.k8s.io/v1",
                kind="CSIDriver",
                metadata=api.ObjectMeta(name=DRIVER),
                spec=api.CSIDriverSpec(attachRequired=False),
            )
        )
        assert await settle(made) == []

    run(main())


def test_it_is_detached_when_the_node_has_unmounted_it() -> None:
    async def main() -> None:
        made = bench(pod(on="n1"))
        await settle(made)
        await attached(made)
        await made.client.delete(api.Pod, "web", NAMESPACE, grace_s=0)
        assert await settle(made) == ["n1"]
        await change(made)
        assert await settle(made) == []
        assert (await made.get(api.Node, "n1", "")).status.volumesAttached == []

    run(main())


def test_what_somebody_else_attached_is_left_alone() -> None:
    """Only names that the controller gives are its own; kube-controller-manager too leaves others alone."""

    async def main() -> None:
        made = bench()
        other = {
            "attacher": "other.example.com",
            "nodeName": "n1",
            "source": {"persistentVolumeName": "pv-9"},
        }
        await made.client.create(
            codec.from_builtins({"metadata": {"name": "by-hand"}, "spec": other}, api.VolumeAttachment)
        )
        assert await settle(made) == ["n1"]

    run(main())


@pytest.mark.parametrize(
    ("state", "wait_s", "stays"),
    [
        ({"ready": "True"}, 3600, True),
        ({"ready": "Unknown"}, 300, True),
        ({"ready": "Unknown"}, 361, False),
        ({"ready": "Unknown", "taint": True}, 0, False),
    ],
    ids=["healthy", "not yet", "silent for long", "out of service"],
)
def test_a_node_that_does_not_unmount_it(state: dict[str, Any], wait_s: float, stays: bool) -> None:
    async def main() -> None:
        made = bench(pod(on="n1"))
        await settle(made)
        await attached(made)
        await made.client.delete(api.Pod, "web", NAMESPACE, grace_s=0)
        await change(made, in_use=True, **state)
        await settle(made)
        await made.clock.advance(wait_s)
        assert bool(await settle(made)) is stays

    run(main())


@pytest.mark.parametrize(("mode", "expected"), [("ReadWriteOnce", ["n1"]), ("ReadWriteMany", ["n1", "n2"])])
def test_who_may_have_it_beside_another_node(mode: str, expected: list[str]) -> None:
    async def main() -> None:
        made = bench(pod(on="n1"), pod("second", on="n2"), mode=mode)
        await settle(made, "n1")
        assert await settle(made, "n2") == expected
        plan = await made.step(attachment.CONTROLLER, "n2")
        told = [notice.message for notice in plan.notices]
        wanted = 'Multi-Attach error for volume "disk" Volume is already used by pod(s) web'
        assert told == ([wanted] if len(expected) == 1 else [])

    run(main())


def test_a_node_that_is_gone_holds_nothing() -> None:
    async def main() -> None:
        made = bench(pod(on="n1"))
        await settle(made)
        await attached(made)
        await made.client.delete(api.Pod, "web", NAMESPACE, grace_s=0)
        await made.client.delete(api.Node, "n1")
        assert await settle(made) == []

    run(main())


def test_what_the_driver_could_not_do_is_told() -> None:
    async def main() -> None:
        made = bench(pod(on="n1"))
        await settle(made)
        found = await made.get(api.VolumeAttachment, attachment_name(SOURCE, "n1"), "")
        found.status.attachError = api.VolumeError(message="no such disk")
        await made.client.update_status(found)
        plan = await made.step(attachment.CONTROLLER, "n1")
        assert plan.notices[0].message == 'AttachVolume.Attach failed for volume "disk" : no such disk'

    run(main())
