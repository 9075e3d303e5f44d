"""Claims count for quotas of the resources that their classes serve; what pods count for counts once."""

from __future__ import annotations

from typing import Any

from tests.api.server import PODS, Api, pod, served
from tests.api.test_quotas import _quota, _used

CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
CLASSES = "/apis/resource.k8s.io/v1/deviceclasses"
GPU = "requests.example.com/gpu"
IMPLICIT = "requests.deviceclass.resource.kubernetes.io/big"
DEVICES = "big.deviceclass.resource.k8s.io/devices"
MADE = {"resource.kubernetes.io/extended-resource-claim": "true"}


def claim(name: str, count: int, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name}
    if owner is not None:
        mine = {"apiVersion": "v1", "kind": "Pod", "name": owner["name"], "uid": owner["uid"]}
        meta |= {"annotations": MADE, "ownerReferences": [{**mine, "controller": True}]}
    exactly = {"deviceClassName": "big", "count": count}
    return {"metadata": meta, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}}


async def _class(api: Api, name: str = "big", serves: str | None = "example.com/gpu") -> None:
    spec = {"extendedResourceName": serves} if serves else {}
    (await api.post(CLASSES, {"metadata": {"name": name}, "spec": spec})).ok(201)


async def _asking(api: Api, count: str = "2") -> dict[str, Any]:
    """The metadata of a new pod that asks for so many of them."""
    containers = [{"name": "main", "image": "busybox", "resources": {"limits": {"example.com/gpu": count}}}]
    made: dict[str, Any] = (await api.post(PODS, pod("web", containers=containers))).ok(201)["metadata"]
    return made


@served
async def test_a_claim_counts_for_what_its_class_serves(api: Api) -> None:
    await _class(api)
    await _quota(api, hard={GPU: "3", IMPLICIT: "9", DEVICES: "9"})
    (await api.post(CLAIMS, claim("some", 2))).ok(201)
    assert await _used(api) == {GPU: "2", IMPLICIT: "2", DEVICES: "2"}
    assert (await api.post(CLAIMS, claim("more", 2))).refused(403, "Forbidden") == (
        'resourceclaims.resource.k8s.io "more" is forbidden: exceeded quota: quota, '
        f"requested: {GPU}=2, used: {GPU}=2, limited: {GPU}=3"
    )
    (await api.delete(f"{CLAIMS}/some")).ok()
    assert await _used(api) == {GPU: "0", IMPLICIT: "0", DEVICES: "0"}


@served
async def test_a_class_that_is_not_there_or_serves_nothing_by_name(api: Api) -> None:
    await _quota(api, hard={GPU: "3", IMPLICIT: "9", DEVICES: "9"})
    (await api.post(CLAIMS, claim("early", 1))).ok(201)
    assert await _used(api) == {GPU: "0", IMPLICIT: "0", DEVICES: "1"}
    await _class(api, serves=None)
    (await api.post(CLAIMS, claim("late", 2))).ok(201)
    assert await _used(api) == {GPU: "0", IMPLICIT: "2", DEVICES: "3"}


@served
async def test_what_a_pod_has_counted_for_its_claim_does_not_count_again(api: Api) -> None:
    await _class(api)
    await _quota(api, hard={GPU: "4", DEVICES: "9"})
    owner = await _asking(api)
    assert await _used(api) == {GPU: "2", DEVICES: "0"}
    (await api.post(CLAIMS, claim("made", 2, owner))).ok(201)
    assert await _used(api) == {GPU: "2", DEVICES: "2"}
    # Anybody may say of a claim that it was made for a pod: the first one counts.
    (await api.post(CLAIMS, claim("zealous", 2, owner))).ok(201)
    assert await _used(api) == {GPU: "4", DEVICES: "4"}
    other = {**owner, "uid": "another"}
    (await api.post(CLAIMS, claim("strange", 1, other))).refused(403, "Forbidden")
    (await api.delete(f"{CLAIMS}/zealous")).ok()
    assert await _used(api) == {GPU: "2", DEVICES: "2"}
    told = {"extendedResourceClaimStatus": {"resourceClaimName": "made", "requestMappings": [
        {"containerName": "main", "resourceName": "example.com/gpu", "requestName": "r"}]}}  # fmt: skip
    (await api.patch(f"{PODS}/web/status", {"status": told})).ok()
    (await api.post(CLAIMS, claim("another", 1, owner))).ok(201)
    assert await _used(api) == {GPU: "3", DEVICES: "3"}


@served
async def test_a_claim_that_outlives_its_pod_gives_back_no_more_than_there_is(api: Api) -> None:
    await _class(api)
    await _quota(api, hard={GPU: "9"})
    owner = await _asking(api)
    (await api.post(CLAIMS, claim("made", 2, owner))).ok(201)
    (await api.post(CLAIMS, claim("own", 3))).ok(201)
    assert await _used(api) == {GPU: "5"}
    (await api.delete(f"{PODS}/web", gracePeriodSeconds="0")).ok()
    assert await _used(api) == {GPU: "3"}
    (await api.delete(f"{CLAIMS}/made")).ok()
    assert await _used(api) == {GPU: "3"}


@served
async def test_more_than_the_pod_asks_for_counts(api: Api) -> None:
    await _class(api)
    await _quota(api, hard={GPU: "9"})
    (await api.post(CLAIMS, claim("made", 5, await _asking(api)))).ok(201)
    assert await _used(api) == {GPU: "5"}


@served
async def test_a_quota_made_later_counts_the_same(api: Api) -> None:
    await _class(api)
    await api.account()
    owner = await _asking(api)
    (await api.post(CLAIMS, claim("made", 2, owner))).ok(201)
    (await api.post(CLAIMS, claim("own", 1))).ok(201)
    await _quota(api, hard={GPU: "9", IMPLICIT: "9"})
    (await api.post(CLAIMS, claim("more", 1))).ok(201)
    # The pod does not ask for the class by its own name, so that its claim counts there.
    assert await _used(api) == {GPU: "4", IMPLICIT: "4"}
