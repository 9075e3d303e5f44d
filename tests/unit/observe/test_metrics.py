"""From the counters of nodes to what metrics.k8s.io answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sampan.node.runtimes.runtime import Usage as RuntimeUsage
from sampan.node.streaming.stats import MachineUsage, summary
from sampan.observe.metrics.answers import Objects, answer
from sampan.observe.metrics.usage import Look, PodRef, Summary, Usage, look, usage
from sampan.schema import api, codec
from sampan.testing import Cluster

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)
MIB = 1 << 20


def pod(name: str, *containers: str, node: str = "n1") -> Any:
    made = api.Pod(
        metadata=api.ObjectMeta(name=name, namespace="shop", uid=f"uid-{name}"),
        spec=api.PodSpec(nodeName=node),
    )
    made.status.containerStatuses = [
        api.ContainerStatus(
            name=one,
            containerID=f"containerd://{name}-{one}",
            state=api.ContainerState(running=api.ContainerStateRunning(startedAt=NOW)),
        )
        for one in containers
    ]
    return made


def seen(at: datetime, machine: MachineUsage | None = None, **used_s: float) -> Look:
    """A look at the pods `web` (a, b) and `db` (a), whose containers have used so many CPU seconds."""
    usages = [
        RuntimeUsage(name.replace("_", "-"), int(amount_s * 1e9), 4 * MIB)
        for name, amount_s in used_s.items()
    ]
    document = summary("n1" if machine else "", [pod("web", "a", "b"), pod("db", "a")], usages, machine, at)
    return look([msgspec.convert(msgspec.to_builtins(document, builtin_types=(datetime,)), Summary)])


def test_two_looks_make_a_rate() -> None:
    before = seen(NOW, web_a=1.0, web_b=0.0, db_a=5.0)
    after = seen(LATER, web_a=3.5, web_b=1.0, db_a=5.0)
    found = usage(before, after)
    amounts = {ref.name: {n: a.cpu_nano for n, a in per.items()} for ref, per in found.pods.items()}
    assert amounts == {"web": {"a": 250_000_000, "b": 100_000_000}, "db": {"a": 0}}
    # The node is no machine: it uses what its pods use.
    assert (found.nodes["n1"].cpu_nano, found.nodes["n1"].memory_bytes) == (350_000_000, 12 * MIB)


def test_half_a_pod_is_not_told() -> None:
    restarted = usage(seen(NOW, web_a=9.0, web_b=1.0, db_a=1.0), seen(LATER, web_a=0.5, web_b=2.0, db_a=2.0))
    assert [ref.name for ref in restarted.pods] == ["db"]
    fresh = usage(seen(NOW, db_a=1.0), seen(LATER, web_a=0.5, web_b=2.0, db_a=2.0))
    assert [ref.name for ref in fresh.pods] == ["db"]


def test_a_machine_is_measured_as_a_whole() -> None:
    before = seen(NOW, MachineUsage(int(100e9), 900 * MIB, 100 * MIB), web_a=1.0)
    after = seen(LATER, MachineUsage(int(105e9), 901 * MIB, 99 * MIB), web_a=2.0)
    node = usage(before, after).nodes["n1"]
    assert (node.cpu_nano, node.memory_bytes, node.window_s) == (500_000_000, 901 * MIB, 10.0)


def test_what_is_not_running_has_no_usage() -> None:
    ended = pod("web", "a")
    ended.status.containerStatuses[0].state = api.ContainerState(
        terminated=api.ContainerStateTerminated(exitCode=0)
    )
    document = summary("n1", [ended], [RuntimeUsage("web-a", 1, 1)], None, NOW)
    assert document == {"node": {"nodeName": "n1"}, "pods": []}


USAGE: Usage = usage(
    seen(NOW, MachineUsage(0, MIB, MIB), web_a=1.0, web_b=0.0, db_a=5.0),
    seen(LATER, MachineUsage(int(2e9), MIB, MIB), web_a=2.0, web_b=1.0, db_a=6.0),
)
OBJECTS = Objects(
    nodes={"n1": {"zone": "east"}},
    pods={("shop", "web"): {"app": "web"}, ("shop", "db"): {"app": "db"}},
)


@pytest.mark.parametrize(
    ("path", "query", "names"),
    [
        ("nodes", {}, ["n1"]),
        ("nodes", {"labelSelector": "zone=west"}, []),
        ("pods", {}, ["db", "web"]),
        ("namespaces/shop/pods", {"labelSelector": "app in (web)"}, ["web"]),
        ("namespaces/shop/pods", {"fieldSelector": "metadata.name=db"}, ["db"]),
        ("namespaces/other/pods", {}, []),
    ],
)
def test_lists(path: str, query: dict[str, str], names: list[str]) -> None:
    found = answer(f"/apis/metrics.k8s.io/v1beta1/{path}", query, USAGE, OBJECTS)
    assert found.status == 200
    assert [item["metadata"]["name"] for item in found.body["items"]] == names
    # As lists of typed items are: which kind they are of is said once.
    assert not any("kind" in item or "apiVersion" in item for item in found.body["items"])


def test_one_pod() -> None:
    found = answer("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/web", {}, USAGE, OBJECTS)
    assert msgspec.json.decode(codec.encode(found.body)) == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "creationTimestamp": "2030-01-01T00:00:10Z",
            "labels": {"app": "web"},
        },
        "timestamp": "2030-01-01T00:00:10Z",
        "window": "10.000s",
        "containers": [
            {"name": "a", "usage": {"cpu": "100000000n", "memory": "4096Ki"}},
            {"name": "b", "usage": {"cpu": "100000000n", "memory": "4096Ki"}},
        ],
    }


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/apis/metrics.k8s.io/v1beta1/nodes/none", {}, 404),
        ("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/none", {}, 404),
        ("/apis/metrics.k8s.io/v1beta1/secrets", {}, 404),
        ("/apis/metrics.k8s.io/v1beta1/pods", {"labelSelector": "a=b=c"}, 400),
    ],
)
def test_refusals(path: str, query: dict[str, str], code: int) -> None:
    found = answer(path, query, USAGE, OBJECTS)
    assert (found.status, found.body["code"]) == (code, code)


def test_discovery() -> None:
    found = answer("/apis/metrics.k8s.io/v1beta1", {}, Usage(), Objects())
    assert [(r["name"], r["namespaced"]) for r in found.body["resources"]] == [
        ("nodes", False),
        ("pods", True),
    ]


def test_simulated_pods_use_what_their_annotation_says() -> None:
    with Cluster() as cluster:
        annotation = {"sampan.dev/simulate": '{"cpu": "250m", "memory": "64Mi"}'}
        cluster.client.create(
            api.Pod(
                metadata=api.ObjectMeta(name="web", namespace="default", annotations=annotation),
                spec=api.PodSpec(containers=[api.Container(name="c", image="c:1")]),
            )
        )
        cluster.wait_until(lambda: cluster.client.get(api.Pod, "web", "default").status.phase == "Running")

        async def seen_now() -> Look:
            runtime = cluster.nodes.runtime
            document = summary("", cluster.nodes.pods(), await runtime.usage(), None, cluster.now())
            return look([msgspec.convert(msgspec.to_builtins(document, builtin_types=(datetime,)), Summary)])

        before = cluster.call(seen_now())
        cluster.advance(20)
        found = usage(before, cluster.call(seen_now()))
        (ref,) = found.pods
        amount = found.pods[ref]["c"]
        assert (ref.name, amount.cpu_nano, amount.memory_bytes) == ("web", 250_000_000, 64 * MIB)
        assert isinstance(ref, PodRef)
        assert found.nodes["node-1"] == amount
