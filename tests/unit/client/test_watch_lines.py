"""Lines of a watch: as servers write them and as they may, one by one and together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import msgspec
import pytest

from sampan.base.clock import SystemClock
from sampan.client.client import ApiError, Client
from sampan.client.informer import Informer
from sampan.client.transport import Reply
from sampan.schema import api
from tests.fakes.waiting import run

PLAIN = b'{"metadata":{"name":"a","namespace":"default","resourceVersion":"7"},"spec":{"containers":[]}}'


class Lines:
    """A transport whose watches give these lines: each for itself, or together."""

    def __init__(self, *batches: list[bytes]) -> None:
        self.batches = batches

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        return Reply(200, {}, b'{"metadata":{"resourceVersion":"1"},"items":[]}')

    async def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        for batch in self.batches:
            for line in batch:
                yield line

    async def close(self) -> None:
        return None


class Together(Lines):
    async def stream_together(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        for batch in self.batches:
            yield batch


@pytest.mark.parametrize("transport", [Lines, Together])
@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ADDED","object":' + PLAIN + b"}",
        b'{"type":"ADDED","object":' + PLAIN + b"}\n",
        b'{"type":"ADDED","object":' + PLAIN + b" }  \r\n",
        b'{ "type": "ADDED", "object": ' + PLAIN + b"}",
        b'{"object":' + PLAIN + b',"type":"ADDED"}',
        b'{"type":"ADDED","object":' + PLAIN + b',"more":{}}',
    ],
)
def test_however_a_change_is_written(transport: type[Lines], line: bytes) -> None:
    async def main() -> None:
        client = Client(transport([line, b"", line.replace(b"ADDED", b"DELETED")]))
        events = [event async for event in client.watch(api.Pod)]
        assert [event.type for event in events] == ["ADDED", "DELETED"]
        for event in events:
            assert (event.resource_version, event.object.kind) == ("7", "Pod")
            assert event.object.metadata.name == "a"

    run(main())


@pytest.mark.parametrize("transport", [Lines, Together])
def test_what_comes_before_an_error_is_taken(transport: type[Lines]) -> None:
    gone = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}'
    wrong = b'{"type":"MODIFIED","object":{"metadata":{"name":7}}}'

    async def main() -> None:
        for last, raised in ((gone, ApiError), (wrong, msgspec.ValidationError)):
            client = Client(transport([b'{"type":"ADDED","object":' + PLAIN + b"}", last]))
            taken = []
            with pytest.raises(raised):
                async for event in client.watch(api.Pod):
                    taken.append(event.type)
            assert taken == ["ADDED"]
            informer = Informer(client, api.Pod, SystemClock())
            await informer._list()
            with pytest.raises(raised):
                await informer._watch()
            assert informer.cache.get("default", "a") is not None

    run(main())
