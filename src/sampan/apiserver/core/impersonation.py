"""Acting as somebody else: what the Impersonate-* headers say, and what it takes to be allowed to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from sampan.apiserver.core import users
from sampan.apiserver.core.authz import Access, Authorizer, refusal
from sampan.apiserver.core.status import StatusError, bad_request
from sampan.apiserver.core.users import ACCOUNT, User

_USER: Final = "impersonate-user"
_GROUP: Final = "impersonate-group"
_UID: Final = "impersonate-uid"
_EXTRA: Final = "impersonate-extra-"
_AUTHENTICATION: Final = "authentication.k8s.io"


def actor(headers: Mapping[str, str], user: User, authorizer: Authorizer) -> User:
    """Who the request acts as: `user`, or whom the headers name. Raises 400, 403."""
    if _USER not in headers and _GROUP not in headers and _UID not in headers:
        return user
    name = headers.get(_USER, "")
    groups = tuple(group.strip() for group in headers.get(_GROUP, "").split(",") if group.strip())
    uid, extra = headers.get(_UID, ""), _extra(headers)
    if not name:
        raise bad_request("groups, a uid or extras were given without a user to impersonate")
    for access in _asked(name, groups, uid, extra):
        if not authorizer.allows(user, access):
            raise StatusError(403, "Forbidden", _refusal(user, access))
    return User(name, _with_implied(name, groups), uid, extra)


def _asked(
    name: str, groups: tuple[str, ...], uid: str, extra: Mapping[str, tuple[str, ...]]
) -> Iterator[Access]:
    namespace, account = _account(name)
    if account:
        yield Access("impersonate", "", "serviceaccounts", namespace, account)
    else:
        yield Access("impersonate", "", "users", "", name)
    for group in groups:
        yield Access("impersonate", "", "groups", "", group)
    if uid:
        yield Access("impersonate", _AUTHENTICATION, "uids", "", uid)
    for key, values in extra.items():
        for value in values:
            yield Access("impersonate", _AUTHENTICATION, f"userextras/{key}", "", value)


def _account(name: str) -> tuple[str, str]:
    """Namespace and name of a service account; two empty texts for other users."""
    parts = name.removeprefix(ACCOUNT).split(":")
    return (parts[0], parts[1]) if name.startswith(ACCOUNT) and len(parts) == 2 else ("", "")


def _with_implied(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    namespace, account = _account(name)
    if account and not groups:
        return users.service_account(namespace, account).groups
    if name == users.ANONYMOUS.name:
        return groups or users.ANONYMOUS.groups
    return groups if users.AUTHENTICATED in groups else (*groups, users.AUTHENTICATED)


def _extra(headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        lower = header.lower()
        if lower.startswith(_EXTRA):
            key = unquote(lower.removeprefix(_EXTRA))
            found[key] = (*found.get(key, ()), value)
    return found


def _refusal(user: User, access: Access) -> str:
    return f'{access.resource} "{access.name}" is forbidden: {refusal(user, access)}'
