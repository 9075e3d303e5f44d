from __future__ import annotations

from typing import Any

import pytest

from sampan.store import audience, watchcache
from tests.api.server import CONFIG_MAPS, MERGE, PODS, TABLE, Api, config_map, served


async def _make(api: Api, name: str, **labels: str) -> str:
    body = config_map(name)
    body["metadata"]["labels"] = labels
    made = (await api.post(CONFIG_MAPS, body)).ok(201)
    return str(made["metadata"]["resourceVersion"])


async def _label(api: Api, name: str, **labels: str | None) -> Any:
    return (await api.patch(f"{CONFIG_MAPS}/{name}", {"metadata": {"labels": labels}}, MERGE)).ok()


@served
async def test_a_watch_without_a_revision_begins_with_what_is_there(api: Api) -> None:
    await _make(api, "a")
    watch = await api.watch(CONFIG_MAPS)
    assert await watch.take(1) == [("ADDED", "a")]
    await _make(api, "b")
    await _label(api, "a", x="y")
    await api.delete(f"{CONFIG_MAPS}/b")
    assert await watch.take(3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    await watch.close()


@pytest.mark.conformance("Watchers should be able to start watching from a specific resource version")
@served
async def test_a_watch_resumes_after_a_revision(api: Api) -> None:
    revision = await _make(api, "a")
    await _make(api, "b")
    await api.delete(f"{CONFIG_MAPS}/a")
    watch = await api.watch(CONFIG_MAPS, resourceVersion=revision)
    assert await watch.take(2) == [("ADDED", "b"), ("DELETED", "a")]
    await watch.close()


@served
async def test_the_last_state_of_a_deleted_object_has_the_revision_of_the_deletion(api: Api) -> None:
    revision = await _make(api, "a", app="web")
    watch = await api.watch(CONFIG_MAPS, resourceVersion=revision)
    await api.delete(f"{CONFIG_MAPS}/a")
    event = await watch.next()
    metadata = event["object"]["metadata"]
    assert (event["type"], metadata["labels"]) == ("DELETED", {"app": "web"})
    assert int(metadata["resourceVersion"]) > int(revision)
    await watch.close()


@pytest.mark.conformance(
    "Watchers should observe an object deletion if it stops meeting the requirements of the selector"
)
@served
async def test_leaving_and_entering_a_selection(api: Api) -> None:
    watch = await api.watch(CONFIG_MAPS, labelSelector="app=web")
    await _make(api, "a", app="db")
    entered = await _label(api, "a", app="web")
    stayed = await _label(api, "a", tier="x")
    left = await _label(api, "a", app="db")
    await _label(api, "a", tier="y")
    await _make(api, "b", app="web")
    events = [await watch.next() for _ in range(4)]
    seen = [(e["type"], e["object"]["metadata"]) for e in events]
    assert seen[0] == ("ADDED", entered["metadata"])
    assert seen[1] == ("MODIFIED", stayed["metadata"])
    # What leaves is shown as it last was inside, at the revision at which it left.
    revision = left["metadata"]["resourceVersion"]
    assert seen[2] == ("DELETED", {**stayed["metadata"], "resourceVersion": revision})
    assert (seen[3][0], seen[3][1]["name"]) == ("ADDED", "b")
    await watch.close()


@served
async def test_field_selectors(api: Api) -> None:
    watch = await api.watch(PODS, fieldSelector="spec.nodeName=n1")
    await api.pod("elsewhere")
    await api.pod("here", node="n1")
    assert await watch.take(1) == [("ADDED", "here")]
    await watch.close()


@served
async def test_one_object_by_name_and_by_the_old_path(api: Api) -> None:
    one = await api.watch(CONFIG_MAPS, fieldSelector="metadata.name=b")
    old = await api.watch("/api/v1/watch/namespaces/default/configmaps/b")
    await _make(api, "a")
    await _make(api, "b")
    assert await one.take(1) == [("ADDED", "b")]
    assert await old.take(1) == [("ADDED", "b")]
    await one.close()
    await old.close()


@served
async def test_only_the_namespace_that_was_asked_for(api: Api) -> None:
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "other"}})).ok(201)
    here = await api.watch(CONFIG_MAPS)
    everywhere = await api.watch("/api/v1/configmaps")
    (await api.post("/api/v1/namespaces/other/configmaps", config_map("x"))).ok(201)
    await _make(api, "y")
    assert await here.take(1) == [("ADDED", "y")]
    assert await everywhere.take(2) == [("ADDED", "x"), ("ADDED", "y")]
    await here.close()
    await everywhere.close()


@served
async def test_initial_events_end_with_a_bookmark(api: Api) -> None:
    await _make(api, "a")
    watch = await api.watch(
        CONFIG_MAPS,
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    )
    assert await watch.take(1) == [("ADDED", "a")]
    mark = await watch.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "ConfigMap"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert mark["object"]["metadata"]["resourceVersion"] == str(api.server.cache.revision)
    await _make(api, "b")
    assert await watch.take(1) == [("ADDED", "b")]
    await watch.close()


@served
async def test_without_initial_events_a_watch_begins_now(api: Api) -> None:
    await _make(api, "a")
    watch = await api.watch(CONFIG_MAPS, sendInitialEvents="false", resourceVersionMatch="NotOlderThan")
    await _make(api, "b")
    assert await watch.take(1) == [("ADDED", "b")]
    await watch.close()


