"""What a first start writes in few commits is what requests for the same objects would have made."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from sampan.apiserver.core import firststart
from sampan.store.backend import KeyRange
from tests.api.server import Api, run, served


async def _stored(api: Api) -> dict[str, Any]:
    found = {}
    for entry in (await api.store.read(KeyRange.prefix("/"))).entries:
        # What has an address or a port says nothing but the key.
        document = msgspec.json.decode(entry.value) if entry.value.startswith(b"{") else {}
        document.get("metadata", {}).pop("uid", None)
        found[entry.key] = document
    return found


def test_it_writes_what_requests_would_have_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(api: Api) -> None:
        stored.append(await _stored(api))

    async def somebody_was_faster(*_: Any) -> int:
        return 0

    stored: list[dict[str, Any]] = []
    asyncio.run(run(look))
    monkeypatch.setattr(firststart, "write", somebody_was_faster)
    asyncio.run(run(look))
    assert stored[0] == stored[1]
    assert len(stored[0]) > 150


@served
async def test_each_object_has_its_own_uid_and_the_time_of_the_start(api: Api) -> None:
    uids = []
    for entry in (await api.store.read(KeyRange.prefix("/"))).entries:
        assert b"0001-02-03" not in entry.value
        if not entry.key.startswith(("/registry/core/services/", "/registry/networking.k8s.io/")):
            metadata = msgspec.json.decode(entry.value)["metadata"]
            assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"
            uids.append(metadata["uid"])
    assert len(set(uids)) == len(uids) > 150
