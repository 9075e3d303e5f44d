"""Volume plugins as tables: which nodes are out, in which words, and what is done before binding."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.client.cache import Cache
from sampan.scheduler.changes import ALL
from sampan.scheduler.claims import BindVolume, Provision
from sampan.scheduler.cycle import Engine
from sampan.scheduler.plugins.data_locality import DataLocality
from sampan.scheduler.plugins.volume_binding import made_of
from sampan.scheduler.registry import default_profile
from sampan.scheduler.world import World
from sampan.schema import api, codec
from tests.unit.scheduler.objects import decide, node, pod

CONFLICT = "node(s) had volume node affinity conflict"
NOTHING = "node(s) didn't find available persistent volumes to bind"


def made(kind: type[Any], name: str, namespace: str = "", **rest: Any) -> Any:
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", **rest.pop("metadata", {})}
    return codec.from_builtins({"metadata": meta, **rest}, kind)


def claim(name: str = "data", *, volume: str = "", notes: Any = None, **spec: Any) -> Any:
    whole = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    notes = dict(notes or {})
    if volume:
        whole["volumeName"] = volume
        notes["pv.kubernetes.io/bind-completed"] = "yes"
    return made(
        api.PersistentVolumeClaim, name, "default", metadata={"annotations": notes}, spec=whole, status={}
    )


def volume(name: str, on: str = "", *, size: str = "1Gi", labels: Any = None, **spec: Any) -> Any:
    if on:
        term = {"matchExpressions": [{"key": "host", "operator": "In", "values": [on]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    whole = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], **spec}
    return made(api.PersistentVolume, name, metadata={"labels": labels or {}}, spec=whole, status={})


def storage_class(name: str, provisioner: str, mode: str = "WaitForFirstConsumer", **rest: Any) -> Any:
    return made(api.StorageClass, name, provisioner=provisioner, volumeBindingMode=mode, **rest)


def world(*objects: Any) -> World:
    kinds = (
        api.PersistentVolumeClaim,
        api.PersistentVolume,
        api.StorageClass,
        api.CSINode,
        api.CSIDriver,
        api.CSIStorageCapacity,
        api.VolumeAttachment,
    )
    caches: dict[type[Any], Cache[Any]] = {kind: Cache() for kind in kinds}
    for each in objects:
        caches[type(each)].put(each)
    found = World(caches)
    for name in ("a", "b", "c"):
        zone = {"topology.kubernetes.io/zone": "east" if name == "a" else "west"}
        found.put_node(node(name, labels={"host": name, **zone}))
    return found


def using(name: str = "p", claim_name: str = "data") -> api.Pod:
    return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}])


LOCAL = storage_class("local", "kubernetes.io/no-provisioner")
MADE = storage_class("made", "example.com/maker")
EAST = [{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["east"]}]}]
FEW = {"drivers": [{"name": "csi.x", "nodeID": "a", "allocatable": {"count": 0}}]}


@pytest.mark.parametrize(
    ("objects", "nodes", "message"),
    [
        ([], "", 'persistentvolumeclaim "data" not found'),
        ([claim()], "", "pod has unbound immediate PersistentVolumeClaims"),
        (
            [claim(storageClassName="now"), storage_class("now", "example.com/maker", "Immediate")],
            "",
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        ([claim(volume="v"), volume("v", "b")], "b", f"2 {CONFLICT}"),
        ([claim(volume="v"), volume("v")], "abc", ""),
        (
            [claim(volume="v")],
            "",
            "3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        ),
        ([claim(storageClassName="local"), LOCAL], "", f"3 {NOTHING}"),
        (
            [claim(storageClassName="local"), LOCAL, volume("v", "c", storageClassName="local")],
            "c",
            f"2 {NOTHING}",
        ),
        (
            [claim(storageClassName="local"), LOCAL, volume("v", "c", size="1Mi", storageClassName="local")],
            "",
            f"3 {NOTHING}",
        ),
        ([claim(storageClassName="made"), MADE], "abc", ""),
        (
            [
                claim(storageClassName="made", notes={"volume.kubernetes.io/selected-node": "b"}),
                MADE,
            ],
            "b",
            f"2 {NOTHING}",
        ),
        (
            [
                claim(storageClassName="east"),
                storage_class("east", "example.com/maker", allowedTopologies=EAST),
            ],
            "a",
            f"2 {NOTHING}",
        ),
        (
            [
                claim(storageClassName="made"),
                MADE,
                made(api.CSIDriver, "example.com/maker", spec={"storageCapacity": True}),
                made(
                    api.CSIStorageCapacity,
                    "some",
                    "default",
                    storageClassName="made",
                    capacity="2Gi",
                    nodeTopology={"matchLabels": {"host": "b"}},
                ),
            ],
            "b",
            "2 node(s) did not have enough free storage",
        ),
        (
            [claim(volume="v"), volume("v", labels={"topology.kubernetes.io/zone": "west"})],
            "bc",
            "1 node(s) had no available volume zone",
        ),
        (
            [
                claim(volume="v"),
                volume("v", csi={"driver": "csi.x", "volumeHandle": "h"}),
                made(api.CSINode, "a", spec=FEW),
            ],
            "bc",
            "1 node(s) exceed max volume count",
        ),
    ],
)
def test_which_nodes_will_do(objects: list[Any], nodes: str, message: str) -> None:
    there = world(*objects)
    engine = Engine(default_profile(), there)
    info = there.infos.of(using())
    passing = {name for name, row in there.table.rows.items() if not engine.refusal(info, row)}
    assert passing == set(nodes)
    if message:
        assert message in engine.explain_failure(info).message
    assert bool(decide(using(), there).node) == bool(nodes)


def test_a_claim_for_one_pod_at_a_time() -> None:
    there = world(claim(volume="v", accessModes=["ReadWriteOncePod"]), volume("v"))
    there.place(there.infos.of(using("first")), "a")
    second = decide(using("second"), there)
    text = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert second.reasons == ((3, text),)
    assert second.refused_by == {"VolumeRestrictions"}
    info = there.infos.of(using("second"))
    with there.without("a", [there.placed[("default", "first")].pod]):
        assert Engine(default_profile(), there).refusal(info, 1) == ""
    assert decide(using("second"), there).node == ""
    there.unplace(("default", "first"))
    assert there.volumes.users == {}
    assert decide(using("second"), there).node


def test_the_smallest_volume_is_reserved_and_not_twice() -> None:
    there = world(
        claim(storageClassName="local"),
        claim("other", storageClassName="local"),
        LOCAL,
        volume("big", "a", size="5Gi", storageClassName="local"),
        volume("small", "a", size="2Gi", storageClassName="local"),
    )
    engine = Engine(default_profile(), there)
    work = engine.reserve(there.infos.of(using()), there.table.rows["a"])
    assert [w.volume.metadata.name for w in work if isinstance(w, BindVolume)] == ["small"]
    there.promises.make(work)
    work = engine.reserve(there.infos.of(using("q", "other")), there.table.rows["a"])
    assert [w.volume.metadata.name for w in work if isinstance(w, BindVolume)] == ["big"]


def test_a_volume_is_asked_for_on_the_node() -> None:
    there = world(claim(storageClassName="made"), MADE)
    work = Engine(default_profile(), there).reserve(there.infos.of(using()), there.table.rows["b"])
    assert [(w.claim.metadata.name, w.node) for w in work if isinstance(w, Provision)] == [("data", "b")]


def test_data_is_near() -> None:
    there = world(claim(volume="v"), volume("v", "b"))
    there.put_node(node("c", labels={"data.sampan.dev/srv.models": ""}))
    scorer = DataLocality()
    both = using()
    path = {"name": "m", "hostPath": {"path": "/srv/models"}}
    both = pod(volumes=[*codec.to_builtins(both.spec)["volumes"], path])
    state = scorer.prepare_score(there.infos.of(both), there)
    scores = scorer.score(state, there, ALL)
    assert scores is not None
    assert {name: int(scores[row]) for name, row in there.table.rows.items()} == {"a": 0, "b": 50, "c": 50}


def mounting(name: str, *volumes: Any) -> api.Pod:
    return pod(name, volumes=[{"name": f"v{number}", **each} for number, each in enumerate(volumes)])


def mounted(claim_name: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": claim_name}}


def gce(name: str = "disk", **rest: Any) -> dict[str, Any]:
    return {"gcePersistentDisk": {"pdName": name, **rest}}


def rbd(*monitors: str, **rest: Any) -> dict[str, Any]:
    return {"rbd": {"monitors": list(monitors), "image": "i", "pool": "p", **rest}}


def iscsi(**rest: Any) -> dict[str, Any]:
    return {"iscsi": {"targetPortal": "t", "iqn": "iqn.2001", "lun": 0, **rest}}


AWS = {"awsElasticBlockStore": {"volumeID": "vol-1"}}


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (gce(), gce(), True),
        (gce(), gce("other"), False),
        (gce(readOnly=True), gce(readOnly=True), False),
        (gce(readOnly=True), gce(), True),
        (AWS, AWS, True),
        (iscsi(), iscsi(), True),
        (iscsi(readOnly=True), iscsi(readOnly=True), False),
        (rbd("a", "b"), rbd("b", "c"), True),
        (rbd("a"), rbd("b"), False),
        (rbd("a", readOnly=True), rbd("a", readOnly=True), False),
        (rbd("a"), rbd("a", image="j"), False),
    ],
)
def test_disks_that_pods_name_themselves(first: Any, second: Any, conflict: bool) -> None:
    there = world()
    there.place(there.infos.of(mounting("first", first)), "a")
    engine = Engine(default_profile(), there)
    info = there.infos.of(mounting("second", second))
    said = engine.refusal(info, there.table.rows["a"])
    assert said == ("node(s) had no available disk" if conflict else "")
    assert engine.refusal(info, there.table.rows["b"]) == ""
    there.unplace(("default", "first"))
    assert engine.refusal(info, there.table.rows["a"]) == ""
    assert there.volumes.disks == {}


def limited(count: int, driver: str = "csi.x") -> Any:
    entry = {"name": driver, "nodeID": "a", "allocatable": {"count": count}}
    return made(api.CSINode, "a", spec={"drivers": [entry]})


def csi(name: str, driver: str = "csi.x") -> Any:
    return volume(name, csi={"driver": driver, "volumeHandle": f"h-{name}"})


def test_volumes_of_a_node_are_counted_once_each() -> None:
    there = world(limited(2), *(x for n in "123" for x in (claim(n, volume=f"v{n}"), csi(f"v{n}"))))
    engine, row = Engine(default_profile(), there), there.table.rows["a"]
    for name, used in (("p", "1"), ("q", "1"), ("r", "2")):
        one = mounting(name, mounted(used), mounted(used))
        assert engine.refusal(there.infos.of(one), row) == ""
        there.place(there.infos.of(one), "a")
    third = there.infos.of(using("s", "3"))
    assert engine.refusal(third, row) == "node(s) exceed max volume count"
    assert engine.refusal(there.infos.of(using("t", "2")), row) == ""
    there.unplace(("default", "p"))
    assert engine.refusal(third, row) == "node(s) exceed max volume count"  # q uses it still
    with there.without("a", there.on("a")):
        assert engine.refusal(third, row) == ""
    there.unplace(("default", "q"))
    assert engine.refusal(third, row) == ""


def test_what_a_claim_stands_for_follows_what_becomes_of_it() -> None:
    there = world(claim(storageClassName="made"), storage_class("made", "csi.x"), limited(1), csi("v"))
    there.place(there.infos.of(using()), "a")
    assert dict(there.volumes.held("a", "csi.x")) == {"default/data": 1}
    later = claim(volume="v")
    there.cache(api.PersistentVolumeClaim).put(later)
    there.volumes.changed(None, later)
    assert dict(there.volumes.held("a", "csi.x")) == {"h-v": 1}
    attachment = made(
        api.VolumeAttachment,
        "at",
        spec={"attacher": "csi.x", "nodeName": "a", "source": {"persistentVolumeName": "v"}},
    )
    there.volumes.changed(None, attachment)
    assert dict(there.volumes.held("a", "csi.x")) == {"h-v": 2}
    there.unplace(("default", "p"))  # it is still attached, which counts
    engine = Engine(default_profile(), there)
    objects = (claim("w", volume="w"), csi("w"))
    for each in objects:
        there.cache(type(each)).put(each)
        there.volumes.changed(None, each)
    row = there.table.rows["a"]
    assert engine.refusal(there.infos.of(using("q", "w")), row) == "node(s) exceed max volume count"
    there.volumes.changed(attachment, None)
    assert engine.refusal(there.infos.of(using("q", "w")), row) == ""
    there.volumes.changed(limited(1), limited(0))
    assert engine.refusal(there.infos.of(using("q", "w")), row) == "node(s) exceed max volume count"
    there.volumes.changed(limited(0), None)
    assert engine.refusal(there.infos.of(using("q", "w")), row) == ""


def test_old_sources_count_for_the_drivers_that_took_them_over() -> None:
    there = world(limited(1, "ebs.csi.aws.com"))
    there.place(there.infos.of(mounting("p", AWS)), "a")
    other = mounting("q", {"awsElasticBlockStore": {"volumeID": "vol-2"}})
    engine = Engine(default_profile(), there)
    assert engine.refusal(there.infos.of(other), there.table.rows["a"]) == "node(s) exceed max volume count"
    there.unplace(("default", "p"))
    assert engine.refusal(there.infos.of(other), there.table.rows["a"]) == ""


def test_claims_of_one_pod_share_what_there_is() -> None:
    there = world(
        LOCAL,
        claim("one", storageClassName="local"),
        claim("two", storageClassName="local", resources={"requests": {"storage": "3Gi"}}),
        volume("a1", "a", size="4Gi", storageClassName="local"),
        volume("b1", "b", size="1Gi", storageClassName="local"),
        volume("b2", "b", size="4Gi", storageClassName="local"),
        volume("c1", "c", size="1Gi", storageClassName="local"),
        volume("c2", "c", size="2Gi", storageClassName="local"),
    )
    both = mounting("p", mounted("two"), mounted("one"))
    assert decide(both, there).node == "b"
    engine = Engine(default_profile(), there)
    work = engine.reserve(there.infos.of(both), there.table.rows["b"])
    assert {w.claim.metadata.name: w.volume.metadata.name for w in work} == {"one": "b1", "two": "b2"}
    assert engine.refusal(there.infos.of(both), there.table.rows["a"]) == NOTHING


def test_a_volume_that_is_promised_to_a_claim_is_the_only_one_for_it() -> None:
    there = world(
        LOCAL,
        claim(storageClassName="local"),
        volume("a1", "a", storageClassName="local"),
        volume("b1", "b", storageClassName="local"),
    )
    engine = Engine(default_profile(), there)
    work = engine.reserve(there.infos.of(using()), there.table.rows["b"])
    there.promises.make(work)
    there.promises.make(work)
    assert decide(using("q"), there).node == "b"
    there.promises.end(work)
    assert decide(using("q"), there).node == "b"
    there.promises.end(work)
    assert engine.refusal(there.infos.of(using("q")), there.table.rows["a"]) == ""
    assert there.promises.volumes == {}


@pytest.mark.parametrize(
    ("shape", "best"),
    [([(0, 0), (100, 10)], "a"), ([(0, 10), (100, 0)], "b")],
)
def test_a_shape_scores_how_much_of_the_volumes_is_asked_for(shape: list[Any], best: str) -> None:
    there = world(
        LOCAL,
        claim(storageClassName="local"),
        volume("a1", "a", size="2Gi", storageClassName="local"),
        volume("b1", "b", size="10Gi", storageClassName="local"),
    )
    args = {"shape": [{"utilization": u, "score": s} for u, s in shape]}
    binding = made_of(args)
    state = binding.prepare_score(there.infos.of(using()), there)
    scores = binding.score(state, there, ALL)
    assert scores is not None
    found = {name: int(scores[there.table.rows[name]]) for name in "ab"}
    assert found == ({"a": 50, "b": 10} if best == "a" else {"a": 50, "b": 90})


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"bindTimeoutSeconds": -1}, "bindTimeoutSeconds must not be negative"),
        (
            {"shape": [{"utilization": 5, "score": 1}, {"utilization": 5, "score": 2}]},
            "the utilization of the points of a shape must rise from point to point",
        ),
        (
            {"shape": [{"utilization": 5, "score": 11}]},
            "the points of a shape must have a utilization from 0 to 100 and a score from 0 to 10",
        ),
    ],
)
def test_bad_args(args: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        made_of(args)


def storage(capacity: str = "", most: str = "", topology: Any = None, name: str = "made") -> Any:
    rest = {"capacity": capacity} if capacity else {}
    rest |= {"maximumVolumeSize": most} if most else {}
    rest |= {"nodeTopology": topology} if topology is not None else {}
    return made(api.CSIStorageCapacity, f"c{capacity}{most}", "default", storageClassName=name, **rest)


WEST = {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["west"]}]}


@pytest.mark.parametrize(
    ("capacities", "nodes"),
    [
        ([], ""),
        ([storage("2Gi", topology={})], "abc"),
        ([storage("2Gi", topology=WEST)], "bc"),
        ([storage("2Gi", topology={"matchLabels": {"host": "a"}}), storage("3Gi", topology=WEST)], "abc"),
        ([storage("2Gi", "512Mi", topology={})], ""),
        ([storage("", "2Gi", topology={})], "abc"),
        ([storage("512Mi", topology={})], ""),
        ([storage("2Gi")], ""),
        ([storage(topology={})], ""),
        ([storage("2Gi", topology={}, name="other")], ""),
    ],
)
def test_room_as_the_driver_tells_it(capacities: list[Any], nodes: str) -> None:
    driver = made(api.CSIDriver, "example.com/maker", spec={"storageCapacity": True})
    there = world(claim(storageClassName="made"), MADE, driver, *capacities)
    engine = Engine(default_profile(), there)
    said = {name: engine.refusal(there.infos.of(using()), row) for name, row in there.table.rows.items()}
    assert {name for name, why in said.items() if not why} == set(nodes)
    assert set(said.values()) <= {"", "node(s) did not have enough free storage"}
    silent = made(api.CSIDriver, "example.com/maker", spec={"storageCapacity": False})
    there.cache(api.CSIDriver).put(silent)
    assert not any(engine.refusal(there.infos.of(using()), row) for row in there.table.rows.values())
