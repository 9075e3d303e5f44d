"""An answer as the messages of a websocket: how logs are read by clients that ask for one.

Follows the reader of k8s.io/apimachinery's wsstream: `binary.k8s.io`, which is also what no protocol means,
and `base64.binary.k8s.io`. What the client sends is passed over; that it leaves ends the answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Final

import aiohttp
from aiohttp import WSMsgType, web

BINARY: Final = "binary.k8s.io"
BASE64: Final = "base64.binary.k8s.io"
_ENDED: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


async def send_as_messages(http: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Open the websocket that the request asks for, and send what the answer has as it comes."""
    socket = web.WebSocketResponse(protocols=(BINARY, BASE64), compress=False)
    await socket.prepare(http)
    in_text = socket.ws_protocol == BASE64
    sending = asyncio.ensure_future(_send(socket, answer, in_text))
    leaving = asyncio.ensure_future(_left(socket))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        with contextlib.suppress(ConnectionError):
            await socket.close()
    return socket


async def _send(socket: web.WebSocketResponse, answer: aiohttp.ClientResponse, in_text: bool) -> None:
    with contextlib.suppress(ConnectionError):
        async for chunk in answer.content.iter_any():
            if in_text:
                await socket.send_str(base64.b64encode(chunk).decode())
            else:
                await socket.send_bytes(chunk)


async def _left(socket: web.WebSocketResponse) -> None:
    while (await socket.receive()).type not in _ENDED:
        pass
