"""Leases of API servers, and what their own controllers keep beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from sampan.apiserver.core import presence
from sampan.schema import api as types
from tests.api.server import Api, config_map, run

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
MAPS = "/api/v1/namespaces/kube-system/configmaps"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def present(test: Callable[[Api], Awaitable[None]]) -> Callable[[], None]:
    """A test with a server that has told of itself."""

    async def work(api: Api) -> None:
        await api.clock.advance(0)
        await test(api)

    def whole() -> None:
        asyncio.run(run(work, hostname="localhost"))

    return whole


def test_a_server_is_named_as_kube_apiserver_names_the_one_on_that_host() -> None:
    assert presence.identity("vm") == "apiserver-wlv32tlttr4jl3gtroqexyxapa"


@pytest.mark.parametrize(
    ("renewed", "gone"), [("2024-02-30T00:00:00.000000Z", True), ("9999-12-31T23:59:59.000000Z", False)]
)
def test_times_of_leases_that_no_server_writes(renewed: str, gone: bool) -> None:
    made = presence.lease("vm", "vm_1", "10.0.0.1:6443", NOW)
    made.spec.renewTime = renewed
    assert presence.expired(made, NOW) is gone


def test_a_lease_runs_out_when_it_is_not_renewed() -> None:
    made = presence.lease("vm", "vm_1", "10.0.0.1:6443", NOW)
    assert not presence.expired(made, NOW + timedelta(seconds=presence.LEASE_S))
    assert presence.expired(made, NOW + timedelta(seconds=presence.LEASE_S + 1))
    other = types.Lease(metadata=types.ObjectMeta(name="mine"), spec=made.spec)
    assert not presence.expired(other, NOW + timedelta(days=9))


@present
async def test_each_server_has_a_lease_that_it_renews(api: Api) -> None:
    (first,) = (await api.get(LEASES)).ok()["items"]
    assert first["metadata"]["name"] == presence.identity("localhost")
    assert first["metadata"]["labels"] == {
        "apiserver.kubernetes.io/identity": "kube-apiserver",
        "kubernetes.io/hostname": "localhost",
    }
    assert first["metadata"]["annotations"] == {"kubernetes.io/peer-advertise-address": "127.0.0.1:6443"}
    assert first["spec"]["holderIdentity"].startswith(f"{first['metadata']['name']}_")
    assert first["spec"]["leaseDurationSeconds"] == 3600
    await api.clock.advance(presence.RENEW_EVERY_S)
    (again,) = (await api.get(LEASES)).ok()["items"]
    assert again["spec"]["renewTime"] > first["spec"]["renewTime"]


@present
async def test_leases_of_servers_that_are_gone_are_removed_and_others_stay(api: Api) -> None:
    (own,) = (await api.get(LEASES)).ok()["items"]
    for name in ("apiserver-gone", "kube-scheduler"):
        labels = own["metadata"]["labels"] if name == "apiserver-gone" else {}
        lease = {"metadata": {"name": name, "labels": labels}, "spec": own["spec"]}
        (await api.post(LEASES, lease)).ok(201)
    for _ in range(3):
        await api.clock.advance(presence.SWEEP_EVERY_S)
    assert (await api.get(LEASES)).names == [own["metadata"]["name"], "kube-scheduler"]


@present
async def test_since_when_tokens_of_secrets_are_tracked_is_put_down_once(api: Api) -> None:
    made = (await api.get(f"{MAPS}/{presence.TRACKING}")).ok()
    assert made["data"] == {"since": "2026-01-01"}
    (await api.put(f"{MAPS}/{presence.TRACKING}", config_map(presence.TRACKING, since="2020-02-02"))).ok()
    await api.clock.advance(presence.RENEW_EVERY_S)
    assert (await api.get(f"{MAPS}/{presence.TRACKING}")).ok()["data"] == {"since": "2020-02-02"}


@present
async def test_the_default_range_of_services_is_ready(api: Api) -> None:
    (condition,) = (await api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")).ok()["status"][
        "conditions"
    ]
    assert (condition["type"], condition["status"], condition["message"]) == (
        "Ready",
        "True",
        "Kubernetes default Service CIDR is ready",
    )
