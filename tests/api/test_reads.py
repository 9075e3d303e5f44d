from __future__ import annotations

import pytest

from tests.api.server import CONFIG_MAPS, PODS, Api, config_map, served, user


async def _make(api: Api, *names: str, namespace: str = "default") -> list[str]:
    """Config maps; their resource versions."""
    revisions = []
    for name in names:
        made = await api.post(f"/api/v1/namespaces/{namespace}/configmaps", config_map(name))
        revisions.append(made.ok(201)["metadata"]["resourceVersion"])
    return revisions


@served
async def test_get_gives_what_create_gave(api: Api) -> None:
    made = (await api.post(CONFIG_MAPS, config_map("a", k="v"))).ok(201)
    assert (await api.get(f"{CONFIG_MAPS}/a")).ok() == made
    assert made["metadata"]["resourceVersion"].isdigit()
    assert made["metadata"]["uid"]


@served
async def test_what_is_not_there(api: Api) -> None:
    answer = await api.get(f"{CONFIG_MAPS}/none")
    assert answer.refused(404, "NotFound") == 'configmaps "none" not found'
    assert answer.json["details"] == {"name": "none", "kind": "configmaps"}


@served
async def test_lists_carry_their_type_and_revision(api: Api) -> None:
    (revision,) = await _make(api, "a")
    document = (await api.get(CONFIG_MAPS)).ok()
    assert (document["kind"], document["apiVersion"]) == ("ConfigMapList", "v1")
    assert document["metadata"] == {"resourceVersion": revision}


@served
async def test_lists_are_in_key_order_over_all_namespaces(api: Api) -> None:
    for namespace in ("a", "a-b"):
        (await api.post("/api/v1/namespaces", {"metadata": {"name": namespace}})).ok(201)
        await _make(api, "x", "b", namespace=namespace)
    items = (await api.get("/api/v1/configmaps")).ok()["items"]
    placed = [(i["metadata"]["namespace"], i["metadata"]["name"]) for i in items]
    # As the keys order: the slash after the namespace comes after the dash.
    assert placed == [("a-b", "b"), ("a-b", "x"), ("a", "b"), ("a", "x")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"labelSelector": "app=web"}, ["a", "b"]),
        ({"labelSelector": "app=web,tier!=back"}, ["a"]),
        ({"labelSelector": "app in (web,db),!tier"}, ["a", "c"]),
        ({"labelSelector": "tier"}, ["b"]),
        ({"fieldSelector": "metadata.name=a"}, ["a"]),
        ({"fieldSelector": "metadata.name!=a,metadata.namespace=default"}, ["b", "c"]),
        ({"fieldSelector": "spec.nodeName=n1"}, ["b"]),
        ({"fieldSelector": "status.phase=Pending", "labelSelector": "app=db"}, ["c"]),
        ({"fieldSelector": "spec.nodeName=n1", "labelSelector": "app=db"}, []),
    ],
)
@served
async def test_selectors(api: Api, query: dict[str, str], found: list[str]) -> None:
    await api.pod("a", labels={"app": "web"})
    await api.pod("b", labels={"app": "web", "tier": "back"}, node="n1")
    await api.pod("c", labels={"app": "db"})
    assert (await api.get(PODS, **query)).names == found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"fieldSelector": "spec.image=x"}, "field label not supported: spec.image"),
        ({"fieldSelector": "spec.nodeName"}, "invalid"),
        ({"labelSelector": "a in ("}, "unable to parse"),
        ({"limit": "many"}, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ({"limit": ""}, 'strconv.ParseInt: parsing "": invalid syntax'),
        ({"resourceVersion": "abc"}, "invalid resource version"),
        ({"continue": "%%%"}, "continue key is not valid"),
    ],
)
@served
async def test_queries_that_cannot_be_read(api: Api, query: dict[str, str], message: str) -> None:
    if "continue" in query:
        query = {"continues": query["continue"]}
    assert message in (await api.get(PODS, **query)).refused(400, "BadRequest")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"resourceVersionMatch": "Exact"},
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless "
            "resourceVersion is provided",
        ),
        (
            {"resourceVersionMatch": "Older", "resourceVersion": "1"},
            'resourceVersionMatch: Unsupported value: "Older": supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
            'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for '
            'resourceVersion "0"',
        ),
        (
            {"sendInitialEvents": "true"},
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ),
        (
            {"watch": "1", "sendInitialEvents": "true"},
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch "
            "to NotOlderThan",
        ),
        (
            {"watch": "1", "resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"},
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless "
            "sendInitialEvents is provided",
        ),
    ],
)
@served
async def test_queries_that_do_not_go_together(api: Api, query: dict[str, str], message: str) -> None:
    refused = (await api.get(PODS, **query)).refused(422, "Invalid")
    assert refused == f'ListOptions.meta.k8s.io "" is invalid: {message}'


