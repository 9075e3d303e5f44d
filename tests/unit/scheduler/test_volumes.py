"""Volume plugins as tables: which nodes are out, in which words, and what is done before binding."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.client.cache import Cache
from sampan.scheduler.changes import ALL
from sampan.scheduler.claims import BindVolume, Provision
from sampan.scheduler.cycle import Engine
from sampan.scheduler.plugins.data_locality import DataLocality
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
    assert there.claim_users == {}
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
    there.promised_volumes["small"] = "uid-data"
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
