"""Pods are told the zone and region of their node, as kube-apiserver 1.37.2 does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sampan.apiserver.core.users import ADMIN
from sampan.apiserver.direct import DirectTransport
from sampan.client.transport import Bind
from tests.api.server import PODS, Api, pod, run, served

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
PLACED = {REGION: "r1", ZONE: "z1", "failure-domain.beta.kubernetes.io/zone": "z1", "other": "x"}


async def _node(api: Api, name: str, labels: dict[str, str]) -> None:
    (await api.post("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})).ok(201)


async def _pod(api: Api, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
    (await api.post(PODS, pod(name, labels=labels or {}, **spec))).ok(201)


async def _bind(api: Api, name: str, node: str, **metadata: Any) -> None:
    body = {"metadata": {"name": name, **metadata}, "target": {"kind": "Node", "name": node}}
    (await api.post(f"{PODS}/{name}/binding", body)).ok(201)


async def _labels(api: Api, name: str) -> dict[str, str]:
    labels: dict[str, str] = (await api.get(f"{PODS}/{name}")).ok()["metadata"].get("labels", {})
    return labels


@served
async def test_a_bound_pod_has_the_labels_of_its_node(api: Api) -> None:
    await api.account()
    await _node(api, "n1", PLACED)
    await _node(api, "n2", {"other": "x"})
    for name in ("a", "b", "c", "d"):
        await _pod(api, name, {"app": "a", ZONE: "wrong"})
    await _bind(api, "a", "n1")
    assert await _labels(api, "a") == {"app": "a", REGION: "r1", ZONE: "z1"}
    assert (await api.get(f"{PODS}/a")).ok()["metadata"]["generation"] == 1
    await _bind(api, "b", "n2")
    assert await _labels(api, "b") == {"app": "a", ZONE: "wrong"}
    # A binding may bring labels of its own; a node that is not known tells nothing.
    await _bind(api, "c", "nowhere", labels={"own": "yes", ZONE: "mine"}, annotations={"a": "b"})
    assert await _labels(api, "c") == {"app": "a", "own": "yes", ZONE: "mine"}
    await _bind(api, "d", "n1", labels={"own": "yes", ZONE: "mine"})
    assert await _labels(api, "d") == {"app": "a", "own": "yes", REGION: "r1", ZONE: "z1"}


@served
async def test_so_have_pods_that_are_bound_together(api: Api) -> None:
    await api.account()
    await _node(api, "n1", PLACED)
    await _node(api, "n2", {})
    names = [f"p{number}" for number in range(8)]
    for name in names:
        await _pod(api, name)
    wanted = [Bind("default", name, "", f"n{1 + at % 2}") for at, name in enumerate(names)]
    assert await DirectTransport(api.server, ADMIN).bind_all(wanted) == [None] * 8
    for at, name in enumerate(names):
        assert await _labels(api, name) == ({} if at % 2 else {REGION: "r1", ZONE: "z1"})


@served
async def test_so_have_pods_that_are_made_with_a_node(api: Api) -> None:
    await api.account()
    await _node(api, "n1", PLACED)
    await _pod(api, "a", {ZONE: "wrong"}, nodeName="n1")
    assert await _labels(api, "a") == {REGION: "r1", ZONE: "z1"}
    (await api.patch(f"{PODS}/a", {"metadata": {"labels": {ZONE: "again"}}})).ok()
    assert await _labels(api, "a") == {REGION: "r1", ZONE: "again"}
    body = pod("", automountServiceAccountToken=False, nodeName="n1")
    body["metadata"] = {"generateName": "made-", "namespace": "default"}
    for zone in ("z1", "z1", "z1", "z2"):
        change = {"metadata": {"labels": {ZONE: zone}}}
        (await api.patch("/api/v1/nodes/n1", change)).ok()
        made = (await api.post(PODS, body)).ok(201)
        assert made["metadata"]["labels"] == {REGION: "r1", ZONE: zone}


@pytest.mark.parametrize(("version", "told"), [("1.34", False), ("1.35", True), ("1.37", True)])
def test_since_which_version(version: str, told: bool) -> None:
    async def work(api: Api) -> None:
        await api.account()
        await _node(api, "n1", PLACED)
        for name in ("a", "b", "c"):
            await _pod(api, name)
        await _pod(api, "made", nodeName="n1")
        await _bind(api, "a", "n1", labels={"own": "yes"})
        both = [Bind("default", name, "", "n1") for name in ("b", "c")]
        assert await DirectTransport(api.server, ADMIN).bind_all(both) == [None, None]
        zones = {REGION: "r1", ZONE: "z1"} if told else {}
        assert await _labels(api, "a") == ({"own": "yes", **zones} if told else {})
        assert [await _labels(api, name) for name in ("b", "c", "made")] == [zones] * 3

    asyncio.run(run(work, version=version))
