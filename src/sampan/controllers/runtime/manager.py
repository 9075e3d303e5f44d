"""The one shell that runs controllers: shared informers, work queues, workers, isolated failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from sampan.base.clock import Clock
from sampan.client.cache import Cache, key_of
from sampan.client.client import Client
from sampan.client.effects import Emit, Plan
from sampan.client.errors import ApiError
from sampan.client.events import Recorder
from sampan.client.everything import Everything
from sampan.client.executor import Executor, Failure
from sampan.client.informer import SharedInformers
from sampan.client.queue import WorkQueue
from sampan.client.resources import Resource, resource_of
from sampan.controllers.runtime.controller import Controller, Key, Watch, root_of
from sampan.controllers.runtime.metrics import render

T = TypeVar("T")
_log = logging.getLogger(__name__)
# A plan that asks to look again sooner waits this long: planning with nothing to carry out never gives way to
# the event loop, so one plan that is wrong about its time would stop all controllers.
LEAST_AGAIN_S: Final = 0.02


class Metrics(msgspec.Struct, frozen=True):
    """How a controller does: what /metrics shows of its work queue."""

    depth: int
    delayed: int
    adds: int
    done: int
    retries: int
    failures: int
    queued_s: float
    work_s: float


class Running:
    """One controller at work. It is also the `Caches` that its `gather` reads."""

    def __init__(
        self,
        controller: Controller,
        client: Client,
        clock: Clock,
        informers: SharedInformers,
        everything: Everything | None,
    ) -> None:
        self.controller = controller
        self.waiting_for: dict[Hashable, str] = {}
        self.recorder = Recorder(client, clock, controller.reporter or f"{controller.name}-controller")
        self.queue: WorkQueue[Any] = WorkQueue(
            clock, first_s=controller.backoff_first_s, most_s=controller.backoff_most_s
        )
        self.failed = 0
        self._client = client
        self._clock = clock
        self._informers = informers
        self._everything = everything
        self._caches: dict[type[Any], Cache[Any]] = {}
        self._failures: dict[Hashable, Failure] = {}
        # By key: about whom (uid), reason and message of what holds now.
        self._notices: dict[Hashable, frozenset[tuple[str, str, str]]] = {}
        discovery = everything.discovery if everything is not None else None
        self._executor = Executor(client, clock, informers, self.recorder, discovery)
        self._attach()

    # -- Caches ------------------------------------------------------------------------------------

    def of(self, kind: type[T]) -> Cache[T]:
        cache = self._caches.get(kind)
        if cache is None:
            informer = self._informers.find(resource_of(kind))
            if informer is None:
                raise KeyError(f"the {self.controller.name} controller does not watch {kind.__name__}")
            cache = self._caches[kind] = informer.cache
        return cache

    def failure(self, key: Hashable) -> Failure | None:
        return self._failures.get(key)

    @property
    def everything(self) -> Everything:
        if self._everything is None:
            raise KeyError(f"the {self.controller.name} controller does not watch everything")
        return self._everything

    # ----------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> Metrics:
        queue, counts = self.queue, self.queue.counts
        return Metrics(
            depth=len(queue),
            delayed=queue.delayed,
            adds=counts.adds,
            done=counts.done,
            retries=counts.retries,
            failures=self.failed,
            queued_s=counts.queued.total_s,
            work_s=counts.worked.total_s,
        )

    async def run(self) -> None:
        """Work until cancelled. The caches must be synced."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.queue.run())
            tasks.create_task(self.recorder.run())
            for number in range(self.controller.workers):
                tasks.create_task(self._work(), name=f"{self.controller.name} {number}")

    def _attach(self) -> None:
        root = root_of(self.controller)
        for kind, indexes in self.controller.indexes.items():
            cache = self._informers.of(kind).cache
            for name, function in indexes.items():
                cache.add_index(name, function)
        if root is not None:
            self._informers.of(root).on_change(self._root_changed)
        for watch in self.controller.watches:
            if watch.kind is None:
                self.everything.on_change(partial(self._anything_changed, watch, root))
            else:
                self._informers.of(watch.kind).on_change(partial(self._changed, watch, root))

    def _root_changed(self, old: Any | None, new: Any | None) -> None:
        controller = self.controller
        wants = controller.wants
        if (
            wants is not None
            and (new is None or not wants(self, new))
            and (old is None or not wants(self, old))
        ):
            return
        if old is None or new is None or controller.matters(old, new):
            self.queue.add_after(Key(*key_of(new if new is not None else old)), controller.delay_s)

    def _changed(self, watch: Watch, root: Resource[Any] | None, old: Any | None, new: Any | None) -> None:
        if old is not None:
            if new is not None and not watch.matters(old, new):
                return
            if new is None or not watch.same(old, new):
                for key in watch.keys(root, self, old):
                    self.queue.add_after(key, watch.delay_s)
        if new is not None:
            for key in watch.keys(root, self, new):
                self.queue.add_after(key, watch.delay_s)

    def _anything_changed(
        self, watch: Watch, root: Resource[Any] | None, _resource: Resource[Any], old: Any, new: Any
    ) -> None:
        self._changed(watch, root, old, new)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile(key)
            except (ApiError, ConnectionError, TimeoutError) as error:
                self._retry(key, error)
            except Exception as error:
                # A controller that is wrong about one object goes on with the others, and so do its siblings.
                _log.exception("the %s controller failed for %s", self.controller.name, key)
                self._retry(key, error)
            finally:
                self.queue.done(key)

    def _retry(self, key: Hashable, error: Exception) -> None:
        self.failed += 1
        delay_s = self.queue.retry(key)
        self.waiting_for[key] = f"trying again in {delay_s:g} s because of: {error}"

    async def _reconcile(self, key: Hashable) -> None:
        plan = await self._decide(key)
        self._tell(key, plan.notices if plan is not None else ())
        if plan is None:
            self._succeeded(key, "")
            return
        outcome = await self._executor.carry_out(plan)
        before = self._failures.get(key)
        if outcome.failure is not None:
            self._failures[key] = outcome.failure
            self._retry(key, outcome.failure.error)
        else:
            self._succeeded(key, plan.waiting_for)
            if before is not None:
                self.queue.add(key)  # what was planned knowing of the failure is planned without it
            if plan.requeue_after_s is not None:
                self.queue.add_after(key, max(plan.requeue_after_s, LEAST_AGAIN_S))
        # Planning again before our own writes have come back would do them twice.
        await self._executor.settled(outcome)

    async def _decide(self, key: Hashable) -> Plan | None:
        view = self.controller.gather(self, key)
        if view is not None and self.controller.survey is not None:
            view = await self.controller.survey(self._client, view)
        return self.controller.plan(view, self._clock.now()) if view is not None else None

    def _tell(self, key: Hashable, notices: tuple[Emit, ...]) -> None:
        told = self._notices.pop(key, frozenset())
        for notice in notices:
            if (notice.about.uid, notice.reason, notice.message) not in told:
                self.recorder.emit(notice)
        if notices:
            self._notices[key] = frozenset((n.about.uid, n.reason, n.message) for n in notices)

    def _succeeded(self, key: Hashable, waiting_for: str) -> None:
        self.queue.forget(key)
        self._failures.pop(key, None)
        if waiting_for:
            self.waiting_for[key] = waiting_for
        else:
            self.waiting_for.pop(key, None)


