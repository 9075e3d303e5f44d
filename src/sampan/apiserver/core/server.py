"""The API server without HTTP: one callable from Request to Response, and what it is made of."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final

import msgspec

from sampan.apiserver.core import (
    bootstrap,
    chores,
    deadlines,
    impersonation,
    paths,
    status,
    users,
)
from sampan.apiserver.core.admission import builtin
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.admission.dynamic.extension import PREFIX as DYNAMIC_PREFIX
from sampan.apiserver.core.admission.dynamic.extension import Dynamic
from sampan.apiserver.core.admission.dynamic.subject import Parts
from sampan.apiserver.core.admission.dynamic.typechecking import TypeChecks
from sampan.apiserver.core.admission.quotas import Quotas
from sampan.apiserver.core.admission.services import PORTS_PREFIX, ServiceAddresses
from sampan.apiserver.core.aggregation import aggregator, authentication
from sampan.apiserver.core.aggregation.aggregator import Aggregator
from sampan.apiserver.core.aggregation.registration import Registrar
from sampan.apiserver.core.aggregation.trust import Trust
from sampan.apiserver.core.audit.auditor import Auditor
from sampan.apiserver.core.audit.events import ANNOTATION_DECISION, ANNOTATION_REASON
from sampan.apiserver.core.authn import Authenticator, TokenKeys
from sampan.apiserver.core.authz import Authorizer
from sampan.apiserver.core.beginnings import Beginnings
from sampan.apiserver.core.bodies import Bodies
from sampan.apiserver.core.bulk import Bulk
from sampan.apiserver.core.components import Components
from sampan.apiserver.core.context import quoted_warning
from sampan.apiserver.core.custom.follower import Follower
from sampan.apiserver.core.custom.registry import CustomKinds
from sampan.apiserver.core.documents import Documents
from sampan.apiserver.core.flowcontrol.control import FlowControl, list_seats
from sampan.apiserver.core.flowcontrol.upkeep import Upkeep, Writes
from sampan.apiserver.core.gate import Gate
from sampan.apiserver.core.legacytokens import LegacyTokens
from sampan.apiserver.core.metrics import Metrics
from sampan.apiserver.core.modify import Modifier
from sampan.apiserver.core.nodeauthz import PODS_PREFIX, NodeGraph
from sampan.apiserver.core.nodes import NodeTunnels
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.pages import Pages
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.presence import Presence
from sampan.apiserver.core.read import Reader
from sampan.apiserver.core.repeats import Repeats
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource, Resources
from sampan.apiserver.core.reviews import Reviews
from sampan.apiserver.core.stamps import Stamps
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.subresources import Subresources
from sampan.apiserver.core.together import Together
from sampan.apiserver.core.users import User
from sampan.apiserver.core.verbs import ALL_NAMESPACES, Verbs
from sampan.apiserver.core.watches import Watches
from sampan.apiserver.core.webhooks.client import WebhookClient, endpoint_of
from sampan.apiserver.core.webhooks.services import ServiceAddresses as WebhookServices
from sampan.apiserver.core.write import Writer
from sampan.base.clock import Clock
from sampan.base.ids import Ids
from sampan.kinds import registry
from sampan.kinds.groups.gates import served_together
from sampan.kinds.kind import Kind
from sampan.schema import api
from sampan.schema.definitions import NEWEST
from sampan.store.backend import Batch, Store
from sampan.store.watchcache import WatchCache

_RBAC_PREFIX: Final = "/registry/rbac.authorization.k8s.io/"
_FLOW_PREFIX: Final = "/registry/flowcontrol.apiserver.k8s.io/"
# Deleting one of these may end a token's life.
_TOKEN_PREFIXES: Final = (
    "/registry/core/serviceaccounts/",
    "/registry/core/pods/",
    "/registry/core/secrets/",
    "/registry/core/nodes/",
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an API server is told on start."""

    keys: TokenKeys
    service_cidr: str = "10.96.0.0/16"
    service_ip: str = "10.96.0.1"
    address: str = "127.0.0.1"
    port: int = 6443
    # The machine that the server runs on, by which the servers of a cluster are told apart. "" where there is
    # no other and nobody looks for it: then it tells of itself in no object.
    hostname: str = ""
    version: str = NEWEST
    static_tokens: Mapping[str, User] = msgspec.field(default_factory=dict)
    anonymous: bool = True
    # Where requests without credentials are answered even so (AuthenticationConfiguration's conditions).
    anonymous_paths: tuple[str, ...] = ()
    kubelet_ca: str = ""
    # PEM of the authorities of clients and of the front proxy, for extension servers to find.
    client_ca: str = ""
    front_proxy_ca: str = ""
    # Pods are host processes with addresses of the loopback network (the process runtime).
    loopback_pods: bool = False


