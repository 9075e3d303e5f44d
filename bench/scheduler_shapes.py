"""The workloads of bench/scheduler.py: nodes, pods that are there before, pods that are measured, and churn.

They have the counts, requests, labels and namespaces of kube-scheduler's scheduler_perf (1.37); what differs
is said where it does. As there, pods of one batch are of one body, whose names the server makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
FIRST, SECOND = "sched-0", "sched-1"
Spec = dict[str, Any]
Make = Callable[[int], Spec]
LITTLE = {"cpu": "100m", "memory": "500Mi"}


def pod(
    name: str,
    requests: Spec | None = None,
    limits: Spec | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Spec:
    """A pod of one container. Upstream's server runs without the ServiceAccount plugin: so no token here."""
    container: Spec = {"name": "pause", "image": "registry.k8s.io/pause:3.10.2"}
    if requests:
        container["resources"] = {"requests": requests} | ({"limits": limits} if limits else {})
    named = "generateName" if name.endswith("-") else "name"
    metadata: Spec = {named: name} | ({"labels": labels} if labels else {})
    whole = {"automountServiceAccountToken": False, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


def always(made: Spec) -> Make:
    """One body for all, as upstream's templates are."""
    return lambda i: made


def common(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Make:
    """Most templates: 100m of CPU, 500Mi of memory and a port."""
    made = pod(name, LITTLE, LITTLE, labels, **spec)
    made["spec"]["containers"][0]["ports"] = [{"containerPort": 80}]
    return always(made)


def sized(name: str, cpu: str, **spec: Any) -> Make:
    amounts = {"cpu": cpu, "memory": "500Mi"}
    made = pod(name, amounts, amounts, **spec)
    return always(made)


def node(name: str, labels: dict[str, str] | None = None, pods: str = "110", **more: str) -> Spec:
    """What scheduler_perf's nodes are: 4 CPUs, 32Gi, the hostname as a label, ready."""
    status = {
        "capacity": {"cpu": "4", "memory": "32Gi", "pods": pods, **more},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    metadata = {"name": name, "labels": {HOST: name, **(labels or {})}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def in_zones(*zones: str) -> Make:
    return lambda i: node(f"n{i}", {ZONE: zones[i % len(zones)]})


def plain_node(i: int) -> Spec:
    return node(f"n{i}")


def own_resource_node(i: int) -> Spec:
    return node(f"n{i}", **{f"foo.com/bar-{i}": "1"})


def own_resource_pod(i: int) -> Spec:
    wanted = {f"foo.com/bar-{i}": "1"}
    return pod(f"wants-{i}", wanted, wanted)


def spread(when: str) -> Spec:
    selector = {"matchLabels": {"color": "blue"}}
    one = {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when, "labelSelector": selector}
    return {"topologySpreadConstraints": [one]}


def neighbours(part: str, key: str, color: str, *, required: bool) -> Spec:
    """An affinity or anti-affinity to pods of a colour, in both namespaces."""
    term = {
        "topologyKey": key,
        "labelSelector": {"matchLabels": {"color": color}},
        "namespaces": [SECOND, FIRST],
    }
    if required:
        return {"affinity": {part: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    weighted = {"weight": 1, "podAffinityTerm": term}
    return {"affinity": {part: {"preferredDuringSchedulingIgnoredDuringExecution": [weighted]}}}


def colored(name: str, color: str, part: str, key: str, *, required: bool) -> Make:
    return common(name, {"color": color}, **neighbours(part, key, color, required=required))


def selecting(**term: Any) -> Spec:
    required = {"nodeSelectorTerms": [term]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def on_node(name: str) -> Spec:
    """What the DaemonSet controller writes into its pods."""
    return selecting(matchFields=[{"key": "metadata.name", "operator": "In", "values": [name]}])


def service(i: int) -> Spec:
    port = {"protocol": "TCP", "port": 8080, "targetPort": 8080}
    spec = {"selector": {"app": "foo"}, "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"churn-{i}"}, "spec": spec}


def churned_node(i: int) -> Spec:
    return node(f"churn-{i}", pods="0")


def too_large(i: int) -> Spec:
    return pod(
        f"churn-{i}",
        {"cpu": "9", "memory": "500Mi"},
        priorityClassName="high",
        terminationGracePeriodSeconds=0,
    )


class Batch(msgspec.Struct):
    """So many of one kind, made from their numbers."""

    count: int
    make: Make
    namespace: str = "default"

    def scaled(self, size: float) -> int:
        return self.count if self.count == 1 else int(self.count * size)


class Churn(msgspec.Struct):
    """One of each is created every so often; with `recreate` it is deleted at the next turn."""

    every_s: float
    makes: tuple[Make, ...]
    recreate: bool = False


class Workload(msgspec.Struct):
    """`asked` is in pods a second; `upstream` the test and the threshold there, 0 where it has none."""

    asked: int
    upstream: tuple[str, int]
    nodes: tuple[Batch, ...]
    measured: Batch
    before: tuple[Batch, ...] = ()
    churn: Churn | None = None


BASIC = common("pod-")
AFFINE = colored("affinity-", "blue", "podAffinity", ZONE, required=True)
APART = colored("anti-affinity-", "green", "podAntiAffinity", HOST, required=True)
NEAR = colored("preferred-affinity-", "red", "podAffinity", HOST, required=False)
AWAY = colored("preferred-anti-affinity-", "yellow", "podAntiAffinity", HOST, required=False)
LOW = sized("low-", "900m", terminationGracePeriodSeconds=0)
# Upstream's server runs without the Priority plugin, and its pods name the number itself.
HIGH = sized("high-", "3", priorityClassName="high")
NODES = (Batch(5000, plain_node),)
ZONE1 = (Batch(5000, in_zones("zone1")),)
ZONES = (Batch(5000, in_zones("moon-1", "moon-2", "moon-3")),)

WORKLOADS: dict[str, Workload] = {
    "basic": Workload(
        1400, ("SchedulingBasic", 680), NODES, Batch(10000, BASIC), (Batch(1000, BASIC),)
    ),
    "unschedulable": Workload(
        1200, ("Unschedulable", 590), NODES, Batch(10000, BASIC), (Batch(100, BASIC),),
        Churn(0.2, (too_large,)),
    ),
    "mixed churn": Workload(
        1400, ("SchedulingWithMixedChurn", 710), NODES, Batch(10000, BASIC),
        churn=Churn(1.0, (churned_node, too_large, service), recreate=True),
    ),
    "topology spread required": Workload(
        950, ("TopologySpreading", 460), ZONES,
        Batch(5000, common("spread-", {"color": "blue"}, **spread("DoNotSchedule"))), (Batch(5000, BASIC),),
    ),
    "topology spread preferred": Workload(
        700, ("PreferredTopologySpreading", 340), ZONES,
        Batch(5000, common("spread-", {"color": "blue"}, **spread("ScheduleAnyway"))), (Batch(5000, BASIC),),
    ),
    "node affinity": Workload(
        700, ("SchedulingNodeAffinity", 540), ZONE1,
        Batch(10000, common("node-affinity-", **selecting(
            matchExpressions=[{"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}]))),
        (Batch(5000, BASIC),),
    ),
    "pod anti-affinity": Workload(
        600, ("SchedulingPodAntiAffinity", 180), NODES, Batch(2000, APART, SECOND),
        (Batch(1000, APART, FIRST),),
    ),
    "pod affinity": Workload(
        600, ("SchedulingPodAffinity", 70), ZONE1, Batch(5000, AFFINE, SECOND), (Batch(5000, AFFINE, FIRST),)
    ),
    "preferred affinity": Workload(
        600, ("SchedulingPreferredPodAffinity", 160), NODES, Batch(5000, NEAR, SECOND),
        (Batch(5000, NEAR, FIRST),),
    ),
    "preferred anti-affinity": Workload(
        600, ("SchedulingPreferredPodAntiAffinity", 190), NODES, Batch(5000, AWAY, SECOND),
        (Batch(5000, AWAY, FIRST),),
    ),
    "mixed": Workload(
        600, ("MixedSchedulingBasePod", 540), ZONE1, Batch(5000, BASIC),
        tuple(Batch(2000, make, FIRST) for make in (BASIC, AFFINE, APART, NEAR, AWAY)),
    ),
    "extended resources": Workload(
        700, ("SchedulingWithExtendedResource", 180), (Batch(5000, own_resource_node),),
        Batch(5000, own_resource_pod),
    ),
    "preemption": Workload(
        600, ("PreemptionAsync", 570), NODES, Batch(5000, BASIC), (Batch(20000, LOW),),
        Churn(0.2, (lambda i: HIGH(i),)),
    ),
    "daemons on 15,000 nodes": Workload(
        2200, ("SchedulingDaemonset", 1100),
        (Batch(1, lambda i: node("the-node", pods="90000")), Batch(15000, plain_node)),
        Batch(30000, always(pod("daemonset-", **on_node("the-node")))),
    ),
    # Harder than what upstream measures: each pod names another node; each pod has to preempt.
    "daemons, each on its own node": Workload(
        0, ("", 0), (Batch(15000, plain_node),),
        Batch(15000, lambda i: pod("daemonset-", LITTLE, **on_node(f"n{i}"))),
    ),
    "preemption by each": Workload(
        0, ("PreemptionBasic", 0), NODES, Batch(5000, HIGH), (Batch(20000, LOW),)
    ),
}  # fmt: skip
