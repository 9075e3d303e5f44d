"""SPDY as an HTTP upgrade: for clients before Kubernetes 1.30, and newer ones without websockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from sampan.base.upgraded import UpgradedConnection
from sampan.node.streaming.errors import Refused

_PROTOCOL: Final = "X-Stream-Protocol-Version"
_SPDY: Final = "SPDY/3.1"


def wants_spdy(http: web.BaseRequest) -> bool:
    """Whether the request asks for an upgrade to SPDY."""
    return http.headers.get("Upgrade", "").upper() == _SPDY


@contextlib.asynccontextmanager
async def accept_spdy(
    http: web.BaseRequest, known: Sequence[str]
) -> AsyncIterator[tuple[UpgradedConnection, str]]:
    """The connection, and the first of `known` that the client offers ("" where it offers none).

    Raises Refused (403) where it offers only others, as kubelet does.
    """
    offered = [part.strip() for value in http.headers.getall(_PROTOCOL, []) for part in value.split(",")]
    chosen = next((name for name in known if name in offered), "")
    if offered and not chosen:
        raise Refused(403, f"unable to upgrade: unable to negotiate protocol: client supports {offered}")
    connection = UpgradedConnection(http)
    headers = {"Connection": "Upgrade", "Upgrade": _SPDY}
    if chosen:
        headers[_PROTOCOL] = chosen
    await connection.accept(headers)
    yield connection, chosen