@served
async def test_exactly_an_older_revision(api: Api) -> None:
    first, second = await _make(api, "a", "b")
    await api.delete(f"{CONFIG_MAPS}/a")
    for revision, found in ((first, ["a"]), (second, ["a", "b"])):
        answer = await api.get(CONFIG_MAPS, resourceVersion=revision, resourceVersionMatch="Exact")
        assert answer.names == found
        assert answer.json["metadata"]["resourceVersion"] == revision
    # Without Exact, a revision is the oldest that will do.
    for query in ({}, {"resourceVersionMatch": "NotOlderThan"}):
        assert (await api.get(CONFIG_MAPS, resourceVersion=first, **query)).names == ["b"]
    assert (await api.get(CONFIG_MAPS, resourceVersion="0")).names == ["b"]


@served
async def test_a_revision_that_has_not_happened(api: Api) -> None:
    answer = await api.get(CONFIG_MAPS, resourceVersion="999999")
    assert "Too large resource version" in answer.refused(504, "Timeout")
    assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.conformance(
    "Servers with support for API chunking should return chunks of results for list calls"
)
@served
async def test_pages_are_of_one_snapshot(api: Api) -> None:
    await _make(api, "a", "c", "e", "g", "i")
    first = await api.get(CONFIG_MAPS, limit="2")
    metadata = first.ok()["metadata"]
    assert first.names == ["a", "c"]
    assert metadata["remainingItemCount"] == 3
    await _make(api, "b", "d", "f")
    await api.delete(f"{CONFIG_MAPS}/g")
    second = await api.get(CONFIG_MAPS, limit="2", continues=metadata["continue"])
    assert second.names == ["e", "g"]
    assert second.json["metadata"]["resourceVersion"] == metadata["resourceVersion"]
    assert second.json["metadata"]["remainingItemCount"] == 1
    third = await api.get(CONFIG_MAPS, limit="2", continues=second.json["metadata"]["continue"])
    assert third.names == ["i"]
    assert "continue" not in third.json["metadata"]


@served
async def test_pages_of_a_selection_do_not_count_the_rest(api: Api) -> None:
    for name, label in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")):
        body = config_map(name)
        body["metadata"]["labels"] = {"app": label}
        (await api.post(CONFIG_MAPS, body)).ok(201)
    names, token = [], ""
    for _ in range(3):
        query = {"continues": token} if token else {}
        page = await api.get(CONFIG_MAPS, limit="1", labelSelector="app=x", **query)
        names += page.names
        assert "remainingItemCount" not in page.json["metadata"]
        token = page.json["metadata"].get("continue", "")
    assert (names, token) == (["a", "c", "e"], "")


@served
async def test_pages_go_on_where_one_namespace_ends(api: Api) -> None:
    for namespace in ("a", "a-b"):
        (await api.post("/api/v1/namespaces", {"metadata": {"name": namespace}})).ok(201)
        await _make(api, "x", namespace=namespace)
    first = await api.get("/api/v1/configmaps", limit="1")
    second = await api.get("/api/v1/configmaps", continues=first.ok()["metadata"]["continue"])
    namespaces = [item["metadata"]["namespace"] for item in [*first.json["items"], *second.json["items"]]]
    assert namespaces == ["a-b", "a"]


@pytest.mark.conformance(
    "Servers with support for API chunking should support continue listing from the last key if the "
    "original version has been compacted away, though the list is inconsistent"
)
@served
async def test_a_token_outlives_its_snapshot_as_an_inconsistent_one(api: Api) -> None:
    await _make(api, "a", "b", "c")
    first = await api.get(CONFIG_MAPS, limit="1")
    await _make(api, "d")
    await api.store.compact(api.server.cache.revision)
    refused = await api.get(CONFIG_MAPS, limit="1", continues=first.json["metadata"]["continue"])
    assert "too old to display a consistent list" in refused.refused(410, "Expired")
    rest = await api.get(CONFIG_MAPS, continues=refused.json["metadata"]["continue"])
    assert rest.names == ["b", "c", "d"]


@served
async def test_tokens_of_other_lists_are_refused(api: Api) -> None:
    await _make(api, "a", "b")
    token = (await api.get(CONFIG_MAPS, limit="1")).json["metadata"]["continue"]
    (await api.get(PODS, continues=token)).refused(400, "BadRequest")
    both = await api.get(CONFIG_MAPS, continues=token, resourceVersion="3")
    assert "not allowed when using continue" in both.refused(400, "BadRequest")


@served
async def test_a_list_by_name_is_a_list(api: Api) -> None:
    await _make(api, "a", "b")
    found = await api.get(CONFIG_MAPS, fieldSelector="metadata.name=b", limit="500")
    assert found.names == ["b"]


@served
async def test_reading_takes_permission(api: Api) -> None:
    await _make(api, "a")
    nobody = user("nobody")
    message = (await api.get(f"{CONFIG_MAPS}/a", user=nobody)).refused(403, "Forbidden")
    assert message == (
        'configmaps "a" is forbidden: User "nobody" cannot get resource "configmaps" '
        'in API group "" in the namespace "default"'
    )
    message = (await api.get("/api/v1/nodes", user=nobody)).refused(403, "Forbidden")
    assert message.endswith('in API group "" at the cluster scope')
