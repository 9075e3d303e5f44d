"""Runs one controller step by step against the fake server: gather, survey, plan, carry out."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Any, TypeVar

from sampan.base.clock import SimulatedClock
from sampan.client.cache import Cache
from sampan.client.client import Client
from sampan.client.effects import Plan
from sampan.client.executor import Executor, Failure
from sampan.client.resources import Resource, resource_of
from sampan.controllers.runtime.controller import Controller, Key
from sampan.schema import api, codec
from tests.fakes.apiserver import FakeServer

T = TypeVar("T")
NAMESPACE = "default"
ROUNDS_MOST = 10


class FreshCaches:
    """Caches made from what the server holds now."""

    def __init__(self, server: FakeServer, controller: Controller, failures: dict[Hashable, Failure]) -> None:
        self._server = server
        self._controller = controller
        self._failures = failures

    def of(self, kind: type[T]) -> Cache[T]:
        cache: Cache[T] = Cache(self._controller.indexes.get(kind, {}))
        resource: Resource[T] = resource_of(kind)
        for data in self._server.objects.values():
            if (data["apiVersion"], data["kind"]) == (resource.api_version, resource.kind):
                cache.put(codec.from_builtins(data, kind))
        return cache

    def failure(self, key: Hashable) -> Failure | None:
        return self._failures.get(key)

    @property
    def everything(self) -> Any:
        raise NotImplementedError


class Bench:
    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.server = FakeServer(self.clock.now)
        self.client = Client(self.server)
        self.executor = Executor(self.client, self.clock)
        self.failures: dict[Hashable, Failure] = {}

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def caches(self, controller: Controller) -> FreshCaches:
        return FreshCaches(self.server, controller, self.failures)

    async def step(self, controller: Controller, key: Hashable) -> Plan:
        """Plan once and carry it out."""
        view = controller.gather(self.caches(controller), key)
        if view is not None and controller.survey is not None:
            view = await controller.survey(self.client, view)
        if view is None:
            return Plan()
        plan = controller.plan(view, self.clock.now())
        outcome = await self.executor.carry_out(plan)
        if outcome.failure is not None:
            self.failures[key] = outcome.failure
        else:
            self.failures.pop(key, None)
        return plan

    async def settle(self, controller: Controller, key: Hashable) -> int:
        """Step until a plan is empty; gives how many were not."""
        for count in range(ROUNDS_MOST):
            plan = await self.step(controller, key)
            if not plan.effects:
                return count
        raise AssertionError(f"{controller.name} still wants {plan.effects} after {ROUNDS_MOST} rounds")

    async def get(self, kind: type[T], name: str, namespace: str = NAMESPACE) -> T:
        return await self.client.get(kind, name, namespace)

    async def all(self, kind: type[T]) -> list[T]:
        return (await self.client.list(kind)).items


def key(name: str) -> Key:
    return Key(NAMESPACE, name)


def template(image: str = "web:1", **labels: str) -> api.PodTemplateSpec:
    return api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels=labels or {"app": "web"}),
        spec=api.PodSpec(containers=[api.Container(name="web", image=image)]),
    )


def make_ready(pod: api.Pod, since: datetime, node: str = "n1") -> api.Pod:
    """The pod as it is when it runs and is ready."""
    pod.spec.nodeName = node
    pod.status.phase = "Running"
    pod.status.conditions = [c for c in pod.status.conditions if c.type != "Ready"] + [
        api.PodCondition(type="Ready", status="True", lastTransitionTime=since)
    ]
    return pod
