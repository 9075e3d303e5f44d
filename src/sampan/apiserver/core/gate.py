"""May this user do this? The answer of the authorizer to a request, and the refusal."""

from __future__ import annotations

from sampan.apiserver.core import status, users
from sampan.apiserver.core.authz import Access, Authorizer, refusal
from sampan.apiserver.core.nodeauthz import PREFIX as NODE_USERS
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.users import User


class Gate:
    """Lets requests through, or raises StatusError 403."""

    def __init__(self, authorizer: Authorizer, resources: Resources) -> None:
        self._authorizer = authorizer
        self._resources = resources

    def check(self, user: User, target: Target, fields: str = "") -> None:
        """A request about a resource of this server; `fields` is the field selector of one about many."""
        if users.MASTERS in user.groups:
            return
        named = _named(target)
        # A namespace lies in itself: who may read things in it may read it.
        namespace = target.name if target.plural == "namespaces" and not target.group else target.namespace
        name = target.name
        if fields and not name:
            # Who may read one object by its name may list and watch just that one.
            name = next((t[14:].lstrip("=") for t in fields.split(",") if t.startswith("metadata.name=")), "")
        if fields and not user.name.startswith(NODE_USERS):
            fields = ""  # decides nothing, and would only make every decision be remembered apart
        access = Access(target.verb, target.group, named, namespace, name, fields=fields)
        if not self._authorizer.allows(user, access):
            resource = self._resources.find(target.group, target.version, target.plural)
            assert resource is not None
            raise status.forbidden(resource.kind, target.name, refusal(user, access))

    def check_path(self, user: User, request: Request) -> None:
        """A request about no resource: health, discovery, documents."""
        access = Access(request.method.lower(), path=request.path)
        if not self._authorizer.allows(user, access):
            raise StatusError(403, "Forbidden", refusal(user, access), {})

    def check_relayed(self, user: User, request: Request, target: Target | None) -> None:
        """A request that an extension server answers: of its resources only their names are known here."""
        if target is None:
            self.check_path(user, request)
            return
        access = Access(target.verb, target.group, _named(target), target.namespace, target.name)
        if not self._authorizer.allows(user, access):
            what = f'{target.plural}.{target.group} "{target.name}" is forbidden'
            details = {"name": target.name, "group": target.group, "kind": target.plural}
            raise StatusError(403, "Forbidden", f"{what}: {refusal(user, access)}", details)


def _named(target: Target) -> str:
    return f"{target.plural}/{target.subresource}" if target.subresource else target.plural
