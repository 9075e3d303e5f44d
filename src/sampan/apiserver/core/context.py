"""What a write knows of its request, beside the object."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.apiserver.core import write_options
from sampan.apiserver.core.fencing import Fence, fence_of
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.users import User
from sampan.store.backend import Guard, Op

APPLY: Final = "application/apply-patch+yaml"
# Who manages the fields of what the server itself writes.
OWN_MANAGER: Final = "kube-apiserver"
_FLOW_MANAGER: Final = "api-priority-and-fairness-config-producer-v1"


def quoted_warning(text: str) -> str:
    """One value of a Warning header."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'299 - "{escaped}"'


class Context(msgspec.Struct, kw_only=True):
    """One write request on its way through admission, validation and commit."""

    user: User
    target: Target
    # The version that objects are stored in: what admission, validation and commit deal with.
    resource: Resource
    # The version that the client speaks; mostly the same.
    served: Resource
    now: datetime
    dry_run: bool = False
    manager: str = ""
    field_validation: str = "Warn"
    warnings: list[str] = msgspec.field(default_factory=list)
    # Webhooks and policies have seen the request as what it is (a Scale, an Eviction), and do not look at the
    # writes that carry it out.
    reviewed: bool = False
    # The request is a server-side apply.
    applies: bool = False
    # Who has written the object, in short, as it is kept beside it (machinery.patch.apply.writers); "" where
    # its managedFields say so, or nobody knows.
    owners: str = ""
    # What has to be committed together with the object: allocations and the like.
    guards: list[Guard] = msgspec.field(default_factory=list)
    ops: list[Op] = msgspec.field(default_factory=list)
    # The term of the elected leader that sent this.
    fence: Fence | None = None
    # The audit's record of the request; None where it is not audited.
    audit: Any = None

    def annotate(self, key: str, value: str) -> None:
        """Put a note on the request's audit event; the first for a key stays. Costs nothing without audit."""
        if self.audit is not None:
            self.audit.annotations.setdefault(key, value)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def warning_headers(self) -> dict[str, str]:
        """RFC 7234 Warning headers, as client-go prints them."""
        return {"Warning": ", ".join(map(quoted_warning, self.warnings))} if self.warnings else {}


def context(request: Request, user: User, target: Target, resource: Resource, now: datetime) -> Context:
    """The context of a write. Raises 422 for parameters that are not understood."""
    applies = target.verb == "patch" and is_apply(request)
    if applies or request.query:
        write_options.check(request, target.verb, applies=applies)
    dry_run = "dryRun" in request.query
    validation = request.query.get("fieldValidation", "")
    return Context(
        user=user,
        target=target,
        resource=resource.hub,
        served=resource,
        now=now.replace(microsecond=0),
        dry_run=dry_run,
        manager=manager_of(request),
        field_validation=validation or "Warn",
        fence=fence_of(request.query),
        audit=request.audit,
    )


def own_manager(group: str) -> str:
    """Who manages objects of this API group that the server itself makes."""
    return _FLOW_MANAGER if group == "flowcontrol.apiserver.k8s.io" else OWN_MANAGER


def is_apply(request: Request) -> bool:
    """Whether the body is a configuration to apply."""
    return request.headers.get("content-type", "").split(";")[0].strip() == APPLY


def manager_of(request: Request) -> str:
    """The field manager: the parameter, else the first word of the user agent."""
    return (
        request.query.get("fieldManager")
        or request.headers.get("user-agent", "unknown").split("/", 1)[0][:128]
    )


class Attributes(msgspec.Struct, frozen=True):
    """What an admission step sees of a write."""

    verb: str  # create, update, delete; also `erase` where nothing may refuse any more
    subresource: str
    namespace: str
    context: Context
    obj: Any
    old: Any
    # The name that was made of the object's generateName. The server's own plugins that change objects do not
    # know it yet, and speak of the generateName in what they refuse.
    generated: str = ""
