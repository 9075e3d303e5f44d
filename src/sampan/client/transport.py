"""The seam between clients and an API server: over HTTP, or by direct calls in the same process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@runtime_checkable
class InProcess(Protocol):
    """What a transport may offer beside requests, where the server is in this process."""

    @property
    def changes_in_place(self) -> bool:
        """Whether `change` may be called now."""
        ...

    async def change(self, path: str, make: Callable[[Any], Any]) -> Reply:
        """A PATCH of what `path` names that needs no patch to be written out, read and merged.

        `make` gives the new object for the stored one. It must leave that as it is, share nothing with it
        that is changed in either, and may be called again where others write at the same moment. Everything
        else is as with any PATCH: authorization, admission, validation, events.
        """
        ...

    async def change_all(self, wanted: Sequence[tuple[str, Callable[[Any], Any]]]) -> list[Exception | None]:
        """Many such changes of different objects, each for itself: None for each that is made, else what
        went wrong (ApiError if refused). The way to the server is gone once for all of them."""
        ...

    async def delete_all(self, wanted: Sequence[tuple[str, str]]) -> list[Exception | None]:
        """Many deletions without grace of different objects, by path and uid, each for itself.

        None for each that is made, else what went wrong. An object of another uid is left alone (409).
        """
        ...


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


@runtime_checkable
class StreamsTogether(Protocol):
    """What a Transport may be able to do beside: give lines of a stream that came together at once."""

    def stream_together(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """As `stream`, with the lines that are there together in one list."""
        ...


class Bind(msgspec.Struct, frozen=True):
    """A pod's binding to a node. With a `uid` only the pod with that uid is meant."""

    namespace: str
    name: str
    uid: str
    node: str


@runtime_checkable
class BindsTogether(Protocol):
    """What a Transport may be able to do beside: carry many bindings at once."""

    async def bind_all(self, wanted: Sequence[Bind]) -> list[Exception | None]:
        """Bind all of them; None for each pod that is bound, else what went wrong (ApiError if refused)."""
        ...
