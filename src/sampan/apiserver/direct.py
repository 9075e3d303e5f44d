"""Calls into an API server in the same process: no socket, no TLS, the same answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.server import ApiServer
from sampan.apiserver.core.users import User
from sampan.client.errors import ApiError, error_from
from sampan.client.transport import Bind, Reply
from sampan.schema import api, codec

_BY_CALL: Final = "application/x-call"


class DirectTransport:
    """A client Transport that acts as `user` on `server`."""

    def __init__(self, server: ApiServer, user: User, agent: str = "sampan") -> None:
        self._server = server
        self._user = user
        self._agent = agent

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        headers = {"content-type": content_type, "accept": accept, "user-agent": self._agent}
        request = Request(
            method=method, path=path, query=query or {}, headers=headers, body=body, user=self._user
        )
        response = await self._server.handle(request)
        if response.chunks is not None or response.tunnel is not None:
            raise ConnectionError(f"{method} {path} answers with a stream; ask for it with stream()")
        return Reply(response.status, response.headers, response.body)

    @property
    def changes_in_place(self) -> bool:
        """Whether `change` may be called: an audit has to be shown what was sent."""
        return self._server.audit is None

    async def change(self, path: str, make: Callable[[Any], Any]) -> Reply:
        """A PATCH without a patch; see transport.InProcess."""
        response = await self._server.handle(self._changing(path, make))
        return Reply(response.status, response.headers, response.body)

    async def change_all(self, wanted: Sequence[tuple[str, Callable[[Any], Any]]]) -> list[Exception | None]:
        """Many of them; see transport.InProcess."""
        requests = [self._changing(path, make) for path, make in wanted]
        return _refusals(await self._server.bulk.change(requests))

    async def delete_all(self, wanted: Sequence[tuple[str, str]]) -> list[Exception | None]:
        """Many deletions; see transport.InProcess."""
        return _refusals(await self._server.bulk.delete(self._user, self._agent, wanted))

    def _changing(self, path: str, make: Callable[[Any], Any]) -> Request:
        headers = {"content-type": _BY_CALL, "user-agent": self._agent}
        return Request(method="PATCH", path=path, headers=headers, change=make, user=self._user)

    async def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        async with aclosing(self.stream_together(path, query)) as batches:
            async for lines in batches:
                for line in lines:
                    yield line

    async def stream_together(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """See transport.StreamsTogether."""
        headers = {"accept": "application/json", "user-agent": self._agent}
        request = Request(method="GET", path=path, query=query or {}, headers=headers, user=self._user)
        response = await self._server.handle(request)
        if response.status != 200:
            raise ApiError(_status(response.body, response.status))
        if response.chunks is None:
            yield response.body.splitlines()
            return
        try:
            async for chunk in response.chunks:
                yield chunk.splitlines()
        finally:
            # A watch that nobody reads any more must not go on collecting events.
            closing = getattr(response.chunks, "aclose", None)
            if closing is not None:
                await closing()

    async def bind_all(self, wanted: Sequence[Bind]) -> list[Exception | None]:
        """See BindsTogether."""
        return _refusals(await self._server.bulk.bind(self._user, self._agent, wanted))

    async def close(self) -> None:
        return None


def _refusals(answers: Sequence[Response | Exception | None]) -> list[Exception | None]:
    return [a if a is None or isinstance(a, Exception) else error_from(a.status, a.body) for a in answers]


def _status(body: bytes, code: int) -> api.Status:
    try:
        return codec.decode(body, api.Status)
    except msgspec.DecodeError:
        return api.Status(status="Failure", code=code, message=body.decode(errors="replace"))
