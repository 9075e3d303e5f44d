"""Who asks."""

from __future__ import annotations

from typing import Final

import msgspec

MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"


class User(msgspec.Struct, frozen=True):
    """A user as authentication found it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.groups))


ANONYMOUS: Final = User("system:anonymous", (UNAUTHENTICATED,))
# Stands for a client certificate that says nothing: the request needs other credentials.
REFUSED: Final = User("")
ADMIN: Final = User("kubernetes-admin", (MASTERS, AUTHENTICATED))


def service_account(namespace: str, name: str, uid: str = "", pod: tuple[str, str] | None = None) -> User:
    """The user that a service-account token stands for; `pod` is (name, uid) of a bound pod."""
    extra: dict[str, tuple[str, ...]] = {}
    if pod is not None:
        extra["authentication.kubernetes.io/pod-name"] = (pod[0],)
        extra["authentication.kubernetes.io/pod-uid"] = (pod[1],)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)
