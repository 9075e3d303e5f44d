"""An apply that changes nothing, again: not looked at any more, until something may have made it matter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from sampan.apiserver.core import modify
from tests.api.server import Api
from tests.api.server import run as served

PATH = "/api/v1/namespaces/default/configmaps/c"


def config(**data: str) -> bytes:
    return msgspec.json.encode(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
    )


class Looked:
    """How many applies were looked at whole."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        plain = modify.patched

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return plain(*arguments)

        monkeypatch.setattr(modify, "patched", counted)

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


async def apply(api: Api, body: bytes, manager: str = "m", **query: str) -> dict[str, Any]:
    answer = await api.apply(PATH, body, manager, **query)
    assert answer.code in (200, 201), answer.body
    found: dict[str, Any] = answer.json
    return found


Work = Callable[[Api, Looked], Awaitable[None]]


def run(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    looked = Looked(monkeypatch)

    async def whole(api: Api) -> None:
        await apply(api, config(a="1"))
        await apply(api, config(a="1"))
        assert looked.since() == 2
        await work(api, looked)

    asyncio.run(served(whole))


def test_the_same_again_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(api: Api, looked: Looked) -> None:
        before = await api.get(PATH, owners=True)
        for _ in range(3):
            assert await apply(api, config(a="1")) == before.json
        assert looked.since() == 0

    run(monkeypatch, work)


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (config(a="2"), {}),
        (config(a="1", b="2"), {}),
        (config(), {}),
        (config(a="1"), {"manager": "other"}),
        (config(a="1"), {"force": "true"}),
        (config(a="1"), {"dryRun": "All"}),
    ],
)
def test_what_differs_in_anything_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, body: bytes, query: dict[str, str]
) -> None:
    async def work(api: Api, looked: Looked) -> None:
        await apply(api, body, **query)
        assert looked.since() == 1

    run(monkeypatch, work)


def test_what_somebody_else_has_changed_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(api: Api, looked: Looked) -> None:
        (await api.patch(PATH, {"data": {"a": "theirs"}})).ok()
        looked.since()
        found = await apply(api, config(a="1"), force="true")
        assert found["data"] == {"a": "1"}
        assert looked.since() == 1

    run(monkeypatch, work)


def test_what_is_gone_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(api: Api, looked: Looked) -> None:
        (await api.delete(PATH)).ok()
        assert (await apply(api, config(a="1")))["data"] == {"a": "1"}
        assert looked.since() == 1

    run(monkeypatch, work)


def test_a_change_of_what_admission_reads_makes_it_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(api: Api, looked: Looked) -> None:
        (await api.patch("/api/v1/namespaces/default", {"metadata": {"labels": {"a": "b"}}})).ok()
        looked.since()
        await apply(api, config(a="1"))
        assert looked.since() == 1
        await apply(api, config(a="1"))
        assert looked.since() == 0

    run(monkeypatch, work)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.apiserver.core.repeats.MAX_APPLIES", 2)

    async def work(api: Api, looked: Looked) -> None:
        for manager in "abcd":
            for _ in range(3):
                await apply(api, config(a="1"), manager=manager)
        assert len(api.server._verbs.modifier._repeats._known) == 2

    run(monkeypatch, work)


def test_an_apply_that_starts_from_the_last_one_sees_what_others_wrote_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(api: Api, looked: Looked) -> None:
        for number in range(3):  # each in the tracks of the one before
            assert (await apply(api, config(a="1", b=str(number))))["data"] == {"a": "1", "b": str(number)}
        (await api.patch(PATH, {"data": {"a": "theirs"}}, "application/merge-patch+json")).ok()
        refused = await api.apply(PATH, config(a="1", b="9"), "m")
        assert refused.code == 409
        assert [cause["field"] for cause in refused.json["details"]["causes"]] == [".data.a"]
        taken = await apply(api, config(a="1", b="9"), force="true")
        assert taken["data"] == {"a": "1", "b": "9"}
        shared = await apply(api, config(b="9"), "other")
        assert shared["data"] == {"a": "1", "b": "9"}
        refused = await api.apply(PATH, config(a="1", b="10"), "m")
        assert [cause["field"] for cause in refused.json["details"]["causes"]] == [".data.b"]
        assert (await apply(api, config(a="2", b="9")))["data"] == {"a": "2", "b": "9"}
        assert (await apply(api, config(a="3")))["data"] == {"a": "3", "b": "9"}

    run(monkeypatch, work)