@served
async def test_a_watch_of_tables_tells_the_columns_once_and_its_bookmarks_are_tables(api: Api) -> None:
    for name in "ab":
        (await api.post(CONFIG_MAPS, config_map(name))).ok(201)
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    watch = await api.watch(CONFIG_MAPS, accept=table, allowWatchBookmarks="true", **asked)
    first, second, mark = [(await watch.next())["object"] for _ in range(3)]
    assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["columnDefinitions"] is None
    assert second["rows"][0]["cells"][0] == "b"
    assert (mark["kind"], mark["columnDefinitions"]) == ("Table", None)
    ended = mark["rows"][0]["object"]["metadata"]["annotations"]
    assert ended == {"k8s.io/initial-events-end": "true"}
    (await api.post(CONFIG_MAPS, config_map("c"))).ok(201)
    assert (await watch.next())["object"]["columnDefinitions"] is None
    # Without anything at its start a watch gets the columns with what happens.
    revision = mark["metadata"]["resourceVersion"]
    later = await api.watch(CONFIG_MAPS, accept=table, resourceVersion=revision)
    assert (await later.next())["object"]["columnDefinitions"]


@served
async def test_bookmarks_tell_idle_watchers_how_far_they_have_seen(api: Api) -> None:
    wanted = await api.watch(PODS, allowWatchBookmarks="true")
    unwanted = await api.watch(PODS)
    await _make(api, "a")
    await api.clock.advance(61)
    mark = await wanted.next()
    assert (mark["type"], mark["object"]["kind"]) == ("BOOKMARK", "Pod")
    assert mark["object"]["metadata"]["resourceVersion"] == str(api.server.cache.revision)
    await api.pod("p")
    assert await unwanted.take(1) == [("ADDED", "p")]
    await wanted.close()
    await unwanted.close()


@served
async def test_a_watch_ends_when_its_time_is_up(api: Api) -> None:
    watch = await api.watch(CONFIG_MAPS, timeoutSeconds="30")
    await _make(api, "a")
    await api.clock.advance(29)
    assert await watch.take(1) == [("ADDED", "a")]
    await api.clock.advance(2)
    assert await watch.next() == {}
    assert not list(api.server.resources.find("", "v1", "configmaps").cache.watchers())  # type: ignore[union-attr]


@served
async def test_a_watch_that_nobody_reads_is_forgotten_when_closed(api: Api) -> None:
    cache = api.server.resources.find("", "v1", "configmaps").cache  # type: ignore[union-attr]
    watch = await api.watch(CONFIG_MAPS)
    assert len(list(cache.watchers())) == 1
    await watch.close()
    assert not list(cache.watchers())


def test_a_revision_older_than_the_history_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchcache, "HISTORY_EVENTS", 3)

    @served
    async def check(api: Api) -> None:
        revision = await _make(api, "a")
        for name in "bcdef":
            await _make(api, name)
        watch = await api.watch(CONFIG_MAPS, resourceVersion=revision)
        event = await watch.next()
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
        assert await watch.next() == {}

    check()


def test_a_watcher_that_falls_behind_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "WATCHER_LAG_EVENTS", 3)

    @served
    async def check(api: Api) -> None:
        for name in "abcde":
            await _make(api, name)
        watch = await api.watch(CONFIG_MAPS)  # what is there does not count as lag
        assert len(await watch.take(5)) == 5
        for name in "fghij":
            await _make(api, name)
        event = await watch.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert await watch.next() == {}

    check()


@served
async def test_tables_and_metadata_alone(api: Api) -> None:
    table = await api.watch(CONFIG_MAPS, accept=TABLE)
    partial = await api.watch(
        CONFIG_MAPS, accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    )
    await _make(api, "a")
    event = await table.next()
    assert event["object"]["kind"] == "Table"
    assert event["object"]["columnDefinitions"][0]["name"] == "Name"
    assert event["object"]["rows"][0]["cells"][0] == "a"
    shown = (await partial.next())["object"]
    assert (shown["kind"], shown["metadata"]["name"]) == ("PartialObjectMetadata", "a")
    assert "data" not in shown
    await table.close()
    await partial.close()


@served
async def test_a_revision_that_has_yet_to_happen_is_waited_for(api: Api) -> None:
    now = int(await _make(api, "a"))
    watch = await api.watch(CONFIG_MAPS, resourceVersion=str(now + 2), allowWatchBookmarks="true")
    await _make(api, "b")
    await _make(api, "c")
    await api.clock.advance(61)  # a bookmark must not take the watcher back
    await _make(api, "d")
    assert await watch.take(1) == [("ADDED", "d")]
    await watch.close()


@served
async def test_the_state_of_a_revision_that_has_yet_to_happen(api: Api) -> None:
    now = int(await _make(api, "a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "watch": "true"}
    answer = await api.get(CONFIG_MAPS, resourceVersion=str(now + 9), **query)
    assert answer.refused(504, "Timeout") == f"Timeout: Too large resource version: {now + 9}, current: {now}"
    assert answer.headers["Retry-After"] == "1"
