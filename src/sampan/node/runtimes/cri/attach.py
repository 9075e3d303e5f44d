"""Sessions over CRI streaming URLs: attach everywhere, and exec where the runtime is not containerd.

Runtimes serve these URLs as SPDY and as websockets; this is the websocket form (`v4.channel.k8s.io`), where
each message begins with its channel's number. That version cannot say that the input has ended, but closing
the connection does: an attach's input therefore has a connection of its own. Both ask for the input: over
websockets containerd takes a missing input for one that has ended, and ends the container's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec

from sampan.node.runtimes.runtime import RuntimeFailure

_PROTOCOLS = ("v4.channel.k8s.io",)
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)


async def connect(url: str, *, input_url: str = "") -> StreamSession:
    """Open the URL, and `input_url` for what is written. Raises RuntimeFailure where the runtime refuses."""
    http = aiohttp.ClientSession()
    try:
        output = await http.ws_connect(url, protocols=_PROTOCOLS, max_msg_size=0)
        own_input = await http.ws_connect(input_url, protocols=_PROTOCOLS) if input_url else None
    except BaseException as error:
        await http.close()
        if not isinstance(error, aiohttp.ClientError):
            raise
        text = f"The container runtime's streaming server refused: {error}"
        raise RuntimeFailure("StreamError", text) from None
    return StreamSession(http, output, own_input)


class StreamSession:
    """Connections to the runtime's streaming server, for one exec or attach."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        output: aiohttp.ClientWebSocketResponse,
        own_input: aiohttp.ClientWebSocketResponse | None,
    ) -> None:
        self._http = http
        self._socket = output
        self._own_input = own_input
        self._status: dict[str, Any] = {}
        self._ended = False

    async def write(self, data: bytes) -> None:
        try:
            await (self._own_input or self._socket).send_bytes(bytes((_STDIN,)) + data)
        except (ConnectionError, aiohttp.ClientError):
            raise BrokenPipeError("The container has closed its standard input.") from None

    async def close_stdin(self) -> None:
        """End the input, for an attach; a runtime that is not containerd cannot be told so for an exec."""
        if self._own_input is not None:
            await self._own_input.close()

    async def resize(self, columns: int, rows: int) -> None:
        size = msgspec.json.encode({"Width": columns, "Height": rows})
        await self._socket.send_bytes(bytes((_RESIZE,)) + size)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or len(message.data) < 2:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in (_STDOUT, _STDERR):
                yield channel, data
            elif channel == _ERROR:
                self._status = msgspec.json.decode(data)
        self._ended = True

    async def wait(self) -> int:
        """The exit code as the error channel has it; reads on to the end where `output` has not."""
        if not self._ended:
            async for _ in self.output():
                pass
        return exit_code(self._status)

    async def close(self) -> None:
        if self._own_input is not None:
            await self._own_input.close()
        await self._socket.close()
        await self._http.close()


def exit_code(status: dict[str, Any]) -> int:
    """The exit code in the metav1.Status that ends a stream: 0 for success and for attach."""
    if status.get("status", "Success") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    codes = (cause.get("message", "") for cause in causes if cause.get("reason") == "ExitCode")
    return int(next(codes, "1"))
