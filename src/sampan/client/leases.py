"""Leader election by Lease: one of several processes leads, and another takes over when it falls silent.

Follows client-go's leaderelection: a candidate trusts only its own clock. It counts a lease as expired when
it has seen no change of it for the lease's duration, whatever times are written in it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec

from sampan.base.clock import Clock, micro_time
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_already_exists, is_conflict, is_not_found
from sampan.client.transport import Reply, Transport
from sampan.schema import api

DURATION_S: Final = 15
RENEW_DEADLINE_S: Final = 10.0
RETRY_S: Final = 2.0
JITTER: Final = 1.2
# The parameter of a write that names the term in which it was sent.
FENCE: Final = "fencingLease"

_log = logging.getLogger(__name__)


class Observed(msgspec.Struct, frozen=True):
    """The last change of the lease that we saw, and when we saw it on our own monotonic clock."""

    holder: str
    renew_time: str
    transitions: int
    at_s: float


class Wait(msgspec.Struct, frozen=True):
    """Somebody else leads."""

    holder: str


class Take(msgspec.Struct, frozen=True):
    """Write this lease; who succeeds in that leads."""

    lease: api.Lease
    create: bool


def observe(lease: api.Lease | None, before: Observed | None, now_s: float) -> Observed | None:
    """What we know after reading `lease`: the time of observation moves only when the lease changed."""
    if lease is None:
        return None
    spec = lease.spec
    seen = (spec.holderIdentity or "", spec.renewTime or "", spec.leaseTransitions or 0)
    if before is not None and seen == (before.holder, before.renew_time, before.transitions):
        return before
    return Observed(*seen, at_s=now_s)


def decide(
    lease: api.Lease | None,
    observed: Observed | None,
    name: tuple[str, str],
    me: str,
    now: datetime,
    now_s: float,
    *,
    leads: bool = True,
) -> Take | Wait:
    """Take or renew the lease `name` (namespace, name), or wait for its holder to fall silent.

    Who holds it by name but does not lead (`leads`) is a new process with an old name: it begins a new term.
    """
    stamp = micro_time(now)
    if lease is None or observed is None:
        spec = api.LeaseSpec(
            holderIdentity=me,
            leaseDurationSeconds=DURATION_S,
            acquireTime=stamp,
            renewTime=stamp,
            leaseTransitions=0,
        )
        return Take(
            api.Lease(metadata=api.ObjectMeta(namespace=name[0], name=name[1]), spec=spec), create=True
        )
    mine = observed.holder == me
    duration_s = lease.spec.leaseDurationSeconds or DURATION_S
    if not mine and observed.holder and now_s < observed.at_s + duration_s:
        return Wait(observed.holder)
    spec = msgspec.structs.replace(
        lease.spec,
        holderIdentity=me,
        leaseDurationSeconds=DURATION_S,
        renewTime=stamp,
        acquireTime=lease.spec.acquireTime if mine and leads else stamp,
        leaseTransitions=(lease.spec.leaseTransitions or 0) + (0 if mine and leads else 1),
    )
    return Take(msgspec.structs.replace(lease, spec=spec), create=False)


class Elector:
    """One candidate for one lease."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        identity: str,
        name: str,
        namespace: str = "kube-system",
        *,
        chance: random.Random | None = None,
    ) -> None:
        self.identity = identity
        self.leader = ""
        # Our latest term, by which the API server knows whether what we write still holds; see `Fenced`.
        self.term = ""
        self._client = client
        self._clock = clock
        self._name = (namespace, name)
        self._chance = chance or random.Random()
        self._observed: Observed | None = None

    def fence(self, transport: Transport) -> Transport:
        """The same transport for what the leader does: its writes are refused once another leads."""
        return Fenced(transport, lambda: self.term)

    @property
    def is_leader(self) -> bool:
        return self.leader == self.identity

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Call `lead` while we lead; cancel it when the lease is lost, and stand again. Until cancelled.

        When this is cancelled the lease is given back, so that another can take over at once. An error that
        `lead` raises also gives the lease back, and is raised.
        """
        while True:
            await self._acquire()
            _log.info("%s leads %s", self.identity, self._name[1])
            leading = asyncio.ensure_future(lead())
            renewing = asyncio.ensure_future(self._renew())
            try:
                await asyncio.wait((leading, renewing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost = renewing.done() and not renewing.cancelled()
                for task in (leading, renewing):
                    task.cancel()
                await asyncio.gather(leading, renewing, return_exceptions=True)
                if not lost:
                    await self._release()
                self.leader = ""
            if leading.done() and not leading.cancelled():
                leading.result()
                return
            _log.warning("%s no longer leads %s", self.identity, self._name[1])

    async def _acquire(self) -> None:
        while not await self._attempt():
            await self._clock.sleep(RETRY_S * (1 + JITTER * self._chance.random()))

    async def _renew(self) -> None:
        """Renew until that fails for the whole deadline."""
        renewed_s = self._clock.monotonic_s()
        while self._clock.monotonic_s() - renewed_s < RENEW_DEADLINE_S:
            await self._clock.sleep(RETRY_S)
            if await self._attempt():
                renewed_s = self._clock.monotonic_s()
            elif self.leader != self.identity:
                return

    async def _attempt(self) -> bool:
        try:
            return await self._try()
        except (ApiError, ConnectionError, TimeoutError) as error:
            if not (is_conflict(error) or is_already_exists(error)):
                _log.warning("the lease %s cannot be taken: %s", self._name[1], error)
            return False

    async def _try(self) -> bool:
        lease = await self._read()
        now_s = self._clock.monotonic_s()
        self._observed = observe(lease, self._observed, now_s)
        me, now = self.identity, self._clock.now()
        decision = decide(lease, self._observed, self._name, me, now, now_s, leads=self.is_leader)
        if isinstance(decision, Wait):
            self.leader = decision.holder
            return False
        write = self._client.create if decision.create else self._client.update
        written = await write(decision.lease)
        self._observed = observe(written, self._observed, now_s)
        self.leader = self.identity
        self.term = "/".join((*self._name, str(written.spec.leaseTransitions or 0), self.identity))
        return True

    async def _read(self) -> api.Lease | None:
        namespace, name = self._name
        try:
            return await self._client.get(api.Lease, name, namespace)
        except ApiError as error:
            if is_not_found(error):
                return None
            raise

    async def _release(self) -> None:
        with suppress(ApiError, ConnectionError, TimeoutError):
            lease = await self._read()
            if lease is None or lease.spec.holderIdentity != self.identity:
                return
            spec = msgspec.structs.replace(
                lease.spec, holderIdentity="", leaseDurationSeconds=1, renewTime=micro_time(self._clock.now())
            )
            await self._client.update(msgspec.structs.replace(lease, spec=spec))


class Fenced:
    """A transport whose writes are stored only while the term lasts in which they were sent."""

    def __init__(self, inner: Transport, term: Callable[[], str]) -> None:
        self._inner = inner
        self._term = term

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        if method != "GET":
            term = self._term()
            if not term:
                raise ConnectionError("nothing may be written before the election is won")
            query = {**(query or {}), FENCE: term}
        return await self._inner.request(method, path, query, body, content_type, accept)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        return self._inner.stream(path, query)

    async def close(self) -> None:
        await self._inner.close()
