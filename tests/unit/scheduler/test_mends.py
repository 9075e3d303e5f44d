"""The smallest changes among neighbours, volumes and devices: told as such, and once made the pod runs."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli.explain import explanation_text
from sampan.scheduler.explain import Explanation, explain
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api
from tests.unit.scheduler.objects import node, pod
from tests.unit.scheduler.test_devices import CLASSES, claim_of, device, exactly, slice_of
from tests.unit.scheduler.test_volumes import claim, made, storage_class, volume

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
MOUNTING = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
DISK = {"name": "d", "gcePersistentDisk": {"pdName": "disk"}}
USING = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}


def of(wanting: api.Pod, *objects: Any) -> Explanation:
    """Explained beside these nodes, pods and other objects."""
    nodes = [o for o in objects if isinstance(o, api.Node)]
    pods = [o for o in objects if isinstance(o, api.Pod)]
    kinds = (
        api.PersistentVolumeClaim, api.PersistentVolume, api.StorageClass, api.CSINode, api.CSIDriver,
        api.CSIStorageCapacity, api.VolumeAttachment, api.ResourceClaim, api.ResourceSlice, api.DeviceClass,
    )  # fmt: skip
    others = {kind: [o for o in objects if type(o) is kind] for kind in kinds}
    return explain(Snapshot(nodes, [*pods, wanting], others), wanting)


def ways(found: Explanation) -> list[list[str]]:
    return [[change.text for change in way.changes] for way in found.ways]


def labelled(name: str, on: str = "", *, app: str = "x", **spec: Any) -> api.Pod:
    made = pod(name, **spec, **({"nodeName": on} if on else {}))
    made.metadata.labels = {"app": app}
    return made


def host(name: str, **labels: str) -> api.Node:
    return node(name, labels={HOST: name, **{k.replace("zone", ZONE): v for k, v in labels.items()}})


def apart(part: str, key: str = HOST, app: str = "x") -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}
    return {"affinity": {part: {REQUIRED: [term]}}}


def spread(skew: int = 1, key: str = ZONE, **more: Any) -> dict[str, Any]:
    one = {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", **more}
    return {"topologySpreadConstraints": [{**one, "labelSelector": {"matchLabels": {"app": "x"}}}]}


def test_who_is_in_the_way_is_to_be_moved() -> None:
    text = f"move pod default/there away from where {HOST} is a: anti-affinity keeps the two apart"
    there = labelled("there", "a")
    assert ways(of(pod("p", **apart("podAntiAffinity")), host("a"), there)) == [[text]]
    # The same where it is the other that wants to be alone.
    jealous = pod("there", nodeName="a", **apart("podAntiAffinity"))
    assert ways(of(labelled("p"), host("a"), jealous)) == [[text]]
    assert of(labelled("p"), host("a")).nodes[0].score is not None


def test_a_crowd_is_nothing_small() -> None:
    crowd = [labelled(f"there-{number}", "a") for number in range(6)]
    found = of(pod("p", **apart("podAntiAffinity")), host("a"), *crowd)
    assert found.ways == ()
    assert "No single node's" in explanation_text(found)


def test_a_neighbour_that_is_missing() -> None:
    wanting = pod("p", **apart("podAffinity", ZONE))
    found = of(wanting, host("a", zone="east"), node("b"))
    assert ways(found) == [
        [f"a pod that matches app=x in namespace default where {ZONE} is east"],
        [
            f"label node b with {ZONE} (it is missing)",
            f"a pod that matches app=x in namespace default where {ZONE} is the same",
        ],
    ]
    opened = of(wanting, host("a", zone="east"), labelled("near", "a"), node("b"))
    assert opened.nodes[0].score is not None
    assert [c.text for c in opened.nodes[1].changes] == [f"label node b with {ZONE}=east (it is missing)"]


def test_the_first_of_a_group_needs_the_label_alone() -> None:
    found = of(labelled("p", **apart("podAffinity", ZONE)), node("b"))
    assert ways(found) == [[f"label node b with {ZONE} (it is missing)"]]


def test_a_skew_that_would_have_to_be_allowed() -> None:
    nodes = [host("a", zone="east"), node("b", labels={HOST: "b", ZONE: "west"}, unschedulable=True)]
    there = [labelled(f"there-{number}", "a") for number in range(2)]
    found = of(labelled("p", **spread()), *nodes, *there)
    assert ways(found)[0] == ["uncordon node b"]
    assert ways(found)[1] == [
        f"a maxSkew of 3 instead of 1 for {ZONE} in the pod, or 2 fewer of the pods that it counts where "
        f"{ZONE} is east"
    ]
    assert of(labelled("p", **spread(3)), *nodes, *there).nodes[0].score is not None
    assert of(labelled("p", **spread()), *nodes).nodes[0].score is not None


def test_a_label_that_spreading_needs() -> None:
    found = of(labelled("p", **spread()), node("a"))
    assert ways(found) == [[f"label node a with {ZONE} (it is missing)"]]


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        ([], "create PersistentVolumeClaim default/data"),
        (
            [claim(storageClassName="fast"), storage_class("fast", "csi.x", "Immediate")],
            "a PersistentVolume of 1024Mi of StorageClass fast for PersistentVolumeClaim default/data, "
            "which is not bound yet",
        ),
        (
            [claim(storageClassName="fast")],
            "create StorageClass fast, which PersistentVolumeClaim default/data asks for",
        ),
        (
            [claim(volume="gone")],
            "make PersistentVolume gone anew, or PersistentVolumeClaim default/data, which is bound to it",
        ),
        (
            [claim(volume="far"), volume("far", "b")],
            "a volume that node a reaches for PersistentVolumeClaim default/data, in place of far",
        ),
        (
            [
                claim(storageClassName="local"),
                storage_class("local", "kubernetes.io/no-provisioner"),
                volume("far", "b", storageClassName="local"),
            ],
            "a PersistentVolume of 1024Mi of StorageClass local that node a reaches for "
            "PersistentVolumeClaim default/data",
        ),
        (
            [claim(volume="v"), volume("v", labels={ZONE: "west"})],
            "a volume for PersistentVolumeClaim default/data that is where node a is, in place of v "
            f"({ZONE} is west)",
        ),
    ],
)
def test_volumes(objects: list[Any], text: str) -> None:
    assert ways(of(pod("p", **MOUNTING), node("a", labels={"host": "a", ZONE: "east"}), *objects)) == [[text]]


def test_a_claim_for_one_pod_at_a_time_names_who_has_it() -> None:
    alone = claim(volume="v", accessModes=["ReadWriteOncePod"])
    user = pod("user", nodeName="a", **MOUNTING)
    found = of(pod("p", **MOUNTING), node("a"), alone, volume("v"), user)
    assert ways(found) == [
        ["delete pod default/user, which uses PersistentVolumeClaim data (ReadWriteOncePod)"]
    ]
    assert of(pod("p", **MOUNTING), node("a"), alone, volume("v")).nodes[0].score is not None


def test_a_disk_that_another_pod_names() -> None:
    user = pod("user", nodeName="a", volumes=[DISK])
    found = of(pod("p", volumes=[DISK]), node("a"), user)
    (way,) = ways(found)
    assert way[0].startswith("delete pod default/user, which uses disk ")


def test_a_node_that_takes_no_more_volumes() -> None:
    driver = {"name": "csi.x", "nodeID": "a", "allocatable": {"count": 0}}
    attached = made(api.CSINode, "a", spec={"drivers": [driver]})
    found = of(
        pod("p", **MOUNTING),
        node("a"),
        claim(volume="v"),
        volume("v", csi={"driver": "csi.x", "volumeHandle": "h"}),
        attached,
    )
    assert ways(found) == [["room for 1 more volume of csi.x on a (it takes 0)"]]


ANY = CLASSES["any"]


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        ([ANY], "create ResourceClaim default/c"),
        ([claim_of([exactly()])], "create DeviceClass any, which ResourceClaim default/c asks for"),
        (
            [ANY, claim_of([exactly(count=2)]), slice_of([device("one")], nodeName="a")],
            "free on node a for ResourceClaim default/c: 2 devices of class any",
        ),
        (
            [
                ANY,
                claim_of(
                    [exactly()],
                    allocation={
                        "nodeSelector": {
                            "nodeSelectorTerms": [
                                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
                            ]
                        }
                    },
                ),
            ],
            "a ResourceClaim with devices on node a in place of default/c",
        ),
    ],
)
def test_devices(objects: list[Any], text: str) -> None:
    found = of(pod("p", **USING), node("a"), *objects)
    assert ways(found) == [[text]]


def test_devices_that_are_there() -> None:
    found = of(
        pod("p", **USING), node("a"), ANY, claim_of([exactly()]), slice_of([device("one")], nodeName="a")
    )
    assert found.nodes[0].score is not None
