"""ComponentStatuses, and what HEAD gets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sampan.schema import api
from sampan.testing.cluster import Cluster
from tests.api.server import TABLE, Api, served

STATUSES = "/api/v1/componentstatuses"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


async def _found(server: Api) -> dict[str, tuple[str, str]]:
    items = (await server.get(STATUSES)).ok()["items"]
    assert not any("kind" in item for item in items)
    return {
        item["metadata"]["name"]: (item["conditions"][0]["status"], item["conditions"][0]["message"])
        for item in items
    }


@served
async def test_controllers_and_scheduler_go_by_their_lease(server: Api) -> None:
    why = "nobody has taken the Lease kube-system/kube-controller-manager yet"
    assert await _found(server) == {
        "controller-manager": ("False", why),
        "scheduler": ("False", why),
        "etcd-0": ("True", "ok"),
    }
    lease: dict[str, Any] = {
        "metadata": {"name": "kube-controller-manager"},
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "renewTime": f"{server.clock.now():%Y-%m-%dT%H:%M:%S.000000Z}",
        },
    }
    (await server.post(LEASES, lease)).ok(201)
    assert set((await _found(server)).values()) == {("True", "ok")}
    await server.clock.advance(timedelta(seconds=16).total_seconds())
    assert (await _found(server))["scheduler"] == (
        "False",
        "the Lease kube-system/kube-controller-manager has not been renewed since 2026-01-01T00:00:00Z",
    )


@served
async def test_one_status_and_one_that_is_not_there(server: Api) -> None:
    found = (await server.get(f"{STATUSES}/etcd-0")).ok()
    assert found == {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": "etcd-0"},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }
    missing = (await server.get(f"{STATUSES}/nope")).refused(404, "NotFound")
    assert missing == 'componentstatus "nope" not found'


@served
async def test_statuses_are_selected_and_shown_in_tables(server: Api) -> None:
    async def names(**query: str) -> list[str]:
        return (await server.get(STATUSES, **query)).names

    assert await names(fieldSelector="metadata.name=scheduler") == ["scheduler"]
    assert await names(labelSelector="a=b") == []
    assert len(await names(labelSelector="a!=b")) == 3
    rows = (await server.get(STATUSES, accept=TABLE)).ok()["rows"]
    assert rows[2]["cells"] == ["etcd-0", "Healthy", "ok", ""]


def test_controllers_in_the_same_process_are_known() -> None:
    with Cluster() as cluster:
        statuses = cluster.client.list(api.ComponentStatus)
        assert {each.conditions[0].message for each in statuses} == {"ok"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/namespaces", 405),
        ("/api/v1/namespaces/default", 405),
        ("/api/v1/namespaces/default/status", 405),
        ("/api/v1/namespaces/none", 405),
        ("/api", 405),
        ("/apis/apps/v1", 405),
        ("/version", 405),
        ("/healthz", 200),
        ("/openapi/v3", 200),
        ("/metrics", 200),
        ("/", 200),
    ],
)
def test_head_is_for_what_is_no_resource(path: str, code: int) -> None:
    @served
    async def work(server: Api) -> None:
        assert (await server.call("HEAD", path)).code == code

    work()
