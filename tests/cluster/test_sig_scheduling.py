"""What sig-scheduling's conformance tests say, each as a test of a whole cluster."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api, codec
from sampan.testing import Cluster
from tests.unit.scheduler.test_preemption import nominated
from tests.unit.scheduler.test_shell import events, get, has_a_node, scheduled, web

HOSTNAME = "kubernetes.io/hostname"
EXTENDED = "example.com/scheduling"


def made(kind: type[Any], name: str, namespace: str = "", **rest: Any) -> Any:
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **rest.pop("metadata", {})}
    return codec.from_builtins({"metadata": meta, **rest}, kind)


def asking(**requests: str) -> list[dict[str, Any]]:
    resources = {"requests": requests, "limits": requests}
    return [{"name": "c", "image": "i", "resources": resources}]


def is_gone(cluster: Cluster, kind: type[Any], name: str, namespace: str = "default") -> bool:
    try:
        cluster.client.get(kind, name, namespace)
    except ApiError as problem:
        return problem.code == 404
    return False


# -- LimitRange ----------------------------------------------------------------------------------------

LIMITS = {
    "type": "Container",
    "min": {"cpu": "50m", "memory": "100Mi"},
    "max": {"cpu": "500m", "memory": "500Mi"},
    "default": {"cpu": "500m", "memory": "500Mi"},
    "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
}


def resources(pod: api.Pod) -> tuple[dict[str, str], dict[str, str]]:
    found = codec.to_builtins(pod.spec)["containers"][0].get("resources", {})
    return found.get("requests", {}), found.get("limits", {})


@pytest.mark.conformance(
    "LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied."
)
def test_limitrange_sets_defaults_and_bounds(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(made(api.LimitRange, "range", "default", spec={"limits": [LIMITS]}))
    cluster.wait_until(lambda: len(cluster.client.list(api.LimitRange, "default")) == 1)
    cluster.client.create(web("plain"))
    assert resources(get(cluster, "plain")) == (
        {"cpu": "100m", "memory": "200Mi"},
        {"cpu": "500m", "memory": "500Mi"},
    )
    partly = {"requests": {"cpu": "300m"}, "limits": {"memory": "300Mi"}}
    cluster.client.create(web("partly", containers=[{"name": "c", "image": "i", "resources": partly}]))
    assert resources(get(cluster, "partly")) == (
        {"cpu": "300m", "memory": "300Mi"},
        {"cpu": "500m", "memory": "300Mi"},
    )
    for name, cpu in (("small", "10m"), ("big", "600m")):
        with pytest.raises(ApiError) as refused:
            cluster.client.create(web(name, containers=asking(cpu=cpu, memory="200Mi")))
        assert refused.value.code == 403
    changed = {"spec": {"limits": [{**LIMITS, "min": {"cpu": "9m", "memory": "9Mi"}}]}}
    cluster.client.patch(api.LimitRange, "range", "default", changed)
    cluster.wait_until(
        lambda: not refuses(cluster, web("small", containers=asking(cpu="10m", memory="200Mi")))
    )
    cluster.client.delete(api.LimitRange, "range", "default")
    cluster.wait_until(lambda: is_gone(cluster, api.LimitRange, "range"))
    cluster.wait_until(
        lambda: not refuses(cluster, web("big", containers=asking(cpu="600m", memory="600Mi")))
    )
    for name in ("plain", "partly", "small", "big"):
        has_a_node(cluster, name)


def refuses(cluster: Cluster, pod: api.Pod) -> bool:
    try:
        cluster.client.create(pod)
    except ApiError as problem:
        assert problem.code == 403
        return True
    return False


@pytest.mark.conformance("LimitRange should list, patch and delete a LimitRange by collection")
def test_limitrange_is_listed_patched_and_deleted_by_collection(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    names = ("one", "two")
    for name in names:
        cluster.client.create(made(api.Namespace, name))
        labels = {"labels": {"batch": "x", "own": name}}
        cluster.client.create(made(api.LimitRange, "range", name, metadata=labels, spec={"limits": [LIMITS]}))
    assert len(cluster.client.list(api.LimitRange, labels="batch=x")) == 2
    cluster.client.patch(api.LimitRange, "range", "one", {"metadata": {"labels": {"one": "patched"}}})
    assert [r.metadata.namespace for r in cluster.client.list(api.LimitRange, labels="one=patched")] == [
        "one"
    ]
    path = "/api/v1/namespaces/one/limitranges"
    transport = cluster.async_client.transport
    reply = cluster.call(transport.request("DELETE", path, {"labelSelector": "one=patched"}, b"", ""))
    assert reply.status == 200
    cluster.wait_until(lambda: is_gone(cluster, api.LimitRange, "range", "one"))
    assert [r.metadata.namespace for r in cluster.client.list(api.LimitRange, labels="batch=x")] == ["two"]


# -- predicates ----------------------------------------------------------------------------------------


@pytest.mark.conformance("SchedulerPredicates validates resource limits of pods that are allowed to run")
def test_resource_limits_of_pods_that_may_run() -> None:
    with Cluster(nodes=2) as cluster:
        for number in (1, 2):
            node = cluster.client.get(api.Node, f"node-{number}")
            cpu = node.status.allocatable["cpu"].milli()
            fill = web(
                f"filler-{number}",
                containers=asking(cpu=f"{cpu * 7 // 10}m"),
                nodeSelector={HOSTNAME: f"node-{number}"},
            )
            cluster.client.create(fill)
            has_a_node(cluster, f"filler-{number}")
        cluster.client.create(web(containers=asking(cpu=f"{cpu // 2}m")))
        cluster.wait_until(lambda: bool(events(cluster, "FailedScheduling")))
        assert events(cluster, "FailedScheduling")[0].startswith(
            "0/2 nodes are available: 2 Insufficient cpu."
        )
        cluster.advance(60)
        assert get(cluster).spec.nodeName is None
        cluster.client.delete(api.Pod, "filler-2", "default", grace_s=0)
        has_a_node(cluster)
        assert get(cluster).spec.nodeName == "node-2"


@pytest.mark.conformance(
    "RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead"
)
@pytest.mark.conformance("RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead")
def test_overhead_of_a_runtime_class_counts(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cpu = cluster.client.get(api.Node, "node-1").status.allocatable["cpu"].milli()
    overhead = {"podFixed": {"cpu": f"{cpu // 2}m"}}
    cluster.client.create(made(api.RuntimeClass, "heavy", handler="runc", overhead=overhead))
    cluster.client.create(made(api.RuntimeClass, "light", handler="runc"))
    cluster.client.create(web("light", runtimeClassName="light"))
    has_a_node(cluster, "light")
    assert get(cluster, "light").spec.overhead == {}
    cluster.client.create(web("first", containers=asking(cpu=f"{cpu // 4}m"), runtimeClassName="heavy"))
    has_a_node(cluster, "first")
    cluster.client.create(web(containers=asking(cpu=f"{cpu // 2}m")))
    cluster.wait_until(lambda: bool(events(cluster, "FailedScheduling")))
    assert "1 Insufficient cpu" in events(cluster, "FailedScheduling")[0]


@pytest.mark.conformance("SchedulerPredicates validates that NodeSelector is respected if matching")
@pytest.mark.conformance("SchedulerPredicates validates that NodeSelector is respected if not matching")
def test_a_node_selector_that_matches_and_one_that_does_not() -> None:
    with Cluster(nodes=3) as cluster:
        cluster.client.patch(api.Node, "node-2", "", {"metadata": {"labels": {"example.com/own": "42"}}})
        cluster.client.create(web("matching", nodeSelector={"example.com/own": "42"}))
        has_a_node(cluster, "matching")
        assert get(cluster, "matching").spec.nodeName == "node-2"
        cluster.client.create(web(nodeSelector={"label": "nonempty"}))
        cluster.wait_until(lambda: bool(events(cluster, "FailedScheduling")))
        text = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
        assert events(cluster, "FailedScheduling")[0].startswith(text)
        condition = scheduled(get(cluster))
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "Unschedulable")


def ported(name: str, port: int, ip: str, protocol: str = "TCP") -> api.Pod:
    ports = [{"containerPort": 8080, "hostPort": port, "hostIP": ip, "protocol": protocol}]
    one = {"name": "c", "image": "i", "ports": ports}
    return web(name, containers=[one], nodeSelector={HOSTNAME: "node-1"})


@pytest.mark.conformance(
    "SchedulerPredicates validates that there exists conflict between pods with same "
    "hostPort and protocol but one using 0.0.0.0 hostIP"
)
def test_the_same_host_port_on_all_addresses_and_on_one_conflict() -> None:
    with Cluster(nodes=2) as cluster:
        cluster.client.create(ported("all", 54322, ""))
        has_a_node(cluster, "all")
        cluster.client.create(ported("web", 54322, "127.0.0.1"))
        cluster.wait_until(lambda: bool(events(cluster, "FailedScheduling")))
        assert (
            "1 node(s) didn't have free ports for the requested pod ports"
            in (events(cluster, "FailedScheduling")[0])
        )
        cluster.client.create(ported("udp", 54322, "127.0.0.1", "UDP"))
        has_a_node(cluster, "udp")
        assert get(cluster).spec.nodeName is None
        cluster.client.delete(api.Pod, "all", "default", grace_s=0)
        has_a_node(cluster)


@pytest.mark.conformance(
    "HostPort validates that there is no conflict between pods with same hostPort but "
    "different hostIP and protocol"
)
def test_the_same_host_port_on_different_addresses_or_protocols_do_not_conflict() -> None:
    with Cluster(nodes=2) as cluster:
        for name, ip, protocol in (
            ("a", "127.0.0.1", "TCP"),
            ("b", "127.0.0.2", "TCP"),
            ("c", "127.0.0.2", "UDP"),
        ):
            cluster.client.create(ported(name, 54323, ip, protocol))
            has_a_node(cluster, name)
            assert get(cluster, name).spec.nodeName == "node-1"


# -- preemption ----------------------------------------------------------------------------------------


def offer(cluster: Cluster, amount: int, *nodes: str) -> None:
    """Nodes offer an extended resource, as a device plugin would have them do."""
    for node in nodes:
        status = {"status": {"capacity": {EXTENDED: str(amount)}, "allocatable": {EXTENDED: str(amount)}}}
        cluster.client.patch(api.Node, node, "", status, subresource="status")
        cluster.wait_until(lambda node=node: offered(cluster, node) == amount)


def offered(cluster: Cluster, node: str) -> int:
    table = cluster.scheduler.world.table
    return int(table.allocatable(EXTENDED)[table.rows[node]])


def classes(cluster: Cluster, **values: int) -> None:
    for name, value in values.items():
        cluster.client.create(api.PriorityClass(metadata=api.ObjectMeta(name=name), value=value))


def wanting(name: str, count: int, priority: str, **spec: Any) -> api.Pod:
    return web(name, priorityClassName=priority, containers=asking(**{EXTENDED: str(count)}), **spec)


@pytest.mark.conformance("SchedulerPreemption validates basic preemption works")
def test_basic_preemption() -> None:
    with Cluster(nodes=2) as cluster:
        offer(cluster, 5, "node-1", "node-2")
        classes(cluster, low=1, medium=100, high=1000)
        for number, (node, priority) in enumerate(
            (("node-1", "low"), ("node-1", "medium"), ("node-2", "medium"), ("node-2", "medium"))
        ):
            name = f"pod{number}-{priority}"
            cluster.client.create(wanting(name, 2, priority, nodeSelector={HOSTNAME: node}))
            has_a_node(cluster, name)
        cluster.client.create(wanting("preemptor", 2, "high"))
        has_a_node(cluster, "preemptor")
        assert get(cluster, "preemptor").spec.nodeName == "node-1"
        cluster.wait_until(lambda: is_gone(cluster, api.Pod, "pod0-low"))
        names = {p.metadata.name for p in cluster.client.list(api.Pod, "default")}
        assert names == {"pod1-medium", "pod2-medium", "pod3-medium", "preemptor"}


@pytest.mark.conformance("SchedulerPreemption validates lower priority pod preemption by critical pod")
def test_a_critical_pod_preempts_in_another_namespace() -> None:
    with Cluster(nodes=2) as cluster:
        offer(cluster, 5, "node-1", "node-2")
        classes(cluster, low=1, medium=100)
        for number, priority in ((1, "low"), (2, "medium")):
            name = f"{priority}-{number}"
            cluster.client.create(wanting(name, 3, priority, nodeSelector={HOSTNAME: f"node-{number}"}))
            has_a_node(cluster, name)
        critical = wanting("critical", 3, "system-cluster-critical")
        critical.metadata.namespace = "kube-system"
        cluster.client.create(critical)
        cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, "critical", "kube-system").spec.nodeName))
        held = cluster.client.get(api.Pod, "critical", "kube-system")
        assert (held.spec.nodeName, held.spec.priority) == ("node-1", 2_000_000_000)
        cluster.wait_until(lambda: is_gone(cluster, api.Pod, "low-1"))
        has_a_node(cluster, "medium-2")


@pytest.mark.conformance(
    "SchedulerPreemption validates pod disruption condition is added to the preempted pod "
)
def test_the_disruption_condition_of_a_preempted_pod() -> None:
    with Cluster(nodes=2) as cluster:
        offer(cluster, 1, "node-1")
        classes(cluster, low=1, high=1000)
        victim = wanting("victim", 1, "low")
        victim.metadata.finalizers = ["example.com/test-finalizer"]
        cluster.client.create(victim)
        has_a_node(cluster, "victim")
        cluster.client.create(wanting("preemptor", 1, "high"))
        cluster.wait_until(lambda: get(cluster, "victim").metadata.deletionTimestamp is not None)
        condition = next(c for c in get(cluster, "victim").status.conditions if c.type == "DisruptionTarget")
        assert (condition.status, condition.reason) == ("True", "PreemptionByScheduler")
        assert nominated(cluster, "preemptor") == "node-1"
        keep = {"metadata": {"finalizers": None}}
        cluster.client.patch(api.Pod, "victim", "default", keep)
        has_a_node(cluster, "preemptor")
        assert not get(cluster, "preemptor").status.nominatedNodeName


def replicas(name: str, count: int, each: int, priority: str) -> api.ReplicaSet:
    labels = {"name": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": asking(**{EXTENDED: str(each)}),
            "priorityClassName": priority,
            "terminationGracePeriodSeconds": 0,
        },
    }
    spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
    return made(api.ReplicaSet, name, "default", spec=spec)  # type: ignore[no-any-return]


def running(cluster: Cluster, name: str) -> int:
    found = cluster.client.list(api.Pod, "default", labels=f"name={name}")
    return sum(p.status.phase == "Running" and p.metadata.deletionTimestamp is None for p in found)


@pytest.mark.conformance(
    "SchedulerPreemption PreemptionExecutionPath runs ReplicaSets to verify preemption running path"
)
def test_replicasets_on_the_path_of_preemption() -> None:
    """5 + 3 + 2 units of rising importance fill a node; the most important takes the place of the least."""
    with Cluster(nodes=2) as cluster:
        offer(cluster, 10, "node-1")
        classes(cluster, p1=1, p2=2, p3=3, p4=4)
        for name, count, each in (("p1", 5, 1), ("p2", 1, 3), ("p3", 1, 2)):
            cluster.client.create(replicas(f"rs-{name}", count, each, name))
            cluster.wait_until(lambda name=name, count=count: running(cluster, f"rs-{name}") == count)
        preempted = {p.metadata.uid for p in cluster.client.list(api.Pod, "default", labels="name=rs-p1")}
        cluster.client.create(wanting("pod4", 4, "p4"))
        has_a_node(cluster, "pod4")
        cluster.wait_until(lambda: running(cluster, "rs-p1") == 1)
        left = {
            p.metadata.uid
            for p in cluster.client.list(api.Pod, "default", labels="name=rs-p1")
            if p.status.phase == "Running"
        }
        assert left <= preempted  # one of the old ones was left, and nobody was evicted in vain
        assert (running(cluster, "rs-p2"), running(cluster, "rs-p3")) == (1, 1)
        cluster.advance(60)
        assert running(cluster, "rs-p1") == 1
        waiting = cluster.client.list(api.Pod, "default", labels="name=rs-p1")
        assert sorted(bool(p.spec.nodeName) for p in waiting) == [False] * 4 + [True]


@pytest.mark.conformance(
    "SchedulerPreemption PriorityClass endpoints verify PriorityClass endpoints can be "
    "operated with different HTTP methods"
)
def test_priorityclasses_through_every_verb(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    classes(cluster, p1=1, p2=2)
    first = cluster.client.get(api.PriorityClass, "p1")
    first.description = "updated"
    cluster.client.update(first)
    cluster.client.patch(api.PriorityClass, "p2", "", {"description": "patched"})
    assert {c.description for c in cluster.client.list(api.PriorityClass)} >= {"updated", "patched"}
    for change in ({"value": 5}, {"preemptionPolicy": "Never"}):
        with pytest.raises(ApiError) as refused:
            cluster.client.patch(api.PriorityClass, "p1", "", change)
        assert refused.value.code == 422
    changed = cluster.client.get(api.PriorityClass, "p2")
    changed.value = 7
    with pytest.raises(ApiError) as refused:
        cluster.client.update(changed)
    assert refused.value.code == 422
    assert "may not be changed in an update" in str(refused.value)
    assert [cluster.client.get(api.PriorityClass, n).value for n in ("p1", "p2")] == [1, 2]
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    transport = cluster.async_client.transport
    cluster.client.patch(api.PriorityClass, "p1", "", {"metadata": {"labels": {"own": "x"}}})
    reply = cluster.call(transport.request("DELETE", path, {"labelSelector": "own=x"}, b"", ""))
    assert reply.status == 200
    cluster.client.delete(api.PriorityClass, "p2")
    assert is_gone(cluster, api.PriorityClass, "p1", "") and is_gone(cluster, api.PriorityClass, "p2", "")


def test_quantities_that_no_node_has(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(web(containers=asking(cpu="9e15", memory="8Ei")))
    cluster.wait_until(lambda: bool(events(cluster, "FailedScheduling")))
    assert events(cluster, "FailedScheduling")[0].startswith(
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    )
    cluster.client.create(web("after"))
    has_a_node(cluster, "after")
