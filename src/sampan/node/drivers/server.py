"""A gRPC server on a unix socket, for the messages of the tables."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import SampanError
from sampan.node.runtimes.cri import messages

MOST_PATH_BYTES: Final = 107
Answer = Callable[[Any], Awaitable[Any] | AsyncIterator[Any]]


class Refusal(SampanError):
    """What a method raises to refuse a call: the message of its status, and the name of its code."""

    def __init__(self, text: str, code: str = "FAILED_PRECONDITION") -> None:
        super().__init__(text)
        self.code = code


class Server:
    """Serves `methods`, by service and name. One that is an async generator answers with a stream.

    A call that `allow` says no to, when it comes, is refused.
    """

    def __init__(
        self,
        path: str,
        methods: Mapping[str, Mapping[str, Answer]],
        *,
        allow: Callable[[], bool] = lambda: True,
    ) -> None:
        self.path = path
        self._methods = methods
        self._allow = allow
        self._server: Any = None
        self._directory = -1

    async def start(self) -> None:
        """Take the socket over. Raises OSError."""
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        import grpc.aio

        place = Path(self.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            place.unlink()
        self._server = grpc.aio.server()
        for service, methods in self._methods.items():
            handlers = {
                name: _handler(service, name, answer, self._allow) for name, answer in methods.items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._server.add_insecure_port(f"unix:{self._bindable(place)}")
        await self._server.start()

    def _bindable(self, place: Path) -> str:
        """The path; by way of its directory where it is longer than a socket's may be."""
        if len(os.fsencode(self.path)) <= MOST_PATH_BYTES:
            return self.path
        self._directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{place.name}"

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
        with suppress(FileNotFoundError):
            Path(self.path).unlink()


async def surely(work: Coroutine[Any, Any, None]) -> None:
    """Carry the work out to its end, even where who waits for it is cancelled again: for what ends things."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _handler(service: str, method: str, answer: Answer, allow: Callable[[], bool]) -> Any:
    import inspect

    import grpc

    request, response = messages.method_types(service, method)
    codec = {"request_deserializer": request.FromString, "response_serializer": response.SerializeToString}

    async def one(message: Any, context: Any) -> Any:
        if not allow():
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
        try:
            return await answer(message)  # type: ignore[misc]
        except Refusal as refusal:
            await context.abort(grpc.StatusCode[refusal.code], str(refusal))

    async def many(message: Any, context: Any) -> AsyncIterator[Any]:
        async for each in answer(message):  # type: ignore[union-attr]
            yield each

    if inspect.isasyncgenfunction(answer):
        return grpc.unary_stream_rpc_method_handler(many, **codec)
    return grpc.unary_unary_rpc_method_handler(one, **codec)
