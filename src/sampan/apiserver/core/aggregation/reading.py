"""Asks extension servers for their OpenAPI documents. What fails or lies leaves out that one server alone."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from sampan.apiserver.core.aggregation import openapi
from sampan.apiserver.core.aggregation.openapi import Documents

# A server whose index does not tell when a document changes is asked for it again after so many checks.
ASK_AGAIN: Final = 10
# One that has no documents is asked again only after this, or when its APIService changes.
NONE_FOR_S: Final = 3600.0

# The status and body at a path of the server. Raises OSError, TimeoutError.
Ask = Callable[[str], Awaitable[tuple[int, bytes]]]


async def documents(ask: Ask, root: str, title: str, known: Documents | None, turn: int) -> Documents | None:
    """The documents of `apis/GROUP/VERSION`; `known` where nothing changed, None where there are none.

    Raises OSError, TimeoutError and ValueError for a server that does not answer or makes no sense.
    """
    try:
        return await _documents(ask, root, title, known, turn)
    except (AttributeError, KeyError, TypeError, RecursionError, msgspec.MsgspecError) as problem:
        raise ValueError(f"the OpenAPI document of {title} cannot be understood: {problem!r}") from None


async def _documents(ask: Ask, root: str, title: str, known: Documents | None, turn: int) -> Documents | None:
    code, body = await ask(openapi.INDEX)
    place = openapi.place_of(msgspec.json.decode(body), root) if code == 200 else ""
    if known is not None and (known.seen == place if "hash=" in place else turn % ASK_AGAIN):
        return known
    code, body = await ask(openapi.WHOLE)
    part: openapi.Part = {"paths": {}, "definitions": {}}
    if code == 200:
        part = openapi.part_of_v2(msgspec.json.decode(body), root)
        _write(part)
    if place:
        code, body = await ask(place)
        if code != 200:
            raise OSError(f"the answer to {place} has the status {code}")
        return Documents(place, openapi.checked_v3(body), part)
    if not part["paths"]:
        return None
    made = openapi.v3_of(part, title)
    return Documents(hashlib.sha256(made).hexdigest(), made, part)


def _write(part: openapi.Part) -> None:
    """Make sure that the part can be written in protobuf, with this server's own."""
    from sampan.schema import openapi_protobuf  # late: only where there are extension servers

    info = {"title": "", "version": ""}
    openapi_protobuf.encode(
        {"swagger": "2.0", "info": info, "security": [], "securityDefinitions": {}, **part}
    )
