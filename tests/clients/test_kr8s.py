"""kr8s: objects that know their cluster, waiting, watching, logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap, Deployment, Pod

from sampan.testing.cluster import Cluster
from tests.clients.manifests import config_map, deployment, pod

pytestmark = [
    pytest.mark.clients,
    # Each release names the versions it was tried with, and warns of all newer ones.
    pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning"),
    # It keeps its connections until the garbage collector comes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LIMIT_S = 20


def connected(live: Cluster, namespace: str, work: Callable[[Any], Awaitable[None]]) -> None:
    """Run `work` with a connected client."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S):
            await work(await kr8s.asyncio.api(kubeconfig=str(live.kubeconfig), namespace=namespace))

    asyncio.run(whole())


def test_objects_are_made_changed_and_deleted(live: Cluster, own: str) -> None:
    async def work(api: Any) -> None:
        made = await ConfigMap(config_map("a", own, x="1"), api=api)
        await made.create()
        await made.patch({"data": {"y": "2"}})
        await made.label({"tier": "front"})
        await made.annotate({"why": "because"})
        found = [each async for each in api.get("configmaps", label_selector={"tier": "front"})]
        assert [each.name for each in found] == ["a"]
        assert dict(found[0].data) == {"x": "1", "y": "2"}
        assert await made.exists()
        await made.delete()
        await made.wait("delete", timeout=LIMIT_S)
        assert not await made.exists()

    connected(live, own, work)


def test_a_deployment_is_scaled_and_its_pods_found(live: Cluster, own: str) -> None:
    async def work(api: Any) -> None:
        made = await Deployment(deployment("web", own), api=api)
        await made.create()
        await made.wait("condition=Available", timeout=LIMIT_S)
        await made.scale(3)
        await made.wait("jsonpath='{.status.readyReplicas}'=3", timeout=LIMIT_S)
        assert len(await made.pods()) == 3

    connected(live, own, work)


def test_a_pod_is_watched_and_told_about(live: Cluster, own: str) -> None:
    async def work(api: Any) -> None:
        made = await Pod(pod("one", own), api=api)
        await made.create()
        async for _, seen in api.watch("pods", namespace=own):
            if seen.status.phase == "Running":
                break
        await made.refresh()
        assert await made.ready()
        assert [line async for line in made.logs()] == ["simulated container main"]
        version = await api.version()
        assert version["major"] == "1"
        listed = await api.api_resources()
        assert {"pods", "deployments"} <= {each["name"] for each in listed}

    connected(live, own, work)
