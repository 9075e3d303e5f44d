"""The descheduler in a whole cluster, under a clock that the test moves."""

from __future__ import annotations

from typing import Any

from sampan.client.errors import ApiError
from sampan.descheduler.running import Descheduler
from sampan.schema import api
from sampan.testing import Cluster
from tests.cluster.test_sig_scheduling import made

HEAD = {"apiVersion": "descheduler/v1alpha2", "kind": "DeschedulerPolicy"}


def policy(*deschedule: str, balance: tuple[str, ...] = (), **rest: Any) -> dict[str, Any]:
    plugins = {"deschedule": {"enabled": list(deschedule)}, "balance": {"enabled": list(balance)}}
    return {**HEAD, "profiles": [{"name": "p", "plugins": plugins}], **rest}


def deployment(replicas: int) -> api.Deployment:
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return made(api.Deployment, "web", "default", spec=spec)


def cordon(cluster: Cluster, name: str, is_off: bool) -> None:
    cluster.client.patch(api.Node, name, "", {"spec": {"unschedulable": is_off}})


def nodes_of(cluster: Cluster) -> list[str]:
    """Where the ready pods are that stay."""
    return sorted(
        pod.spec.nodeName or ""
        for pod in cluster.client.list(api.Pod, "default")
        if pod.metadata.deletionTimestamp is None
        and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    )


def events(cluster: Cluster, reason: str) -> list[str]:
    found = cluster.client.list(api.Event, "default")
    return [event.message or "" for event in found if event.reason == reason]


def crowded(cluster: Cluster, replicas: int) -> tuple[str, str]:
    """All replicas on one node, the other one just back."""
    one, two = (node.metadata.name or "" for node in cluster.client.list(api.Node))
    cordon(cluster, two, True)
    cluster.client.create(deployment(replicas))
    cluster.wait_until(lambda: nodes_of(cluster) == [one] * replicas)
    cordon(cluster, two, False)
    return one, two


def test_duplicates_are_spread_once_there_is_a_node_for_them() -> None:
    rules = policy(balance=("RemoveDuplicates",), deschedulingInterval="10m")
    with Cluster(nodes=2, descheduler=rules) as cluster:
        one, two = crowded(cluster, 4)
        cluster.advance(600)
        cluster.wait_until(lambda: nodes_of(cluster) == [one, one, two, two])
        cluster.wait_until(lambda: len(events(cluster, "RemoveDuplicates")) == 2)
        assert events(cluster, "RemoveDuplicates")[0].startswith(f"pod eviction from {one} node: there are ")
        names = {pod.metadata.name for pod in cluster.client.list(api.Pod, "default")}
        cluster.advance(1300)  # there is nothing more to do
        assert {pod.metadata.name for pod in cluster.client.list(api.Pod, "default")} == names


def test_caps_and_budgets_are_kept() -> None:
    rules = policy("RemovePodsViolatingNodeTaints", deschedulingInterval="10m", maxNoOfPodsToEvictTotal=1)
    with Cluster(nodes=2, descheduler=rules) as cluster:
        one, two = crowded(cluster, 3)
        selector = {"matchLabels": {"app": "web"}}
        budget = made(
            api.PodDisruptionBudget, "b", "default", spec={"selector": selector, "maxUnavailable": 0}
        )
        cluster.client.create(budget)
        cluster.settle()
        taints = [{"key": "k", "effect": "NoSchedule"}]
        cluster.client.patch(api.Node, one, "", {"spec": {"taints": taints}})
        cluster.advance(601)
        assert nodes_of(cluster) == [one] * 3
        cluster.client.patch(api.PodDisruptionBudget, "b", "default", {"spec": {"maxUnavailable": 1}})
        cluster.settle()
        cluster.advance(600)
        cluster.wait_until(lambda: nodes_of(cluster) == [one, one, two])
        cluster.advance(600)
        cluster.wait_until(lambda: nodes_of(cluster) == [one, two, two])


def test_a_crash_in_mid_run_leaves_the_rest_to_the_next() -> None:
    rules = policy(balance=("RemoveDuplicates",), deschedulingInterval="10m")
    with Cluster(nodes=2, descheduler=rules) as cluster:
        one, two = crowded(cluster, 6)
        first = cluster.descheduler
        evicted: list[str] = []
        evict = first._evict

        async def dies(eviction: Any) -> bool:
            if evicted:
                raise RuntimeError("the process dies")
            evicted.append(eviction.node)
            return await evict(eviction)

        first._evict = dies  # type: ignore[method-assign]
        cluster.advance(600)
        cluster.wait_until(lambda: nodes_of(cluster) == [one] * 5 + [two])
        # Whoever takes over knows nothing of it, and finds what is left to do.
        after = Descheduler(cluster.async_client, cluster.clock, first._policy)
        done = cluster.call(after.once())
        assert [each.node for each in done] == [one, one]
        cluster.wait_until(lambda: nodes_of(cluster) == [one] * 3 + [two] * 3)
        assert cluster.call(after.once()) == ()


def test_what_the_server_refuses_is_left_alone() -> None:
    rules = policy(balance=("RemoveDuplicates",), deschedulingInterval="10m")
    with Cluster(nodes=2, descheduler=rules) as cluster:
        one, _two = crowded(cluster, 2)
        client = cluster.async_client
        post = client.post
        refused: list[str] = []

        async def refuse(path: str, obj: Any, answer: Any) -> Any:
            if path.endswith("/eviction"):
                refused.append(path)
                raise ApiError.of(429, "TooManyRequests", "not now")
            return await post(path, obj, answer)

        client.post = refuse  # type: ignore[method-assign]
        cluster.advance(601)
        client.post = post  # type: ignore[method-assign]
        assert refused
        assert nodes_of(cluster) == [one, one] and events(cluster, "RemoveDuplicates") == []
