from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sampan.client.effects import NOTHING, Patch, Ref, Remove
from sampan.client.resources import Partial, Resource
from sampan.controllers import garbagecollector as gc
from sampan.controllers.garbagecollector import ABSENT, CONTROLLER, SOLID, WAITING, Item, Owner, View, plan
from sampan.schema import api
from tests.fakes.bench import NAMESPACE
from tests.fakes.managed import Managed, managed
from tests.fakes.waiting import run, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAPS = Resource("v1", "ConfigMap", "configmaps", True, Partial)


def reference(uid: str, *, block: bool = True) -> api.OwnerReference:
    return api.OwnerReference(
        apiVersion="v1", kind="ConfigMap", name=uid, uid=uid, blockOwnerDeletion=block, controller=True
    )


def item(uid: str, *owners: str, finalizers: tuple[str, ...] = (), deleting: bool = False) -> Item:
    meta = api.ObjectMeta(
        name=uid,
        namespace=NAMESPACE,
        uid=uid,
        resourceVersion="7",
        ownerReferences=[reference(owner) for owner in owners],
        finalizers=list(finalizers),
        deletionTimestamp=NOW if deleting else None,
    )
    return Item(Ref("v1", "ConfigMap", NAMESPACE, uid, uid, "7"), meta, MAPS)


def view(one: Item, *states: str, dependents: tuple[Item, ...] = ()) -> View:
    owners = tuple(Owner(r, state) for r, state in zip(one.meta.ownerReferences, states, strict=True))
    return View(one, owners, dependents)


@pytest.mark.parametrize(
    ("states", "finalizers", "policy"),
    [
        ((ABSENT,), (), "Background"),
        ((ABSENT, ABSENT), (), "Background"),
        ((WAITING,), (), "Background"),
        ((ABSENT,), (gc.FOREGROUND,), "Foreground"),
        ((ABSENT,), (gc.ORPHAN,), "Orphan"),
    ],
)
def test_what_no_owner_keeps_is_deleted(
    states: tuple[str, ...], finalizers: tuple[str, ...], policy: str
) -> None:
    one = item("x", *[f"o{n}" for n in range(len(states))], finalizers=finalizers)
    assert plan(view(one, *states), NOW).effects == (Remove(one.ref, propagation=policy),)


def test_a_solid_owner_keeps_it_and_the_others_are_dropped() -> None:
    one = item("x", "a", "b", "c")
    assert plan(view(one, SOLID, SOLID, SOLID), NOW) == NOTHING
    (patch,) = plan(view(one, SOLID, WAITING, ABSENT), NOW).effects
    assert isinstance(patch, Patch)
    assert [owner["uid"] for owner in patch.patch["metadata"]["ownerReferences"]] == ["a"]
    assert patch.patch["metadata"]["resourceVersion"] == "7"


def test_a_dependent_with_dependents_is_deleted_in_the_foreground_too() -> None:
    one = item("x", "o")
    found = plan(view(one, WAITING, dependents=(item("y", "x"),)), NOW)
    assert found.effects == (Remove(one.ref, propagation="Foreground"),)


