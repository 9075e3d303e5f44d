"""kubernetes_asyncio: typed and dynamic clients, watches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.dynamic import DynamicClient

from sampan.testing.cluster import Cluster
from tests.clients.manifests import config_map, deployment

pytestmark = pytest.mark.clients
LIMIT_S = 20


def connected(live: Cluster, work: Callable[[client.ApiClient], Awaitable[None]]) -> None:
    """Run `work` with a connected client."""

    async def whole() -> None:
        settings = client.Configuration()
        await config.load_kube_config(str(live.kubeconfig), client_configuration=settings)
        async with asyncio.timeout(LIMIT_S), client.ApiClient(settings) as connection:
            await work(connection)

    asyncio.run(whole())


def test_objects_and_their_refusals(live: Cluster, own: str) -> None:
    async def work(connection: client.ApiClient) -> None:
        core = client.CoreV1Api(connection)
        made = await core.create_namespaced_config_map(own, config_map("a", x="1"))
        assert made.data == {"x": "1"}
        patched = await core.patch_namespaced_config_map(
            "a", own, [{"op": "replace", "path": "/data/x", "value": "2"}]
        )
        assert patched.data == {"x": "2"}
        with pytest.raises(ApiException) as refused:
            await core.create_namespaced_config_map(own, config_map("A_bad"))
        assert refused.value.status == 422
        assert "a lowercase RFC 1123 subdomain" in str(refused.value.body)
        listed = await core.list_namespaced_config_map(own, field_selector="metadata.name=a")
        assert [item.metadata.name for item in listed.items] == ["a"]
        await core.delete_collection_namespaced_config_map(own)
        left = await core.list_namespaced_config_map(own, field_selector="metadata.name=a")
        assert left.items == []

    connected(live, work)


def test_a_deployment_is_watched_until_it_is_ready(live: Cluster, own: str) -> None:
    async def work(connection: client.ApiClient) -> None:
        apps = client.AppsV1Api(connection)
        await apps.create_namespaced_deployment(own, deployment("web"))
        async with watch.Watch().stream(apps.list_namespaced_deployment, own) as events:
            async for event in events:
                if event["object"].status.ready_replicas == 2:
                    break
        pods = await client.CoreV1Api(connection).list_namespaced_pod(own, label_selector="app=web")
        assert {pod.status.phase for pod in pods.items} == {"Running"}

    connected(live, work)


def test_the_dynamic_client(live: Cluster, own: str) -> None:
    async def work(connection: client.ApiClient) -> None:
        found = await DynamicClient(connection)
        maps = await found.resources.get(api_version="v1", kind="ConfigMap")
        await maps.create(body=config_map("a", x="1"), namespace=own)
        applied = await maps.server_side_apply(
            body=config_map("a", x="2"), name="a", namespace=own, field_manager="tester", force_conflicts=True
        )
        assert applied.data.x == "2"
        await maps.delete(name="a", namespace=own)
        # This client gives refusals as they are.
        gone = await maps.get(name="a", namespace=own)
        assert (gone.kind, gone.code, gone.reason) == ("Status", 404, "NotFound")

    connected(live, work)
