"""Writes that are asked for together by somebody in the server's own process, carried out together.

A scheduler binds the pods that it decided on in one turn, and a fleet of simulated nodes says how its pods
are, and lets go of those that have ended, all at once. Such writes go the way of requests (rights, flow
control, admission, validation), but the way to the objects is gone once for all of them; each is a commit of
its own, with a revision of its own. What is out of the ordinary about one of them is left to a request, which
has the words for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any

import msgspec

from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.admission.quotas import Quotas
from sampan.apiserver.core.bound import BoundPods
from sampan.apiserver.core.context import Attributes, Context
from sampan.apiserver.core.deletion import is_finished, mark_deleted
from sampan.apiserver.core.flowcontrol.control import FlowControl
from sampan.apiserver.core.gate import Gate
from sampan.apiserver.core.metrics import Metrics
from sampan.apiserver.core.nodeauthz import node_of
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.updating import Change, Edit, check_meant, edited
from sampan.apiserver.core.users import User
from sampan.apiserver.core.write import Writer
from sampan.base.clock import Clock
from sampan.store.backend import Conflict, Delete, Guard, Op, Put
from sampan.store.items import Item, splice

Handle = Callable[[Request], Awaitable[Response]]
Answer = Response | Exception | None
_Write = tuple[list[Guard], list[Op]]


class Wanted(msgspec.Struct, frozen=True):
    """An update of one object. `request` makes the same a request of its own, by `method`; `code` is how that
    succeeds.

    Without a `change` it is a deletion that grants no grace.
    """

    resource: Resource
    target: Target
    method: str
    change: Change | None
    request: Callable[[], Request]
    uid: str = ""
    code: int = 200
    # Where the update binds a pod and does nothing else, not even give it labels: the node's name.
    node: str = ""


class Together:
    """Carries out updates and deletions that are asked for together."""

    def __init__(
        self,
        writer: Writer,
        admission: Chain,
        quotas: Quotas,
        gate: Gate,
        flow: FlowControl,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._admission = admission
        self._quotas = quotas
        self._gate = gate
        self._flow = flow
        self._metrics = metrics
        self._clock = clock
        self._bound = BoundPods()

    async def carry_out(
        self, user: User, agent: str, wanted: Sequence[Wanted], handle: Handle, *, alone: bool
    ) -> list[Answer]:
        """Do all of them; None for each that is done, else the answer or what went wrong.

        `handle` answers requests of their own, which with `alone` all of them go by.
        """
        answers: list[Answer] = [None] * len(wanted)
        left = list(range(len(wanted)))
        if len(wanted) > 1 and not alone and not self._admission.active and self._may(user, wanted):
            left = await self._all_at_once(user, agent, wanted, answers)
        if left:
            requests = (handle(wanted[at].request()) for at in left)
            for at, answer in zip(left, await asyncio.gather(*requests, return_exceptions=True), strict=True):
                if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                    raise answer
                done = isinstance(answer, Response) and answer.status < 300
                answers[at] = None if done else answer
        return answers

    def _may(self, user: User, wanted: Sequence[Wanted]) -> bool:
        try:
            for each in wanted:
                self._gate.check(user, each.target)
        except StatusError:
            return False
        return True

    async def _all_at_once(
        self, user: User, agent: str, wanted: Sequence[Wanted], answers: list[Answer]
    ) -> list[int]:
        """Do those about which nothing is out of the ordinary; gives the places of the others."""
        began_s = perf_counter()
        first = wanted[0]
        method = first.method
        try:
            permit = self._flow.enter(user, first.target, method.lower(), "")
            if permit is not None and permit.ready is not None:
                await self._flow.wait(permit)
        except StatusError:
            return list(range(len(wanted)))
        try:
            now, manager = self._clock.now().replace(microsecond=0), agent.split("/", 1)[0][:128]
            left: list[int] = []
            places: list[int] = []
            writes: list[_Write] = []
            for at, each in enumerate(wanted):
                write = await self._write(each, user, now, manager)
                if write is None:
                    left.append(at)
                elif write[1]:
                    places.append(at)
                    writes.append(write)
            outcomes = await self._writer.commits.each(writes)
        finally:
            if permit is not None and permit.ticket is not None:
                self._flow.done(permit)
        took_s = perf_counter() - began_s
        for at, outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                left.append(at)  # somebody else changed the object at this moment
                continue
            refused = outcome if isinstance(outcome, StatusError) else None
            answers[at] = refused.response() if refused is not None else None
            code = refused.code if refused is not None else wanted[at].code
            self._metrics.request(method, "", wanted[at].target, code, took_s)
        return left

    async def _write(self, wanted: Wanted, user: User, now: datetime, manager: str) -> _Write | None:
        """What does it to the object as it is now, no ops where that changes nothing; None where a request
        has to find out."""
        resource, target = wanted.resource, wanted.target
        kind = resource.kind
        item = resource.cache.get(target.namespace, target.name)
        if (
            item is None
            or resource.hub is not resource
            or resource.asks
            or self._admission.allocates(kind.kind)
            or self._quotas.watch(target.namespace, kind)
        ):
            return None
        seen = self._bound.look(item, wanted.uid) if wanted.node and not node_of(user) else None
        if seen is not None and (made := self._bound.out(seen, wanted.node, now)) is not None:
            return [Guard(item.key, item.revision)], [Put(item.key, made)]
        context = Context(
            user=user, target=target, resource=resource, served=resource, now=now, manager=manager
        )
        old = resource.decode_stored(item.data)
        if wanted.change is None:
            return await self._erasure(context, item, old, wanted.uid)
        context.owners = item.owners
        edit = Edit(context=context, change=wanted.change, subresource=target.subresource, uid=wanted.uid)
        try:
            new = await edited(edit, old, self._admission)
            value = resource.encode(new, context.owners)
        except Exception:  # a request has the words for it
            return None
        if is_finished(new) or context.warnings:
            return None
        if splice(value, item.revision) == item.data and bool(context.owners) == bool(item.owners):
            return [], []
        if seen is not None and not context.guards and not context.ops:
            self._bound.learn(seen, resource, new, value)
        return [Guard(item.key, item.revision), *context.guards], [Put(item.key, value), *context.ops]

    async def _erasure(self, context: Context, item: Item, old: Any, uid: str) -> _Write | None:
        """What takes the object away; None where something holds it, or a request has to find out."""
        kind = context.resource.kind
        try:
            check_meant(kind, old, uid, "")
            await self._admission.validate(Attributes("delete", "", item.namespace, context, None, old))
        except StatusError:
            return None
        if not is_finished(mark_deleted(kind, old, context.now, 0, "")):
            return None
        return [Guard(item.key, item.revision)], [Delete(item.key)]