def test_a_circle_is_broken() -> None:
    one = item("x", "o")
    waiting = item("y", "x", finalizers=(gc.FOREGROUND,), deleting=True)
    (patch,) = plan(view(one, WAITING, dependents=(waiting,)), NOW).effects
    assert isinstance(patch, Patch)
    assert patch.patch["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] is False


def test_foreground_waits_for_those_that_block() -> None:
    one = item("x", finalizers=(gc.FOREGROUND, "other"), deleting=True)
    waiting = plan(view(one, dependents=(item("y", "x"),)), NOW)
    assert waiting.effects == ()
    assert waiting.waiting_for == "1 dependents to be deleted"
    loose = item("y", "x")
    loose.meta.ownerReferences[0].blockOwnerDeletion = False
    (patch,) = plan(view(one, dependents=(loose,)), NOW).effects
    assert isinstance(patch, Patch)
    assert patch.patch["metadata"]["finalizers"] == ["other"]


def test_orphans_forget_their_owner_before_it_goes() -> None:
    one = item("x", finalizers=(gc.ORPHAN,), deleting=True)
    first, second = plan(view(one, dependents=(item("y", "z", "x"),)), NOW).effects
    assert isinstance(first, Patch)
    assert isinstance(second, Patch)
    assert [owner["uid"] for owner in first.patch["metadata"]["ownerReferences"]] == ["z"]
    assert second.ref.uid == "x"
    assert second.patch["metadata"]["finalizers"] is None


async def make(cluster: Managed, name: str, *owners: api.ConfigMap, block: bool = True) -> api.ConfigMap:
    references = [
        api.OwnerReference(
            apiVersion="v1",
            kind="ConfigMap",
            name=owner.metadata.name or "",
            uid=owner.metadata.uid or "",
            blockOwnerDeletion=block,
        )
        for owner in owners
    ]
    meta = api.ObjectMeta(name=name, namespace=NAMESPACE, ownerReferences=references)
    return await cluster.client.create(api.ConfigMap(metadata=meta))


def names(cluster: Managed) -> list[str]:
    return sorted(found["metadata"]["name"] for found in cluster.server.of_kind("ConfigMap"))


async def delete(cluster: Managed, one: api.ConfigMap, policy: str) -> None:
    await cluster.client.delete(api.ConfigMap, one.metadata.name or "", NAMESPACE, propagation=policy)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_a_whole_family_goes(policy: str) -> None:
    async def main() -> None:
        async with managed((CONTROLLER,)) as cluster:
            top = await make(cluster, "top")
            middle = await make(cluster, "middle", top)
            await make(cluster, "leaf", middle)
            other = await make(cluster, "other")
            await make(cluster, "shared", top, other)
            await cluster.quiet()
            await delete(cluster, top, policy)
            await until(lambda: names(cluster) == ["other", "shared"])
            await cluster.quiet()
            (shared,) = (o for o in cluster.server.of_kind("ConfigMap") if o["metadata"]["name"] == "shared")
            assert [r["name"] for r in shared["metadata"]["ownerReferences"]] == ["other"]
            assert cluster.manager.metrics()["garbage-collector"].failures == 0

    run(main())


def test_orphaning_keeps_the_dependents() -> None:
    async def main() -> None:
        async with managed((CONTROLLER,)) as cluster:
            top = await make(cluster, "top")
            await make(cluster, "leaf", top)
            await cluster.quiet()
            await delete(cluster, top, "Orphan")
            await until(lambda: names(cluster) == ["leaf"])
            await cluster.quiet()
            (leaf,) = cluster.server.of_kind("ConfigMap")
            assert not leaf["metadata"].get("ownerReferences")

    run(main())


def test_a_circle_of_owners_does_not_block() -> None:
    async def main() -> None:
        async with managed((CONTROLLER,)) as cluster:
            one = await make(cluster, "one")
            two = await make(cluster, "two", one)
            three = await make(cluster, "three", two)
            patch: dict[str, Any] = {"metadata": {"ownerReferences": [_reference(three)]}}
            await cluster.client.patch(api.ConfigMap, "one", NAMESPACE, patch)
            await cluster.quiet()
            await delete(cluster, one, "Foreground")
            await until(lambda: names(cluster) == [])

    run(main())


def _reference(owner: api.ConfigMap) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "blockOwnerDeletion": True,
    }


def test_what_is_made_for_an_owner_that_never_was_is_deleted() -> None:
    async def main() -> None:
        async with managed((CONTROLLER,)) as cluster:
            ghost = api.ConfigMap(
                metadata=api.ObjectMeta(name="ghost", namespace=NAMESPACE, uid="no-such-uid")
            )
            await make(cluster, "kept")
            await make(cluster, "lost", ghost)
            await until(lambda: names(cluster) == ["kept"])

    run(main())
