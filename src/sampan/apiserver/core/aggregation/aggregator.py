"""The shell: follows APIServices, asks their servers whether they are well, and relays requests to them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.aggregation import plans, reading
from sampan.apiserver.core.aggregation.openapi import Documents
from sampan.apiserver.core.aggregation.plans import Route
from sampan.apiserver.core.discovery import AGGREGATED
from sampan.apiserver.core.request import Request, Response, Tunnel
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.users import User
from sampan.apiserver.core.webhooks.client import WebhookFailed
from sampan.apiserver.core.webhooks.services import ServiceAddresses
from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.schema import api

# A server is asked again this often, and at once when its Service, endpoints or APIService change.
CHECK_EVERY_S: Final = 30.0
CHECK_TIMEOUT_S: Final = 5.0
PREFIX: Final = "/registry/apiregistration.k8s.io/apiservices/"
WATCHED: Final = (PREFIX, "/registry/core/services/", "/registry/discovery.k8s.io/endpointslices/")
_HIDDEN: Final = ("authorization", "x-remote-user", "x-remote-group", "x-remote-uid")
_HIDDEN_PREFIXES: Final = ("x-remote-extra-", "impersonate-")
_encode = msgspec.json.Encoder().encode

# Asks an extension server: status and body. Raises OSError, TimeoutError.
Fetch = Callable[[Tunnel], Awaitable[tuple[int, bytes]]]
Store = Callable[[Any], Awaitable[None]]


class Aggregator:
    """All APIServices that other servers answer. `fetch` is set by whoever has a network."""

    def __init__(self, resources: Resources, clock: Clock, store_status: Store) -> None:
        self._resources = resources
        self._services = resources.of(api.APIService)
        self._addresses = ServiceAddresses(resources)
        self._clock = clock
        self._store_status = store_status
        self._found: dict[str, Sequence[Any]] = {}
        self._merged: dict[tuple[str, bytes], bytes] = {}
        self._changed = asyncio.Event()
        self.fetch: Fetch | None = None
        # By group and version. Empty while everything is answered here.
        self.routes: dict[tuple[str, str], Route] = {}
        # The OpenAPI documents by `apis/GROUP/VERSION`; the generation says when others are there.
        self.documents: dict[str, Documents] = {}
        self.documented = 0
        # Until when servers that had no documents are not asked for them again.
        self._none_until_s: dict[str, float] = {}
        self._turn = 0

    def load(self) -> None:
        """Take in the APIServices as they are now stored."""
        objects = (self._services.decode_stored(item.data) for item in self._services.cache)
        found = filter(None, map(plans.route, objects))
        self.routes = {(each.group, each.version): each for each in found}
        self._merged.clear()
        self._none_until_s.clear()
        if self.documents:
            roots = {_root(each) for each in self.routes.values()}
            gone = [root for root in self.documents if root not in roots]
            for root in gone:
                del self.documents[root]
            self.documented += bool(gone)

    def follow(self, keys: Sequence[str]) -> None:
        """These keys, of what is watched, changed."""
        services = [key for key in keys if key.startswith(PREFIX)]
        if any(map(self._concerns, services)):
            self.load()
            self._changed.set()
        elif self.routes and len(services) < len(keys):
            self._changed.set()

    def _concerns(self, key: str) -> bool:
        """Whether the APIService is, or was, more than a name for what definitions add to this server."""
        name = key.removeprefix(PREFIX)
        if any(route.name == name for route in self.routes.values()):
            return True
        item = self._services.cache.get("", name)
        if item is None:
            return False
        held = self._services.decode_stored(item.data)
        return held.spec.service is not None or plans.AUTOMANAGED not in held.metadata.labels

    def find(self, path: str) -> Route | None:
        """The route of a path below /apis/GROUP/VERSION."""
        if not self.routes or not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        return self.routes.get((parts[2], parts[3])) if len(parts) > 3 else None

    def relay(self, route: Route, request: Request, user: User) -> Response:
        """The request on its way to the extension server. Raises 503 where that is not available."""
        if not route.available:
            raise unavailable()
        try:
            return Response(tunnel=self._tunnel(route, request.path, _query(request), user))
        except WebhookFailed as problem:
            raise unavailable() from problem

    def _tunnel(self, route: Route, path: str, query: str, user: User) -> Tunnel:
        address = self._addresses.find(route.namespace, route.service, route.port)
        url = f"https://{address}{quote(path, safe='/:@!$&()*+,;=~')}" + (f"?{query}" if query else "")
        return Tunnel(
            url=url,
            front=True,
            server_name=route.server_name,
            ca_data=route.ca,
            insecure=route.insecure,
            headers=_identity(user),
            strip_headers=_HIDDEN,
            strip_prefixes=_HIDDEN_PREFIXES,
        )

    # -- discovery -----------------------------------------------------------------------------------

    def discovery(self, request: Request, own: Response | None) -> Response | None:
        """This server's own discovery answer with what extension servers add to it."""
        path = request.path.rstrip("/")
        if path == "/apis" and own is not None and own.status == 200:
            return self._merge(request, own)
        group = path.removeprefix("/apis/")
        theirs = plans.groups_of(self.routes.values()).get(group)
        if own is None and theirs is not None and request.method in ("GET", "HEAD"):
            body = {"kind": "APIGroup", "apiVersion": "v1", **plans.api_group(group, theirs)}
            return Response(body=_encode(body))
        return own

    def _merge(self, request: Request, own: Response) -> Response:
        key = (own.content_type, hashlib.sha256(own.body).digest())
        body = self._merged.get(key)
        if body is None:
            document = msgspec.json.decode(own.body)
            routes = self.routes.values()
            if own.content_type == AGGREGATED:
                document = plans.merged_discovery(document, routes, self._found)
            else:
                document = plans.merged_groups(document, routes)
            body = self._merged[key] = _encode(document)
        headers = {name: value for name, value in own.headers.items() if name != "ETag"}
        if "ETag" in own.headers:
            headers["ETag"] = etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
            if request.headers.get("if-none-match") == etag:
                return Response(status=304, content_type=own.content_type, headers=headers)
        return Response(body=body, content_type=own.content_type, headers=headers)

    # -- availability --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the Available conditions true until cancelled."""
        while True:
            self._changed.clear()
            self._turn += 1
            await self.check()
            await first_done(self._changed.wait(), self._clock.sleep(CHECK_EVERY_S))

    async def check(self, *, local: bool = False) -> None:
        """Look at every APIService once; with `local`, only at those that no other server answers."""
        objects = [self._services.decode_stored(item.data) for item in self._services.cache]
        await asyncio.gather(*(self._check(obj) for obj in objects if not local or obj.spec.service is None))

    async def _check(self, obj: api.APIService) -> None:
        route = plans.route(obj)
        if route is None:
            found = plans.LOCAL
        else:
            found = await self._health(route)
        corrected = plans.with_condition(obj, *found, self._clock.now().replace(microsecond=0))
        if corrected is not None:
            with contextlib.suppress(status.StatusError):
                await self._store_status(corrected)
        if route is not None and found[0] == "True":
            await self._read_documents(route)

    async def _health(self, route: Route) -> tuple[str, str, str]:
        where = f'"{route.service}" in "{route.namespace}"'
        service = self._resources.of(api.Service).cache.get(route.namespace, route.service)
        if service is None:
            return (
                "False",
                "ServiceNotFound",
                f'service/{route.service} in "{route.namespace}" is not present',
            )
        path = f"/apis/{route.group}/{route.version}"
        try:
            tunnel = self._tunnel(route, path, "", _CHECKER)
        except WebhookFailed as problem:
            if "port" in str(problem):
                words = (
                    f'service/{route.service} in "{route.namespace}" is not listening on port {route.port}'
                )
                return "False", "ServicePortError", words
            return "False", "MissingEndpoints", f"endpoints for service/{where} have no addresses"
        try:
            if self.fetch is None:
                raise OSError("this server has no network")
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                code, body = await self.fetch(tunnel)
            if code != 200:
                raise OSError(f"bad status from {tunnel.url}: {code}")
            listed = msgspec.json.decode(body)
            self._take_resources(route, listed.get("resources") or [])
        except (OSError, TimeoutError, ValueError, AttributeError, msgspec.DecodeError) as problem:
            words = f"failing or missing response from {tunnel.url}: {problem or type(problem).__name__}"
            return "False", "FailedDiscoveryCheck", words
        return "True", "Passed", "all checks passed"

    async def _read_documents(self, route: Route) -> None:
        """Take in what the server says in OpenAPI. One that says nothing of use keeps what it had said."""
        root, fetch = _root(route), self.fetch
        if fetch is None:
            return
        known, now_s = self.documents.get(root), self._clock.monotonic_s()
        if known is None and now_s < self._none_until_s.get(root, now_s):
            return

        async def ask(place: str) -> tuple[int, bytes]:
            path, _, query = place.partition("?")
            return await fetch(self._tunnel(route, path, query, _CHECKER))

        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                found = await reading.documents(ask, root, route.name, known, self._turn)
        except (OSError, TimeoutError, ValueError, WebhookFailed):
            return
        if found is None:
            self._none_until_s[root] = now_s + reading.NONE_FOR_S
        if found is not None and found != known and (route.group, route.version) in self.routes:
            self.documents[root] = found
            self.documented += 1

    def _take_resources(self, route: Route, resources: Sequence[Any]) -> None:
        if self._found.get(route.name) != resources:
            self._found[route.name] = resources
            self._merged.clear()


def unavailable() -> status.StatusError:
    """What a client gets whose extension server is down, as kube-aggregator answers."""
    return status.unavailable("service unavailable", 0)


def _root(route: Route) -> str:
    return f"apis/{route.group}/{route.version}"


_CHECKER: Final = User("system:kube-aggregator", ("system:masters",))


def _identity(user: User) -> tuple[tuple[str, str], ...]:
    """The headers in which the front proxy tells who asks."""
    named = [("X-Remote-User", user.name)]
    if user.uid:
        named.append(("X-Remote-Uid", user.uid))
    named += [("X-Remote-Group", group) for group in user.groups]
    named += [
        (f"X-Remote-Extra-{quote(key.lower(), safe='')}", value)
        for key, values in user.extra.items()
        for value in values
    ]
    return tuple(named)


def _query(request: Request) -> str:
    lists: Mapping[str, list[str]] = request.query_lists
    return urlencode([(k, v) for k, first in request.query.items() for v in lists.get(k) or [first]])
