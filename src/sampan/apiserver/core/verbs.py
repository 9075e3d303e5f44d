"""What is asked of a resource, handed to whoever does it."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.apiserver.core import formats, status
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.bodies import Bodies, is_part
from sampan.apiserver.core.components import Components
from sampan.apiserver.core.context import Context, context
from sampan.apiserver.core.gate import Gate
from sampan.apiserver.core.list_options import selection
from sampan.apiserver.core.modify import Modifier, creates
from sampan.apiserver.core.nodes import NodeTunnels
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.read import Reader
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.reviews import Reviews
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.subresources import Subresources
from sampan.apiserver.core.users import User
from sampan.apiserver.core.watches import Watches
from sampan.base.clock import Clock

# What may be asked of all namespaces at once.
ALL_NAMESPACES: Final = frozenset({"list", "watch"})
_OF_COMPONENTS: Final = frozenset({"get", "list"})
_OF_ONE: Final = frozenset({"update", "patch"})


class Verbs(msgspec.Struct, frozen=True, kw_only=True):
    """Those that read, write, watch and connect. `answer` is asked once the user may."""

    clock: Clock
    gate: Gate
    admission: Chain
    bodies: Bodies
    reader: Reader
    components: Components
    watches: Watches
    modifier: Modifier
    subresources: Subresources
    reviews: Reviews
    tunnels: NodeTunnels

    async def answer(self, request: Request, user: User, target: Target, resource: Resource) -> Response:
        verb, kind = target.verb, resource.kind
        if target.subresource:
            return await self._subresource(request, user, target, resource)
        if verb == "create" and kind.own_type is not None and verb not in kind.verbs:
            raise status.terminating()
        if kind.namespaced and target.name and not target.namespace:
            raise status.no_such_path()
        if (
            verb not in kind.verbs
            or (kind.namespaced and not target.namespace and verb not in ALL_NAMESPACES)
            or (verb in _OF_ONE and not target.name)
        ):
            raise status.method_not_allowed(request.method)
        if request.method == "HEAD":
            raise status.method_not_allowed("HEAD")  # only of what is no resource
        if kind.virtual and verb in _OF_COMPONENTS:
            return self.components.answer(request, resource, verb, target.name)
        if verb == "get":
            return await self._get(request, user, target, resource)
        if verb == "watch":
            return self.watches.watch(request, target, resource)
        if verb == "list":
            return await self.reader.list_objects(request, target, resource)
        made = context(request, user, target, resource, self.clock.now())
        try:
            return await self._write(request, made)
        except StatusError as refused:
            refused.headers.update(made.warning_headers())
            raise

    async def _get(self, request: Request, user: User, target: Target, resource: Resource) -> Response:
        if resource.asks:
            return await self.reader.get_asked(request, target, resource)
        return self.reader.get(request, target, resource, told=not is_part(user))

    async def _write(self, request: Request, made: Context) -> Response:
        target, resource, user = made.target, made.served, made.user
        kind, verb = resource.kind, target.verb
        if kind.virtual and self.reviews.answers(kind.kind):
            formats.negotiate_whole(request.accept)
            return self.reviews.review(self.bodies.decode(request, made, resource), made)
        if kind.virtual:
            return await self.subresources.bind_named(request, made)
        tables = self.reader.tables(request, resource)
        match verb:
            case "create":
                return await self.modifier.create(request, made, tables)
            case "update":
                return await self.modifier.update(request, made, tables)
            case "patch":
                if creates(request, made):
                    self.gate.check(user, msgspec.structs.replace(target, verb="create"))
                return await self.modifier.patch(request, made, tables)
            case "delete":
                return await self.modifier.delete(request, made, tables)
            case _:
                chosen = selection(request, resource)
                return await self.modifier.delete_collection(request, made, chosen, tables)

    async def _subresource(
        self, request: Request, user: User, target: Target, resource: Resource
    ) -> Response:
        kind, verb = resource.kind, target.verb
        verbs = resource.subresources.get(target.subresource)
        if verbs is None:
            raise status.no_such_path()
        if verb not in verbs and target.subresource != "proxy":
            raise status.method_not_allowed(request.method)
        made = context(request, user, target, resource, self.clock.now())
        match (kind.plural, target.subresource):
            case (_, "scale"):
                return await self.subresources.scale(request, made)
            case ("pods", "binding"):
                return await self.subresources.bind(request, made)
            case ("pods", "eviction"):
                return await self.subresources.evict(request, made)
            case ("serviceaccounts", "token"):
                return await self.subresources.token(request, made)
            case ("namespaces", "finalize"):
                return await self.subresources.finalize(request, made)
            case ("pods", "log" | "exec" | "attach" | "portforward") | (
                "pods" | "nodes" | "services",
                "proxy",
            ):
                if self.admission.active and target.subresource != "log":
                    await self.subresources.connect(request, made)
                return self.tunnels.open(request, target)
        if request.method == "HEAD":
            raise status.method_not_allowed("HEAD")
        tables = self.reader.tables(request, resource)
        if verb == "get":
            return await self._get(request, user, target, resource)
        if verb == "update":
            return await self.modifier.update(request, made, tables)
        return await self.modifier.patch(request, made, tables)
