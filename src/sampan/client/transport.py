"""The seam between clients and an API server: over HTTP, or by direct calls in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Carries requests to one API server as one user."""

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        """One request and its whole answer. Raises ConnectionError where the server cannot be reached."""
        ...

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        """A GET whose answer comes line by line (watch, logs --follow); each item is one line.

        Raises ConnectionError; and ApiError where the answer is not a 200.
        """
        ...

    async def close(self) -> None: ...


class Bind(msgspec.Struct, frozen=True):
    """A pod's binding to a node. With a `uid` only the pod with that uid is meant."""

    namespace: str
    name: str
    uid: str
    node: str


class BindsTogether(Protocol):
    """What a Transport may be able to do beside: carry many bindings at once."""

    async def bind_all(self, wanted: Sequence[Bind]) -> list[Exception | None]:
        """Bind all of them; None for each pod that is bound, else what went wrong (ApiError if refused)."""
        ...
