from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import pytest

from sampan.apiserver.core import openapi
from sampan.schema import enums
from tests.api.server import Api, served

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


@served
async def test_version_2_in_json_and_in_protobuf(api: Api) -> None:
    plain = await api.get("/openapi/v2")
    assert plain.ok()["swagger"] == "2.0"
    assert "io.k8s.api.apps.v1.Deployment" in plain.json["definitions"]
    packed = await api.get("/openapi/v2", accept=PROTOBUF)
    assert packed.code == 200
    assert packed.response.content_type.endswith("+protobuf")
    assert packed.body.startswith(b"\x0a\x032.0")  # field 1, "2.0"
    assert packed.headers["ETag"] != plain.headers["ETag"]


@served
async def test_version_3_names_each_document_with_its_hash(api: Api) -> None:
    index = await api.get("/openapi/v3")
    url = index.ok()["paths"]["apis/apps/v1"]["serverRelativeURL"]
    path, _, given = url.partition("?hash=")
    document = await api.get(path, hash=given)
    assert document.ok()["openapi"] == "3.0.0"
    assert document.headers["Cache-Control"] == "public, immutable"
    expires = parsedate_to_datetime(document.headers["Expires"])
    assert timedelta(days=364) < expires - datetime.now(UTC) < timedelta(days=366)
    assert document.headers["ETag"] == f'"{given}"'
    assert "/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in document.json["paths"]
    unhashed = await api.get(path)
    assert not {"Cache-Control", "Expires"} & unhashed.headers.keys()
    assert unhashed.body == document.body


@served
async def test_an_outdated_hash_is_sent_to_the_present_document(api: Api) -> None:
    answer = await api.get("/openapi/v3/api/v1", hash="OLD")
    assert answer.code == 301
    assert answer.headers["Location"].startswith("/openapi/v3/api/v1?hash=")


@served
async def test_known_documents_are_not_sent_again(api: Api) -> None:
    for path in ("/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1"):
        first = await api.get(path)
        again = await api.get(path, headers={"if-none-match": first.headers["ETag"]})
        assert (again.code, again.body) == (304, b"")
        assert again.response.content_type == first.response.content_type


@served
async def test_forms_and_paths_that_are_not_there(api: Api) -> None:
    (await api.get("/openapi/v2", accept="text/html")).refused(406, "NotAcceptable")
    (await api.get("/openapi/v3", accept="text/html")).refused(406, "NotAcceptable")
    assert (await api.get("/openapi/v3/apis/none/v1")).code == 404
    assert (await api.get("/openapi/v4")).code == 404


@pytest.mark.parametrize(
    ("root", "definition", "field", "values"),
    [
        ("api/v1", "io.k8s.api.core.v1.ContainerPort", "protocol", ["SCTP", "TCP", "UDP"]),
        ("apis/apps/v1", "io.k8s.api.apps.v1.DaemonSetUpdateStrategy", "type", ["OnDelete", "RollingUpdate"]),
        ("api/v1", "io.k8s.api.core.v1.ServiceSpec", "ipFamilies", ["", "IPv4", "IPv6"]),
    ],
)
def test_values_that_fields_are_limited_to(root: str, definition: str, field: str, values: list[str]) -> None:
    @served
    async def work(api: Api) -> None:
        newer = (await api.get(f"/openapi/v3/{root}")).ok()["components"]["schemas"]
        older = (await api.get("/openapi/v2")).ok()["definitions"]
        for schemas in (newer, older):
            shown = schemas[definition]["properties"][field]
            assert shown.get("items", shown)["enum"] == values

    work()


@served
async def test_all_of_them_are_fields_of_the_newest_version(api: Api) -> None:
    definitions = (await api.get("/openapi/v2")).ok()["definitions"]
    for name, field, values in enums._lines():
        shown = definitions[name]["properties"][field.removesuffix("[]").removesuffix("{}")]
        within = shown.get("items") or shown.get("additionalProperties") or shown
        assert within["enum"] == list(values), (name, field)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"a": 1},
        {"paths": {}, "info": {"x": "é"}},
        {"paths": {f'/"{n}': {"get": n} for n in range(99)}},
    ],
)
def test_a_document_made_in_pieces_is_the_same(document: Any) -> None:
    assert b"".join(openapi._pieces(document)) == msgspec.json.encode(document)
