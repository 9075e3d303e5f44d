"""APIServices of the groups that definitions add."""

from __future__ import annotations

from typing import Any

from sampan.apiserver.core.aggregation.plans import AUTOMANAGED
from tests.api.server import Api, served
from tests.api.test_customresources import CRDS, define, definition, version

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAMED = "v1.stable.example.com"


async def _settled(api: Api) -> dict[str, Any]:
    """The APIServices by name, when nothing is left to be registered."""
    for _ in range(10):
        await api.clock.advance(0)
    return {item["metadata"]["name"]: item for item in (await api.get(SERVICES)).ok()["items"]}


@served
async def test_they_come_and_go_with_the_versions_served(api: Api) -> None:
    await define(api, definition(version("v1"), version("v1beta1", storage=False)))
    found = await _settled(api)
    assert found[NAMED]["metadata"]["labels"] == {AUTOMANAGED: "true"}
    assert found[NAMED]["spec"] == {
        "group": "stable.example.com",
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 100,
    }
    (condition,) = found[NAMED]["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")
    assert "v1beta1.stable.example.com" in found
    crd = (await api.get(f"{CRDS}/crontabs.stable.example.com")).ok()
    crd["spec"]["versions"][1]["served"] = False
    (await api.put(f"{CRDS}/crontabs.stable.example.com", crd)).ok()
    assert {name for name in await _settled(api) if name.endswith("example.com")} == {NAMED}
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    assert NAMED not in await _settled(api)


@served
async def test_two_definitions_of_one_group_have_one(api: Api) -> None:
    await define(api)
    (await api.post(CRDS, definition(plural="boats", kind="Boat"))).ok(201)
    await _settled(api)
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    assert NAMED in await _settled(api)


@served
async def test_one_that_is_deleted_or_changed_comes_back_as_it_was(api: Api) -> None:
    await define(api)
    first = (await _settled(api))[NAMED]
    (await api.delete(f"{SERVICES}/{NAMED}")).ok()
    again = (await _settled(api))[NAMED]
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    (await api.patch(f"{SERVICES}/{NAMED}", {"spec": {"versionPriority": 7}})).ok()
    assert (await _settled(api))[NAMED]["spec"] == first["spec"]


@served
async def test_what_somebody_else_has_put_there_stays(api: Api) -> None:
    theirs = {
        "metadata": {"name": NAMED},
        "spec": {
            "group": "stable.example.com",
            "version": "v1",
            "groupPriorityMinimum": 5,
            "versionPriority": 5,
        },
    }
    (await api.post(SERVICES, theirs)).ok(201)
    await define(api)
    assert (await _settled(api))[NAMED]["spec"]["versionPriority"] == 5
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    assert NAMED in await _settled(api)


@served
async def test_the_aggregators_own_group_has_none(api: Api) -> None:
    found = await _settled(api)
    assert "v1.apps" in found
    assert "v1.apiregistration.k8s.io" not in found


@served
async def test_the_order_of_groups_and_verbs_is_kube_apiservers(api: Api) -> None:
    await define(api)
    crd = definition(version("v2alpha1"), plural="things", kind="Thing")
    crd["metadata"]["name"], crd["spec"]["group"] = "things.example.org", "example.org"
    (await api.post(CRDS, crd)).ok(201)
    await _settled(api)
    groups = [group["name"] for group in (await api.get("/apis")).ok()["groups"]]
    assert groups[-2:] == [
        "stable.example.com",
        "example.org",
    ]  # v1.stable... comes before v2alpha1.example...
    first, *subresources = (await api.get("/apis/stable.example.com/v1")).ok()["resources"]
    assert first["verbs"] == [
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ]
    assert [row["name"] for row in subresources] == ["crontabs/status", "crontabs/scale"]
