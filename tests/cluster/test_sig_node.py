"""What sig-node's conformance tests say of pods, on simulated nodes under a moved clock."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.machinery.quantity import quantity
from sampan.schema import api, codec
from sampan.testing import Cluster

NAMESPACE = "default"
EVICT = {"key": "example.com/evict", "value": "now", "effect": "NoExecute"}


def create(
    cluster: Cluster, name: str = "web", simulate: dict[str, Any] | None = None, **spec: Any
) -> api.Pod:
    containers = [{"name": "main", "image": "web:1", **spec.pop("container", {})}]
    annotations = {"sampan.dev/simulate": json.dumps(simulate)} if simulate else {}
    body = {
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 0, **spec},
    }
    made: api.Pod = cluster.client.create(codec.from_builtins(body, api.Pod))
    return made


def get(cluster: Cluster, name: str = "web") -> api.Pod:
    return cluster.client.get(api.Pod, name, NAMESPACE)


def is_running(cluster: Cluster, name: str = "web") -> bool:
    return get(cluster, name).status.phase == "Running"


def is_ready(cluster: Cluster, name: str = "web") -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in get(cluster, name).status.conditions)


def restarts(cluster: Cluster, name: str = "web") -> int:
    return sum(one.restartCount or 0 for one in get(cluster, name).status.containerStatuses)


def is_gone(cluster: Cluster, name: str) -> bool:
    try:
        return get(cluster, name).metadata.deletionTimestamp is not None
    except ApiError as error:
        assert error.code == 404
        return True


def taint(cluster: Cluster, *taints: dict[str, str]) -> None:
    cluster.client.patch(api.Node, "node-1", "", {"spec": {"taints": list(taints) or None}})


def tolerating(seconds: int) -> list[dict[str, Any]]:
    return [{**EVICT, "operator": "Equal", "tolerationSeconds": seconds}]


@pytest.mark.conformance("NoExecuteTaintManager Single Pod removing taint cancels eviction")
def test_a_taint_that_goes_in_time_evicts_nobody() -> None:
    with Cluster() as cluster:
        create(cluster, tolerations=tolerating(60))
        cluster.wait_until(lambda: is_running(cluster))
        taint(cluster, EVICT)
        cluster.settle()
        cluster.advance(50)
        assert not is_gone(cluster, "web")
        taint(cluster)
        cluster.settle()
        cluster.advance(120)
        assert is_running(cluster)


@pytest.mark.conformance("NoExecuteTaintManager Multiple Pods evicts pods with minTolerationSeconds")
def test_each_pod_goes_when_its_own_time_is_over() -> None:
    with Cluster() as cluster:
        for name, seconds in (("short", 30), ("long", 90)):
            create(cluster, name, tolerations=tolerating(seconds))
            cluster.wait_until(lambda name=name: is_running(cluster, name))
        taint(cluster, EVICT)
        cluster.settle()
        cluster.advance(25)
        assert (is_gone(cluster, "short"), is_gone(cluster, "long")) == (False, False)
        cluster.advance(10)
        cluster.wait_until(lambda: is_gone(cluster, "short"), advance=False)
        assert not is_gone(cluster, "long")
        cluster.advance(60)
        cluster.wait_until(lambda: is_gone(cluster, "long"), advance=False)


EXEC = {"exec": {"command": ["cat", "/tmp/health"]}}


@pytest.mark.conformance(
    "Probing container with readiness probe should not be ready before initial delay and never restart"
)
def test_nobody_is_ready_before_the_initial_delay() -> None:
    with Cluster() as cluster:
        create(cluster, container={"readinessProbe": {**EXEC, "initialDelaySeconds": 30}})
        cluster.wait_until(lambda: is_running(cluster), advance=False)
        started = cluster.now()
        cluster.advance(25)
        assert not is_ready(cluster)
        cluster.wait_until(lambda: is_ready(cluster))
        assert cluster.now() - started >= timedelta(seconds=29)
        assert restarts(cluster) == 0


@pytest.mark.conformance(
    "Probing container with readiness probe that fails should never be ready and never restart"
)
def test_a_failing_readiness_probe_restarts_nothing() -> None:
    with Cluster() as cluster:
        create(cluster, simulate={"exec_exit_code": 1}, container={"readinessProbe": EXEC})
        cluster.wait_until(lambda: is_running(cluster))
        for _ in range(10):
            cluster.advance(30)
            assert not is_ready(cluster)
        assert (is_running(cluster), restarts(cluster)) == (True, 0)


@pytest.mark.conformance("Probing container should have monotonically increasing restart count")
def test_each_restart_counts_one_more() -> None:
    probe = {**EXEC, "initialDelaySeconds": 5, "failureThreshold": 1}
    with Cluster() as cluster:
        create(cluster, simulate={"exec_exit_code": 1}, container={"livenessProbe": probe})
        seen = [0]
        for _ in range(1200):
            cluster.advance(2)
            count = restarts(cluster)
            if count != seen[-1]:
                seen.append(count)
            if count == 5:
                break
        assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.conformance(
    "Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and "
    "observedGeneration eventually converge"
)
def test_the_observed_generation_follows_many_updates() -> None:
    with Cluster() as cluster:
        create(cluster)
        cluster.wait_until(lambda: is_running(cluster))

        async def update() -> None:
            for number in range(500):
                patch = {"spec": {"activeDeadlineSeconds": 100_000 - number}}
                await cluster.async_client.patch(api.Pod, "web", NAMESPACE, patch)

        cluster.call(update())
        assert get(cluster).metadata.generation == 501
        cluster.wait_until(lambda: get(cluster).status.observedGeneration == 501)


@pytest.mark.conformance("Conformance Tests should have at least two untainted nodes")
def test_pods_spread_over_nodes_without_taints() -> None:
    with Cluster(nodes=2) as cluster:
        nodes = cluster.client.list(api.Node)
        assert [node.spec.taints for node in nodes] == [[], []]
        cpu = quantity("5")
        for name in ("a", "b"):
            create(cluster, name, container={"resources": {"requests": {"cpu": cpu.text}}})
            cluster.wait_until(lambda name=name: is_running(cluster, name))
        assert {get(cluster, name).spec.nodeName for name in ("a", "b")} == {"node-1", "node-2"}
