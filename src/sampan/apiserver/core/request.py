"""Requests and answers without HTTP: what the shell takes off the wire, and what it puts back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec

from sampan.apiserver.core.users import User

JSON: Final = "application/json"


class Request(msgspec.Struct, kw_only=True):
    """One request. Header names are lower-case; a query name given twice keeps its first value."""

    method: str
    path: str
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    # All values of names that may repeat (`command` of exec).
    query_lists: Mapping[str, list[str]] = msgspec.field(default_factory=dict)
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    # In place of the body of a PATCH, from a caller in the same process: makes the new object from the old
    # one, which it leaves as it is.
    change: Callable[[Any], Any] | None = None
    # Set when the caller has proved who it is by other means: a client certificate, or a direct call.
    user: User | None = None
    # Where the client reached this server ("127.0.0.1:6443"), for answers that name it.
    host: str = ""
    # The client's address, where the transport knows it and somebody wants it.
    remote: str = ""
    # The audit's record of this request (audit.events.Record); None where it is not audited.
    audit: Any = None
    # What the path names (paths.Target), once it has been taken apart.
    target: Any = None

    def annotate(self, key: str, value: str) -> None:
        """Put a note on the request's audit event; the first for a key stays. Costs nothing without audit."""
        if self.audit is not None:
            self.audit.annotations.setdefault(key, value)

    @property
    def accept(self) -> str:
        return self.headers.get("accept", "")

    def flag(self, name: str) -> bool:
        """A query parameter as Kubernetes reads booleans: there and not false."""
        value = self.query.get(name)
        return value is not None and value.lower() not in ("false", "0")


class Response(msgspec.Struct, kw_only=True):
    """A whole answer, or the start of a stream when `chunks` is set."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    chunks: AsyncIterator[bytes] | None = None
    tunnel: Tunnel | None = None
    # What the transport calls the request in the answer's headers.
    audit_id: str = ""
    # Called by the transport once a tunnel has ended.
    ended: Callable[[], None] | None = None


class Tunnel(msgspec.Struct, kw_only=True):
    """The request is to be relayed to a node's or a backend's own server."""

    url: str
    # PEM of the CA that signs the server's certificate; "" for plain HTTP.
    ca: str = ""
    # Whether to present the API server's client certificate for kubelets.
    to_node: bool = False
    strip_headers: tuple[str, ...] = ("authorization",)
    strip_prefixes: tuple[str, ...] = ()
    # Headers to add.
    headers: tuple[tuple[str, str], ...] = ()
    # Whether to present the front proxy's certificate, to a server that must be `server_name` by `ca_data`.
    front: bool = False
    server_name: str = ""
    ca_data: bytes = b""
    # Whether any certificate of the server will do.
    insecure: bool = False
    # The path by which the client reaches the server's root, where redirects and pages are to lead there too.
    prefix: str = ""
    # Whether a client that asks for a websocket gets the answer as its messages, without one behind it.
    in_messages: bool = False