class ApiServer:
    """Kubernetes' API over a store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        kinds: Iterable[Kind] = registry.ALL,
        chance: random.Random | None = None,
    ) -> None:
        chance = chance or random.Random()
        self.store = store
        self.clock = clock
        self.settings = settings
        self.cache = WatchCache(store)
        self.resources = Resources(served_together(kinds), self.cache, settings.version)
        self._webhooks = WebhookClient()
        webhook_services = WebhookServices(self.resources)

        async def post(config: Any, body: bytes, timeout_s: float) -> bytes:
            return await self._webhooks.post(endpoint_of(config, webhook_services.find), body, timeout_s)

        self.resources.custom = self._custom = CustomKinds(self.cache, post, ids.uid)
        self.authenticator = Authenticator(
            clock,
            settings.keys,
            settings.static_tokens,
            partial(self._find, ""),
            anonymous=settings.anonymous,
            anonymous_paths=settings.anonymous_paths,
        )
        self._graph = NodeGraph(self._find)
        self.authorizer = Authorizer(partial(self._find, "rbac.authorization.k8s.io"), self._graph)
        self._gate = Gate(self.authorizer, self.resources)
        self._ports = ports = self.cache.kind(PORTS_PREFIX)
        chain = Chain(
            builtin.plugins(self.resources, self.authorizer, ids),
            (ServiceAddresses(self.resources, ports, settings.service_cidr, chance),),
        )
        bodies = Bodies()
        self._dynamic = chain.extension = Dynamic(
            Parts(self.resources, bodies, self.authorizer, ids, self._webhooks, webhook_services)
        )
        quotas = Quotas(self.resources)
        writer = Writer(store, self.cache, chain, ids, quotas)
        self._writer = writer
        self._ids = ids
        self._admission = chain
        self._own = OwnWrites(self.resources, writer, clock)
        trusted = list(authentication.objects(settings.client_ca, settings.front_proxy_ca))
        self._trust = Trust(self._own, self.resources.of(api.ConfigMap), trusted, clock)
        self._type_checks = TypeChecks(self.resources, self._own)
        self._registrar = Registrar(self._custom, self.resources.of(api.APIService), self._own, clock)
        where = f"{settings.address}:{settings.port}"
        self._legacy_tokens = LegacyTokens(self.resources.of(api.Secret), self._own, clock)
        self.authenticator.legacy_used = self._legacy_tokens.note
        self._presence = Presence(self.resources, self._own, clock, settings.hostname, ids.uid(), where)
        self._follower = Follower(self.resources, self._custom, writer, self._own, clock)
        self._watches = Watches(self.cache, clock, chance)
        schemas, levels = self.resources.of(api.FlowSchema), self.resources.of(api.PriorityLevelConfiguration)
        self.flow = FlowControl(schemas, levels, clock)
        writes = Writes(self._own.create, self._own.update, self._own.delete)
        self._flow_upkeep = Upkeep(schemas, levels, writes)
        self.aggregator = Aggregator(self.resources, clock, self._store_api_service)
        self.metrics = Metrics(clock.now())
        writer.commits.timed = self.metrics.commits.observe
        # Set by whoever wants requests written down, before the start.
        self.audit: Auditor | None = None
        self.components = Components(self.resources, self.cache, clock)
        self._verbs = self._make_verbs(bodies, writer, quotas)
        self.bulk = Bulk(
            Together(writer, chain, quotas, self._gate, self.flow, self.metrics, clock),
            self.resources,
            self.aggregator,
            clock,
            self.handle,
            lambda: self.audit is not None,
        )
        self._pages = Pages(
            self._gate,
            self.resources,
            self._custom,
            Documents(self.resources.kinds, settings.version, settings.keys),
            self.aggregator,
            self.metrics,
            self.flow,
            self.cache,
            where,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.ready = False

    def _make_verbs(self, bodies: Bodies, writer: Writer, quotas: Quotas) -> Verbs:
        settings, chain, ids = self.settings, self._admission, self._ids
        stamps, repeats = Stamps(self.resources, chain, quotas, ids), Repeats(self.resources, chain)
        return Verbs(
            clock=self.clock,
            gate=self._gate,
            admission=chain,
            bodies=bodies,
            reader=Reader(self.store, self.cache, self.clock),
            components=self.components,
            watches=self._watches,
            modifier=Modifier(writer, bodies, stamps, repeats),
            subresources=Subresources(writer, bodies, self.resources, self.authenticator, chain),
            reviews=Reviews(self.authenticator, self.authorizer),
            tunnels=NodeTunnels(self.resources, settings.kubelet_ca, loopback_pods=settings.loopback_pods),
        )

    def _find(self, group: str, plural: str) -> Resource:
        found = self.resources.find(group, "v1", plural)
        assert found is not None
        return found

    async def start(self) -> None:
        """Load what is stored, create what every cluster has, and begin to answer."""
        self.cache.on_batch += [self._follow, self._follower.follow]
        self.cache.on_reload += [self.authorizer.forget, self.authenticator.forget, self.flow.forget]
        self.cache.on_reload += [self._dynamic.forget, self._follower.reload, self.aggregator.load]
        self.cache.on_reload.append(self._graph.forget)
        await self.cache.start()
        self._follower.reload()
        await self._make_first_objects()
        # Not before: no webhook may keep a server from starting.
        self._dynamic.forget()
        self._type_checks.changed.set()
        clock, services = self.clock, self.resources.of(api.Service)
        ports = chores.repair_ports(services, self._ports, self.store, self._own, clock)
        flows = chores.keep_flow_objects(self._flow_upkeep, clock)
        self._tasks = [
            asyncio.create_task(chores.compact(self.store, self.cache, clock), name="compaction"),
            asyncio.create_task(ports, name="repair of node ports"),
            asyncio.create_task(self._watches.send_bookmarks(), name="bookmarks"),
            asyncio.create_task(self.flow.adjust(), name="flow control"),
            asyncio.create_task(flows, name="upkeep of flow control"),
            asyncio.create_task(self._follower.run(), name="definitions"),
            asyncio.create_task(self.aggregator.run(), name="APIServices"),
            asyncio.create_task(self._registrar.run(), name="APIServices of definitions"),
            asyncio.create_task(self._type_checks.run(), name="types of admission policies"),
            asyncio.create_task(self._trust.run(), name="trust of extension servers"),
            asyncio.create_task(self._legacy_tokens.run(), name="use of tokens of Secrets"),
        ]
        if self.settings.hostname:
            self._tasks.append(asyncio.create_task(self._presence.run(), name="presence"))
        self.ready = True

    async def _make_first_objects(self) -> None:
        at = self.settings
        beginnings = Beginnings(
            store=self.store,
            cache=self.cache,
            resources=self.resources,
            ids=self._ids,
            own=self._own,
            trust=self._trust,
            aggregator=self.aggregator,
            flow_upkeep=self._flow_upkeep,
        )
        own = bootstrap.own(at.service_ip, at.address, at.port, at.service_cidr)
        await beginnings.make(own, self.clock.now().replace(microsecond=0))

    async def close(self) -> None:
        """Stop answering; the store stays the caller's."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.cache.close()
        await self._webhooks.close()

    async def handle(self, request: Request) -> Response:
        """Answer one request. Never raises: what goes wrong becomes a Status."""
        began_s = perf_counter()
        in_flight, reads = self.metrics.in_flight, request.method in _READING
        in_flight[reads] += 1
        code = 500
        try:
            response = await self._answered(request)
            code = response.status
        finally:
            in_flight[reads] -= 1
            self.metrics.request(request.method, request.path, request.target, code, perf_counter() - began_s)
        if request.audit is not None and self.audit is not None:
            self.audit.end(request, response)
        return response

    async def _answered(self, request: Request) -> Response:
        try:
            if "timeout" in request.query:
                return await self._in_time(request, deadlines.parse(request.query["timeout"]))
            return await self._handle(request)
        except StatusError as refused:
            return refused.response()
        except RecursionError:
            return status.bad_request("the request is nested too deeply").response()
        except Exception:
            if self.audit is not None:
                self.audit.end(request, None)
            raise

    async def _in_time(self, request: Request, limit_s: float) -> Response:
        """The answer, unless it takes longer than the client wants to wait: then 504."""
        work = asyncio.ensure_future(self._handle(request))
        timer = asyncio.ensure_future(self.clock.sleep(limit_s))
        try:
            await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise deadlines.exceeded()
            return work.result()
        finally:
            timer.cancel()
            work.cancel()

    async def _handle(self, request: Request) -> Response:
        if self.authenticator.external is not None:
            await self.authenticator.external.prepare(request)
        try:
            asker = self.authenticator.user(request)
        except StatusError:
            if self.audit is not None:
                self.audit.unauthenticated(request)
            raise
        watch = "watch" in request.query and request.flag("watch")
        request.target = target = paths.parse(request.method, request.path, watch)
        if self.audit is not None:
            verb = target.verb if target is not None else request.method.lower()
            self.audit.begin(request, asker, verb, target)
        user = impersonation.actor(request.headers, asker, self.authorizer)
        if request.audit is not None:
            request.audit.user = user
        resource = None
        if target is not None:
            resource = self.resources.find(target.group, target.version, target.plural)
        seats = 1
        if resource is not None and target is not None and target.verb in ALL_NAMESPACES:
            seats = list_seats(resource.cache.count)
        permit = self.flow.enter(user, target, request.method.lower(), request.path, seats)
        if permit is None:
            return await self._answer(request, user, target, resource)
        if permit.ready is not None:
            await self.flow.wait(permit)
        try:
            response = await self._answer(request, user, target, resource)
        except StatusError as refused:
            refused.headers.update(permit.flow.headers)
            raise
        finally:
            if permit.ticket is not None:
                self.flow.done(permit)
        response.headers.update(permit.flow.headers)
        return response

    async def _answer(
        self, request: Request, user: User, target: Target | None, resource: Resource | None
    ) -> Response:
        routes = self.aggregator.routes
        if routes and (route := self.aggregator.find(request.path)) is not None:
            self._gate.check_relayed(user, request, target)
            return self.aggregator.relay(route, request, user)
        if target is None or resource is None:
            return await self._pages.answer(request, user, ready=self.ready)
        if target.namespace and not resource.kind.namespaced:
            # Rights in a namespace must not reach what belongs to none.
            raise status.no_such_path()
        of_many = target.verb in _BY_SELECTOR
        self._gate.check(user, target, request.query.get("fieldSelector", "") if of_many else "")
        if request.audit is not None:
            request.annotate(ANNOTATION_DECISION, "allow")
            request.annotate(ANNOTATION_REASON, self._reason(user))
        if target.subresource in _STREAMS and target.verb == "get":
            # A websocket begins with a GET, but runs a command: reading rights are not enough.
            self._gate.check(user, msgspec.structs.replace(target, verb="create"))
        response = await self._verbs.answer(request, user, target, resource)
        if resource.deprecation:
            also = response.headers.get("Warning")
            quoted = quoted_warning(resource.deprecation)
            response.headers["Warning"] = f"{quoted}, {also}" if also else quoted
        return response

    def _reason(self, user: User) -> str:
        return "" if users.MASTERS in user.groups else f'RBAC: allowed for User "{user.name}"'

    def _follow(self, batch: Batch) -> None:
        """What must be forgotten at once when its ground changes."""
        services: list[str] = []
        for change in batch.changes:
            if change.key.startswith(PODS_PREFIX):
                self._graph.note(change.key)
                if change.value is None:
                    self.authenticator.forget()
            elif change.key.startswith(_RBAC_PREFIX):
                self.authorizer.forget()
            elif change.key.startswith(_FLOW_PREFIX):
                self.flow.forget()
                self._flow_upkeep.changed.set()
            elif change.key.startswith(DYNAMIC_PREFIX):
                self._dynamic.forget()
                self._type_checks.changed.set()
            elif change.key.startswith(aggregator.WATCHED):
                services.append(change.key)
                if change.key.startswith(aggregator.PREFIX):
                    self._registrar.note(change.key.removeprefix(aggregator.PREFIX))
            elif change.key == authentication.KEY:
                self._trust.changed.set()
            elif change.value is None and change.key.startswith(_TOKEN_PREFIXES):
                self.authenticator.forget()
        if services:
            self.aggregator.follow(services)

    async def _store_api_service(self, obj: api.APIService) -> None:
        await self._own.update(self.resources.of(api.APIService), obj, "status")


_BY_SELECTOR: Final = frozenset({"list", "watch", "deletecollection"})
_READING: Final = frozenset({"GET", "HEAD"})
_STREAMS: Final = frozenset({"exec", "attach", "portforward"})
