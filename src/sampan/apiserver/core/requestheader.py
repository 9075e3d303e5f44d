"""A front proxy that says in headers who asks, as kube-apiserver's --requestheader-* flags have it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from sampan.apiserver.core import users
from sampan.apiserver.core.users import User

USER_HEADER: Final = "X-Remote-User"
GROUP_HEADER: Final = "X-Remote-Group"
UID_HEADER: Final = "X-Remote-Uid"
EXTRA_PREFIX: Final = "X-Remote-Extra-"
_USER, _GROUP, _UID = USER_HEADER.lower(), GROUP_HEADER.lower(), UID_HEADER.lower()
_EXTRA: Final = EXTRA_PREFIX.lower()


class FrontProxy(msgspec.Struct, frozen=True):
    """Whose word is taken: certificates of this authority, with one of these common names.

    `authority` is the authority's subject as `ssl.getpeercert` gives names. The authority must not share it
    with that of clients: a certificate of either is told by its issuer.
    """

    authority: Any
    allowed_names: frozenset[str]

    def user(self, common_name: str, headers: Iterable[tuple[str, str]]) -> User:
        """The user that the headers name; `users.REFUSED` where the proxy may not say or says nobody."""
        if common_name not in self.allowed_names:
            return users.REFUSED
        name = uid = ""
        groups: list[str] = []
        extra: dict[str, tuple[str, ...]] = {}
        for header, value in headers:
            lower = header.lower()
            if lower == _USER:
                name = name or value
            elif lower == _GROUP:
                groups.append(value)
            elif lower == _UID:
                uid = uid or value
            elif lower.startswith(_EXTRA):
                key = unquote(lower.removeprefix(_EXTRA))
                extra[key] = (*extra.get(key, ()), value)
        if not name:
            return users.REFUSED
        if users.AUTHENTICATED not in groups and users.UNAUTHENTICATED not in groups:
            groups.append(users.AUTHENTICATED)
        return User(name, tuple(groups), uid, extra)