class Manager:
    """Runs any number of controllers over one set of informers, in one event loop."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        controllers: Sequence[Controller],
        *,
        informers: SharedInformers | None = None,
    ) -> None:
        self.informers = informers or SharedInformers(client, clock)
        self._own_informers = informers is None
        watches_everything = any(w.kind is None for c in controllers for w in c.watches)
        self.everything = Everything(client, self.informers, clock) if watches_everything else None
        self.controllers = {
            c.name: Running(c, client, clock, self.informers, self.everything) for c in controllers
        }

    async def run(self) -> None:
        """Run until cancelled. Informers that were given are run by who gave them."""
        async with asyncio.TaskGroup() as tasks:
            if self._own_informers:
                tasks.create_task(self.informers.run())
            if self.everything is not None:
                tasks.create_task(self.everything.run())
            await self.informers.synced()
            if self.everything is not None:
                await self.everything.synced()
            for running in self.controllers.values():
                tasks.create_task(running.run(), name=running.controller.name)

    @property
    def idle(self) -> bool:
        """Whether no controller has anything to do now; some may wait for a time to come."""
        return all(running.queue.idle for running in self.controllers.values())

    def waiting_for(self, controller: str, key: Hashable) -> str:
        """What has to happen before the controller has more to do for the key; "" for nothing."""
        return self.controllers[controller].waiting_for.get(key, "")

    def metrics(self) -> dict[str, Metrics]:
        """Per controller, by name."""
        return {name: running.metrics for name, running in self.controllers.items()}

    def metrics_text(self) -> str:
        """The work queues in Prometheus' text format."""
        return render({name: running.queue for name, running in self.controllers.items()})
