from __future__ import annotations

import pytest
import yaml

from tests.api.server import CONFIG_MAPS, PODS, TABLE, Api, as_item, config_map, served

PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@served
async def test_tables_of_lists_and_of_one_object(api: Api) -> None:
    await api.pod("a", node="n1")
    await api.pod("b")
    table = (await api.get(PODS, accept=TABLE)).ok()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names[:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["columnDefinitions"][0]["format"] == "name"
    assert {column["priority"] for column in table["columnDefinitions"]} == {0, 1}
    assert table["rows"][0]["cells"][:4] == ["a", "0/1", "Pending", "0"]
    assert len(table["rows"][0]["cells"]) == len(names)
    shown = table["rows"][0]["object"]
    assert (shown["kind"], shown["metadata"]["name"]) == ("PartialObjectMetadata", "a")
    assert table["metadata"]["resourceVersion"] == str(api.server.cache.revision)
    one = (await api.get(f"{PODS}/a", accept=TABLE)).ok()
    assert [row["cells"][0] for row in one["rows"]] == ["a"]


@pytest.mark.parametrize(
    ("include", "kind"), [("Object", "Pod"), ("None", None), ("Metadata", "PartialObjectMetadata")]
)
@served
async def test_what_table_rows_carry(api: Api, include: str, kind: str | None) -> None:
    await api.pod("a")
    (row,) = (await api.get(PODS, accept=TABLE, includeObject=include)).ok()["rows"]
    assert (row["object"] or {}).get("kind") == kind


@served
async def test_tables_are_paged_and_selected_like_lists(api: Api) -> None:
    for name in "abc":
        (await api.post(CONFIG_MAPS, config_map(name))).ok(201)
    table = (await api.get(CONFIG_MAPS, accept=TABLE, limit="2")).ok()
    assert [row["cells"][0] for row in table["rows"]] == ["a", "b"]
    assert table["metadata"]["remainingItemCount"] == 1
    rest = (await api.get(CONFIG_MAPS, accept=TABLE, continues=table["metadata"]["continue"])).ok()
    assert [row["cells"][0] for row in rest["rows"]] == ["c"]


@served
async def test_metadata_alone(api: Api) -> None:
    made = (await api.post(CONFIG_MAPS, config_map("a", k="v"))).ok(201)
    one = (await api.get(f"{CONFIG_MAPS}/a", accept=PARTIAL)).ok()
    wanted = {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": made["metadata"],
    }
    assert one == wanted
    many = (await api.get(CONFIG_MAPS, accept=PARTIALS)).ok()
    assert (many["kind"], many["items"]) == ("PartialObjectMetadataList", [wanted])
    patched = await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "w"}}, accept=PARTIAL)
    assert patched.ok()["kind"] == "PartialObjectMetadata"


@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
@served
async def test_items_of_lists_do_not_say_their_kind_again(api: Api, accept: str) -> None:
    text = '{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}'
    made = [(await api.post(CONFIG_MAPS, config_map(name, k=text))).ok(201) for name in "abc"]
    before = made[-1]["metadata"]["resourceVersion"]
    (await api.post(CONFIG_MAPS, config_map("d"))).ok(201)
    whole = {"fieldSelector": "metadata.name!=d"}
    exact = {"resourceVersion": before, "resourceVersionMatch": "Exact"}
    first = {"limit": "1"}
    token = (await api.get(CONFIG_MAPS, limit="1")).ok()["metadata"]["continue"]
    for query, wanted in (
        (whole, made),
        (exact, made),
        (first, made[:1]),
        ({"limit": "2", "continues": token}, made[1:]),
        ({"fieldSelector": "metadata.name=b"}, made[1:2]),
        ({"fieldSelector": "metadata.name=z"}, []),
    ):
        answer = await api.get(CONFIG_MAPS, accept=accept, **query)
        listed = yaml.safe_load(answer.body)
        assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
        assert listed["items"] == [as_item(each) for each in wanted]
    gone = await api.delete(CONFIG_MAPS, accept=accept, labelSelector="!x")
    items = yaml.safe_load(gone.body)["items"]
    assert [each["metadata"]["name"] for each in items] == ["a", "b", "c", "d"]
    assert not any("kind" in each or "apiVersion" in each for each in items)


@served
async def test_yaml_answers(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="v"))).ok(201)
    answer = await api.get(f"{CONFIG_MAPS}/a", accept="application/yaml")
    assert answer.response.content_type == "application/yaml"
    assert b"\ndata:\n  k: v\n" in answer.body
    answer = await api.get(CONFIG_MAPS, accept="application/yaml")
    assert answer.body.startswith(b"kind: ConfigMapList\n")


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("", 200),
        ("*/*", 200),
        (f"{PROTOBUF},application/json", 200),
        ("application/json;q=0.9, */*;q=0.1", 200),
        (PROTOBUF, 406),
        ("text/html", 406),
        ("application/json;as=Nothing;v=v1;g=meta.k8s.io", 406),
    ],
)
@served
async def test_what_is_accepted(api: Api, accept: str, code: int) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    for path in (CONFIG_MAPS, f"{CONFIG_MAPS}/a"):
        answer = await api.get(path, accept=accept)
        if code == 200:
            answer.ok()
        else:
            message = answer.refused(406, "NotAcceptable")
            assert (
                message == "only the following media types are accepted: application/json, application/yaml"
            )


@pytest.mark.parametrize(
    "path", ["/api/v1/pods", "/api/v1/events", "/apis/rbac.authorization.k8s.io/v1/clusterroles"]
)
@served
async def test_the_columns_of_every_object_are_described_as_in_kubernetes(api: Api, path: str) -> None:
    columns = {
        column["name"]: column["description"]
        for column in (await api.get(path, accept=TABLE)).ok()["columnDefinitions"]
    }
    assert columns["Name"].endswith("/docs/concepts/overview/working-with-objects/names#names")
    for name in ("Age", "Created At"):
        if name in columns:
            assert columns[name].startswith("CreationTimestamp is a timestamp representing the server time")
    assert columns.keys() & {"Age", "Created At", "Last Seen"}
