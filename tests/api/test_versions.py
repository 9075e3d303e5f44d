"""Older versions of Kubernetes: what they had is served, what came later is not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from sampan.apiserver.core.authn import TokenKeys
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.server import ApiServer, Settings
from sampan.apiserver.core.users import ADMIN
from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.cluster import pki
from sampan.schema.definitions import SERVED
from sampan.store.memory import MemoryStore


async def _ask(version: str, *paths: str) -> list[tuple[int, Any]]:
    store, signing = MemoryStore(), pki.make_signing_key()
    keys = TokenKeys(signing.key, (signing.certificate,), "https://issuer", ("https://issuer",))
    server = ApiServer(store, SimulatedClock(), RandomIds(), Settings(keys=keys, version=version))
    await server.start()
    try:
        answers = [await server.handle(Request(method="GET", path=path, user=ADMIN)) for path in paths]
        return [(a.status, msgspec.json.decode(a.body)) for a in answers]
    finally:
        await server.close()
        await store.close()


@pytest.mark.parametrize("version", SERVED)
def test_every_version_starts_and_says_which_it_is(version: str) -> None:
    about, pods, services = asyncio.run(
        _ask(version, "/version", "/api/v1/pods", "/api/v1/namespaces/default/services/kubernetes")
    )
    assert f"{about[1]['major']}.{about[1]['minor']}" == version
    assert pods[0] == 200
    assert services[1]["spec"]["clusterIP"] == "10.96.0.1"


@pytest.mark.parametrize(
    ("version", "path", "status"),
    [
        ("1.30", "/apis/networking.k8s.io/v1/ipaddresses", 404),
        ("1.33", "/apis/networking.k8s.io/v1/ipaddresses", 200),
        ("1.33", "/apis/resource.k8s.io/v1/deviceclasses", 404),
        ("1.34", "/apis/resource.k8s.io/v1/deviceclasses", 200),
    ],
)
def test_kinds_appear_in_the_version_that_brought_them(version: str, path: str, status: int) -> None:
    ((code, _),) = asyncio.run(_ask(version, path))
    assert code == status


def test_discovery_names_only_what_is_served() -> None:
    (old,) = asyncio.run(_ask("1.30", "/apis/networking.k8s.io/v1"))
    (new,) = asyncio.run(_ask("1.37", "/apis/networking.k8s.io/v1"))
    names = [{resource["name"] for resource in document["resources"]} for _, document in (old, new)]
    assert "ipaddresses" not in names[0]
    assert names[1] >= names[0] | {"ipaddresses", "servicecidrs"}
