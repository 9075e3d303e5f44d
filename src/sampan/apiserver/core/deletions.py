"""Deletions that somebody in the server's own process asks for together."""

from __future__ import annotations

from functools import partial

import msgspec

from sampan.apiserver.core import paths
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.together import Wanted
from sampan.apiserver.core.users import User


def wanted(resources: Resources, user: User, agent: str, path: str, uid: str) -> Wanted:
    """The deletion, without grace, of what `path` names where it has this uid.

    Raises ValueError for a path that names no object of this server.
    """
    target = paths.parse("DELETE", path, False)
    resource = resources.find(target.group, target.version, target.plural) if target is not None else None
    if target is None or resource is None or not target.name or target.subresource:
        raise ValueError(f"{path} names no object that could be deleted")
    return Wanted(
        resource=resource,
        target=target,
        method="DELETE",
        change=None,
        request=partial(_request, user, agent, path, uid),
        uid=uid,
    )


def _request(user: User, agent: str, path: str, uid: str) -> Request:
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": uid},
    }
    headers = {"content-type": "application/json", "accept": "application/json", "user-agent": agent}
    return Request(method="DELETE", path=path, headers=headers, body=msgspec.json.encode(options), user=user)
