"""Reads the objects that pods refer to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from sampan.client.client import Client
from sampan.client.errors import ApiError, is_not_found
from sampan.schema import api

T = TypeVar("T")


async def get_or_none(client: Client, kind: type[T], name: str, namespace: str = "") -> T | None:
    """The object, or None where there is none. Raises ApiError for any other refusal."""
    try:
        return await client.get(kind, name, namespace)
    except ApiError as error:
        if is_not_found(error):
            return None
        raise


async def read_all(client: Client, kind: type[T], namespace: str, names: Iterable[str]) -> dict[str, T]:
    """Those of the named objects that exist, read at the same time."""
    wanted = sorted(set(names))
    found = await asyncio.gather(*(get_or_none(client, kind, name, namespace) for name in wanted))
    return {name: obj for name, obj in zip(wanted, found, strict=True) if obj is not None}


async def runtime_handler(client: Client, pod: api.Pod) -> str:
    """The runtime's handler for the pod's RuntimeClass; empty for the default. Raises ApiError if missing."""
    if not pod.spec.runtimeClassName:
        return ""
    found = await client.get(api.RuntimeClass, pod.spec.runtimeClassName)
    return found.handler
