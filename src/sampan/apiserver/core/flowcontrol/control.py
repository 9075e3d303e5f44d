"""The shell around the queues: classifies requests, lets them wait, and follows the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.flowcontrol import queueset, rules, shares
from sampan.apiserver.core.flowcontrol.queueset import QueueSet, Queuing, Ticket
from sampan.apiserver.core.flowcontrol.rules import Ask, Schema
from sampan.apiserver.core.flowcontrol.sharding import flow_hash
from sampan.apiserver.core.flowcontrol.shares import Bounds, Demand, DemandMeter, Shares
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.users import MASTERS, User
from sampan.base.clock import Clock
from sampan.schema import api

# What may be under way at once. A write waits for the disk together with others, so many at once cost little
# and are committed together.
TOTAL_SEATS: Final = 3000
# Seats are lent and taken back this often, as in kube-apiserver.
ADJUST_EVERY_S: Final = 10.0
# A request waits for a quarter of the time that it may take at most.
QUEUE_WAIT_S: Final = 15.0
RETRY_AFTER_S: Final = 1
MAX_SEATS: Final = 10
OBJECTS_PER_SEAT: Final = 100
CACHED_FLOWS: Final = 16_384
SCHEMA_HEADER: Final = "X-Kubernetes-PF-FlowSchema-UID"
LEVEL_HEADER: Final = "X-Kubernetes-PF-PriorityLevel-UID"
# What lasts as long as its client likes takes no seat.
_LONG: Final = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_NO_QUEUES: Final = "Too many requests, please try again later."


class Level:
    """A priority level at work."""

    def __init__(self, name: str, now_s: float) -> None:
        self.name = name
        self.uid = ""
        self.shares = Shares(0)
        self.queues = QueueSet(None, 0)
        self.meter = DemandMeter(now_s)
        self.demand = Demand()
        self.bounds = Bounds(0, 0, 0)
        self.dispatched = 0
        self.rejected: dict[str, int] = {}


class Flow(msgspec.Struct, frozen=True):
    """Where requests of one kind from one user go. `exempt` ones are not even counted."""

    schema: str
    level: Level
    hashed: int
    headers: dict[str, str]
    exempt: bool


class Permit:
    """The right of one request to run; give it back with `FlowControl.done`."""

    __slots__ = ("flow", "ready", "ticket")

    def __init__(self, flow: Flow, ticket: Ticket | None, ready: asyncio.Future[None] | None = None) -> None:
        self.flow = flow
        self.ticket = ticket
        # Done once a request that has to wait may run.
        self.ready = ready


class FlowControl:
    """API Priority and Fairness over the FlowSchemas and PriorityLevelConfigurations that are stored."""

    def __init__(self, schemas: Resource, levels: Resource, clock: Clock, total: int = TOTAL_SEATS) -> None:
        self._schemas = schemas
        self._configurations = levels
        self._clock = clock
        self._total = total
        self._ordered: tuple[Schema, ...] = ()
        self._flows: dict[tuple[User, str, str, str, str], Flow] = {}
        self._admin: Flow | None = None
        self._waiting: dict[Ticket, tuple[Level, asyncio.Future[None]]] = {}
        self.levels: dict[str, Level] = {}
        self._stale = True

    # -- requests ------------------------------------------------------------------------------------

    def enter(self, user: User, target: Target | None, verb: str, path: str, seats: int = 1) -> Permit | None:
        """The permit of a request, which may have to wait for its turn (`wait`). Raises 429.

        None for what lasts as long as its client likes.
        """
        flow = self._flow(user, target, verb, path)
        if flow is None or (target is not None and target.subresource in _LONG):
            return None
        if flow.exempt:
            return Permit(flow, None)
        level, now_s = flow.level, self._clock.monotonic_s()
        answer = level.queues.arrive(flow.hashed, min(seats, MAX_SEATS), now_s)
        if isinstance(answer, str):
            raise self._refused(flow, answer)
        level.meter.add(answer.seats, now_s)
        level.dispatched += 1
        if answer.running:
            return Permit(flow, answer)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = (level, ready)
        return Permit(flow, answer, ready)

    async def wait(self, permit: Permit, limit_s: float = QUEUE_WAIT_S) -> None:
        """Return once it is the request's turn. Raises 429 where that takes too long."""
        ready, ticket, level = permit.ready, permit.ticket, permit.flow.level
        assert ready is not None
        assert ticket is not None
        timer = asyncio.ensure_future(self._clock.sleep(limit_s))
        try:
            await asyncio.wait({ready, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise self._refused(permit.flow, queueset.TIME_OUT)
        except BaseException:
            # It leaves without having run; where its turn had just come, the next is let in.
            self._waiting.pop(ticket, None)
            now_s = self._clock.monotonic_s()
            level.meter.add(-ticket.seats, now_s)
            leave = level.queues.finish if ticket.running else level.queues.give_up
            self._start(leave(ticket, now_s))
            raise
        finally:
            timer.cancel()

    def done(self, permit: Permit) -> None:
        """The request is over."""
        ticket = permit.ticket
        if ticket is None:
            return
        level, now_s = permit.flow.level, self._clock.monotonic_s()
        level.meter.add(-ticket.seats, now_s)
        started = level.queues.finish(ticket, now_s)
        if started:
            self._start(started)

    def _start(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            waiting = self._waiting.pop(ticket, None)
            if waiting is not None and not waiting[1].done():
                waiting[1].set_result(None)

    def _refused(self, flow: Flow, reason: str) -> status.StatusError:
        rejected = flow.level.rejected
        rejected[reason] = rejected.get(reason, 0) + 1
        refused = status.too_many_requests(_NO_QUEUES, RETRY_AFTER_S)
        refused.headers = flow.headers
        return refused

    def _flow(self, user: User, target: Target | None, verb: str, path: str) -> Flow | None:
        if self._stale:
            self._configure()
        if MASTERS in user.groups and self._admin is not None:
            return self._admin
        if target is None:
            key = (user, verb, "", path, "")
        else:
            named = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
            # A namespace object lies in itself, as in authorization.
            namespace = target.name if named == "namespaces" and not target.group else target.namespace
            key = (user, target.verb, target.group, named, namespace)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._classify(user, key, resource=target is not None)
            if flow is not None:
                if len(self._flows) >= CACHED_FLOWS:
                    self._flows.clear()
                self._flows[key] = flow
        return flow

    def _classify(self, user: User, key: tuple[User, str, str, str, str], *, resource: bool) -> Flow | None:
        _, verb, group, named, namespace = key
        ask = Ask(verb, group, named, namespace) if resource else Ask(verb, path=named)
        schema = rules.classify(self._ordered, user, ask)
        if schema is None:
            return None
        level = self.levels[schema.level]
        headers = {SCHEMA_HEADER: schema.uid, LEVEL_HEADER: level.uid}
        hashed = flow_hash(schema.name, schema.flow(user, ask))
        return Flow(schema.name, level, hashed, headers, level.shares.exempt)

    # -- configuration -------------------------------------------------------------------------------

    def forget(self) -> None:
        """A FlowSchema or PriorityLevelConfiguration changed."""
        self._stale = True

    async def adjust(self) -> None:
        """Lend seats and take them back, again and again."""
        while True:
            await self._clock.sleep(ADJUST_EVERY_S)
            if self._stale:
                self._configure()
            now_s = self._clock.monotonic_s()
            for level in self.levels.values():
                level.demand = level.meter.period(level.demand, now_s)
            self._divide(now_s)

    def _configure(self) -> None:
        self._stale = False
        self._flows.clear()
        now_s = self._clock.monotonic_s()
        before, self.levels = self.levels, {}
        for item in self._configurations.cache:
            obj = self._configurations.decode_stored(item.data)
            level = self.levels[item.name] = before.get(item.name) or Level(item.name, now_s)
            _configure_level(level, obj)
        schemas = [rules.compiled(self._schemas.decode_stored(item.data)) for item in self._schemas.cache]
        # What names no level that there is belongs to nobody: its requests fall through.
        self._ordered = rules.ordered(schema for schema in schemas if schema.level in self.levels)
        limits = shares.bounds({name: level.shares for name, level in self.levels.items()}, self._total)
        for name, level in self.levels.items():
            level.bounds = limits[name]
        self._divide(now_s)
        first = self._ordered[0] if self._ordered else None
        self._admin = None
        if first is not None and first.name == "exempt":
            admin = User("", (MASTERS,))
            self._admin = self._classify(admin, (admin, "get", "", "pods", ""), resource=True)

    def _divide(self, now_s: float) -> None:
        given = shares.divide(
            {name: level.shares for name, level in self.levels.items()},
            {name: level.bounds for name, level in self.levels.items()},
            {name: level.demand for name, level in self.levels.items()},
            self._total,
        )
        for name, level in self.levels.items():
            self._start(level.queues.resize(given[name], now_s))


def _configure_level(level: Level, obj: api.PriorityLevelConfiguration) -> None:
    level.uid = obj.metadata.uid or ""
    exempt, limited = obj.spec.exempt, obj.spec.limited
    if limited is None:
        own = exempt.nominalConcurrencyShares or 0 if exempt is not None else 0
        lendable = exempt.lendablePercent or 0 if exempt is not None else 0
        level.shares = Shares(own, lendable, exempt=True)
        level.queues.configure(None)
        return
    share = limited.nominalConcurrencyShares
    level.shares = Shares(
        30 if share is None else share, limited.lendablePercent or 0, limited.borrowingLimitPercent
    )
    queuing = limited.limitResponse.queuing if limited.limitResponse is not None else None
    level.queues.configure(
        None
        if queuing is None
        else Queuing(queuing.queues or 64, queuing.handSize or 8, queuing.queueLengthLimit or 50)
    )


def list_seats(count: int) -> int:
    """The seats that a list of `count` objects takes."""
    return max(1, min(MAX_SEATS, -(-count // OBJECTS_PER_SEAT)))


__all__ = ["FlowControl", "Permit", "list_seats"]
