"""Who asks."""

from __future__ import annotations

from typing import Final

import msgspec

MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"
# What names of service accounts begin with.
ACCOUNT: Final = "system:serviceaccount:"


class User(msgspec.Struct, frozen=True):
    """A user as authentication found it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.groups))


# What a token says beside who it stands for.
_ABOUT: Final = "authentication.kubernetes.io/"
NODE_NAME: Final = f"{_ABOUT}node-name"
ANONYMOUS: Final = User("system:anonymous", (UNAUTHENTICATED,))
# Stands for a client certificate that says nothing: the request needs other credentials.
REFUSED: Final = User("")
ADMIN: Final = User("kubernetes-admin", (MASTERS, AUTHENTICATED))


def account_name(namespace: str, name: str) -> str:
    """The name of the user that a service account is."""
    return f"{ACCOUNT}{namespace}:{name}"


def service_account(
    namespace: str,
    name: str,
    uid: str = "",
    pod: tuple[str, str] | None = None,
    node: tuple[str, str] | None = None,
    token_id: str = "",
) -> User:
    """The user that a service-account token stands for.

    `pod` is (name, uid) of a bound pod; `node` of its node, or of a bound one; its uid may be unknown.
    """
    extra: dict[str, tuple[str, ...]] = {}
    if token_id:
        extra[f"{_ABOUT}credential-id"] = (f"JTI={token_id}",)
    for kind, bound in (("node", node), ("pod", pod)):
        if bound is not None:
            extra[f"{_ABOUT}{kind}-name"] = (bound[0],)
            if bound[1]:
                extra[f"{_ABOUT}{kind}-uid"] = (bound[1],)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(account_name(namespace, name), groups, uid, extra)
