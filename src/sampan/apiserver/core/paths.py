"""What a URL asks for: resource, namespace, name, subresource and verb."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

_VERB_WITH_NAME: Final = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
# Clients ask for the same paths again and again.
_PARSED: Final = 4096
_NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})


class Target(msgspec.Struct, frozen=True):
    """A resource request taken apart, as RequestInfo is in kube-apiserver."""

    group: str
    version: str
    plural: str
    namespace: str
    name: str
    subresource: str
    # What follows the subresource: the path that `proxy` asks the backend for.
    rest: str
    verb: str


@lru_cache(maxsize=_PARSED)
def parse(method: str, path: str, watch: bool) -> Target | None:
    """The target of a resource URL; None where the path names no resource (discovery, health, …)."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    old = False
    if rest[0] == "watch" and len(rest) > 1:  # the old form of ?watch=true, which may name one object
        old, rest = True, rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    plural = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    tail = "/".join(rest[3:])
    verb = "watch" if old and method in ("GET", "HEAD") else _verb(method, name, watch)
    return Target(group, version, plural, namespace, name, subresource, tail, verb)


def _verb(method: str, name: str, watch: bool) -> str:
    if watch and not name and method in ("GET", "HEAD"):
        return "watch"
    if not name:
        if method in ("GET", "HEAD"):
            return "list"
        if method == "DELETE":
            return "deletecollection"
    return _VERB_WITH_NAME.get(method, method.lower())
