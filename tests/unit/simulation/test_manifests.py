"""Where the pods of manifests would go."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api, codec
from sampan.simulation.placing import Placement, simulate
from sampan.simulation.workloads import SimulationError, expand
from tests.unit.scheduler.objects import container, node, pod, taint

ZONE = "topology.kubernetes.io/zone"


def made(kind: type[Any], cpu: str = "3", pod_spec: dict[str, Any] | None = None, **spec: Any) -> Any:
    inner = {"containers": [container(cpu=cpu)], **(pod_spec or {})}
    if kind is api.Job:
        inner["restartPolicy"] = "Never"
    template = {"metadata": {"labels": {"app": "w"}}, "spec": inner}
    selector = {} if kind is api.Job else {"selector": {"matchLabels": {"app": "w"}}}
    name = spec.pop("name", "w")
    whole = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {**selector, "template": template, **spec},
    }
    return codec.from_builtins(whole, kind)


def cron_job() -> Any:
    inner = codec.to_builtins(made(api.Job, parallelism=2, completions=5).spec)
    whole = {
        "metadata": {"name": "c", "namespace": "shop"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": inner}},
    }
    return codec.from_builtins(whole, api.CronJob)


def nodes(placements: tuple[Placement, ...]) -> list[str]:
    return [p.node for p in placements]


@pytest.mark.parametrize(
    ("obj", "names"),
    [
        (made(api.Deployment, replicas=0), []),
        (made(api.ReplicaSet, replicas=2), ["w-#1", "w-#2"]),
        (made(api.StatefulSet, replicas=2), ["w-0", "w-1"]),
        (made(api.StatefulSet, replicas=2, ordinals={"start": 5}), ["w-5", "w-6"]),
        (made(api.Job, parallelism=4, completions=2), ["w-#1", "w-#2"]),
        (made(api.Job, completionMode="Indexed", completions=2, parallelism=2), ["w-0-#1", "w-1-#2"]),
        (made(api.Job, suspend=True), []),
        (cron_job(), ["c-#-#1", "c-#-#2"]),
        (made(api.DaemonSet), ["w-#1", "w-#2"]),
        (made(api.DaemonSet, pod_spec={"nodeSelector": {"disk": "ssd"}}), ["w-#1"]),
        (api.Namespace(metadata=api.ObjectMeta(name="n")), []),
    ],
)
def test_the_pods_that_controllers_would_make(obj: Any, names: list[str]) -> None:
    there = [node("a", labels={"disk": "ssd"}), node("b"), node("c", taints=[taint("x", effect="NoExecute")])]
    assert [p.metadata.name for p in expand([obj], there).pods] == names


def test_a_deployment_has_its_replica_set() -> None:
    found = expand([made(api.Deployment, replicas=2)], [])
    (between,) = found.others
    hashed = between.spec.selector.matchLabels["pod-template-hash"]
    assert between.metadata.name == f"w-{hashed}"
    assert {p.metadata.labels["pod-template-hash"] for p in found.pods} == {hashed}
    assert [p.metadata.ownerReferences[0].uid for p in found.pods] == [between.metadata.uid] * 2


def test_each_pod_counts_for_the_next_and_nothing_is_changed() -> None:
    snapshot = Snapshot([node("a"), node("b")])
    for _ in range(2):
        first, second, third = simulate(snapshot, [made(api.Deployment, replicas=3)])
        assert {first.node, second.node} == {"a", "b"}
        assert (third.namespace, third.node) == ("shop", "")
        assert third.why == "0/2 nodes are available: 2 Insufficient cpu."
        assert third.ways[0].changes[0].text.startswith("2 more cpu on a, or a pod that asks for 1 instead")


def test_daemons_go_to_their_nodes_though_these_are_cordoned() -> None:
    there = [node("a"), node("b", unschedulable=True)]
    assert nodes(simulate(Snapshot(there), [made(api.DaemonSet)])) == ["a", "b"]


def test_limits_are_requests_where_none_are_given() -> None:
    limited = pod(containers=[{"name": "c", "image": "i", "resources": {"limits": {"cpu": "5"}}}])
    assert nodes(simulate(Snapshot([node("a")]), [limited])) == [""]


def test_spread_counts_the_pods_before() -> None:
    spread = {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": ZONE,
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "w"}},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ]
    }
    there = [node(name, labels={ZONE: name[0]}) for name in ("x1", "x2", "y1")]
    placements = simulate(Snapshot(there), [made(api.Deployment, "1", spread, replicas=4)])
    assert sorted(name[0] for name in nodes(placements)) == ["x", "x", "y", "y"]


def test_the_more_important_come_first_and_make_room() -> None:
    high = api.PriorityClass(metadata=api.ObjectMeta(name="high"), value=10)
    low = pod("low", nodeName="a", containers=[container(cpu="4")], priority=0)
    snapshot = Snapshot([node("a")], [low])
    objects = [
        made(api.Deployment),
        high,
        made(api.Deployment, name="v", pod_spec={"priorityClassName": "high"}),
    ]
    first, second = simulate(snapshot, objects)
    assert (first.name[0], first.node, first.evicts) == ("v", "a", ("default/low",))
    assert first.why == "once 1 less important pod made room"
    assert (second.name[0], second.node) == ("w", "")


def test_what_is_there_already_makes_way_for_itself() -> None:
    """A Deployment is placed as if it were made anew; a pod that is there stays there."""
    deployment = made(api.Deployment, replicas=1)
    deployment.metadata.uid = "d"
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w", "uid": "d", "controller": True}
    between = codec.from_builtins(
        {"metadata": {"name": "w-1", "namespace": "shop", "uid": "r", "ownerReferences": [owner]}},
        api.ReplicaSet,
    )
    old = pod("w-1-x", nodeName="a", containers=[container(cpu="3")])
    old.metadata.namespace = "shop"
    old.metadata.ownerReferences = [
        api.OwnerReference(apiVersion="apps/v1", kind="ReplicaSet", name="w-1", uid="r", controller=True)
    ]
    bare = pod("bare", nodeName="a", containers=[container(cpu="1")])
    snapshot = Snapshot([node("a")], [old, bare], {api.Deployment: [deployment], api.ReplicaSet: [between]})
    stays, placed = simulate(snapshot, [made(api.Deployment, replicas=1), pod("bare")])
    assert (stays.name, stays.node, stays.why) == ("bare", "a", "it is there already")
    assert placed.node == "a"


def test_nodes_of_the_manifests_count() -> None:
    assert nodes(simulate(Snapshot(), [node("new"), made(api.Deployment)])) == ["new"]


def test_claims_of_a_stateful_set_take_a_volume_each() -> None:
    volumes = [
        codec.from_builtins(
            {
                "metadata": {"name": f"v-{name}", "uid": f"v-{name}"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "local",
                    "hostPath": {"path": "/x"},
                    "nodeAffinity": {
                        "required": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "host", "operator": "In", "values": [name]}]}
                            ]
                        }
                    },
                },
                "status": {"phase": "Available"},
            },
            api.PersistentVolume,
        )
        for name in ("a", "b")
    ]
    local = codec.from_builtins(
        {
            "metadata": {
                "name": "local",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        api.StorageClass,
    )
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    there = [node(name, labels={"host": name}) for name in ("a", "b", "c")]
    snapshot = Snapshot(there, (), {api.PersistentVolume: volumes, api.StorageClass: [local]})
    placements = simulate(snapshot, [made(api.StatefulSet, "100m", replicas=3, volumeClaimTemplates=[claim])])
    assert sorted(nodes(placements)) == ["", "a", "b"]
    assert "didn't find available persistent volumes to bind" in placements[2].why


def test_limit_ranges_and_runtime_classes_add_to_pods() -> None:
    limits = codec.from_builtins(
        {
            "metadata": {"name": "l", "namespace": "default"},
            "spec": {
                "limits": [{"type": "Container", "defaultRequest": {"cpu": "3"}, "default": {"cpu": "3"}}]
            },
        },
        api.LimitRange,
    )
    heavy = codec.from_builtins(
        {"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": {"cpu": "2"}}},
        api.RuntimeClass,
    )
    snapshot = Snapshot([node("a")], (), {api.LimitRange: [limits], api.RuntimeClass: [heavy]})
    assert nodes(simulate(snapshot, [pod("one")])) == ["a"]
    assert nodes(simulate(snapshot, [pod("one", runtimeClassName="heavy")])) == [""]


def test_pods_that_the_scheduler_does_not_look_at() -> None:
    gated = pod("g", schedulingGates=[{"name": "wait"}])
    foreign = pod("f", schedulerName="other")
    named = pod("n", nodeName="a")
    found = {p.name: p for p in simulate(Snapshot([node("a")]), [gated, foreign, named])}
    assert found["g"].why == "it is held back: remove the scheduling gate wait from the pod"
    assert "waits for a scheduler named 'other'" in found["f"].why
    assert (found["n"].node, found["n"].why) == ("a", "it names the node itself")


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        (pod("p", priorityClassName="none"), "there is no PriorityClass 'none'"),
        (pod("p", runtimeClassName="none"), "there is no RuntimeClass 'none'"),
        (made(api.Deployment), "there is no namespace 'shop'"),
        (made(api.Deployment, replicas=-1), "spec.replicas: Invalid value: -1"),
        (made(api.Deployment, cpu="-1"), "must be greater than or equal to 0"),
        (made(api.ReplicaSet, replicas=20_001), "more than 20000 pods"),
    ],
)
def test_what_the_api_server_would_refuse(obj: Any, why: str) -> None:
    default = api.Namespace(metadata=api.ObjectMeta(name="default"))
    with pytest.raises(SimulationError, match=why.replace("(", r"\(")):
        simulate(Snapshot([node("a")], (), {api.Namespace: [default]}), [obj])
