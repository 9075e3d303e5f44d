"""Binding pods to nodes: what a binding makes of a pod, and many of one scheduler carried out together.

A scheduler in the server's own process asks for the bindings that it decided on in one turn all at once.
They go the way of requests (rights, flow control, admission, validation), but the way to the pod is gone
once for all of them; each is a commit of its own, with a revision of its own. What is out of the ordinary
about one of them is left to a request, which has the words for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any, Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.admission.quotas import Quotas
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.flowcontrol.control import FlowControl
from sampan.apiserver.core.gate import Gate
from sampan.apiserver.core.metrics import Metrics
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource, Resources
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.updating import Change, Edit, edited
from sampan.apiserver.core.users import User
from sampan.apiserver.core.write import Writer
from sampan.base.clock import Clock
from sampan.client.transport import Bind
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.schema import api
from sampan.store.backend import Conflict, Guard, Op, Put

Handle = Callable[[Request], Awaitable[Response]]

_BINDING: Final = "binding"


def binding_of(node: str, annotations: Mapping[str, str], now: datetime, kind: Kind) -> Change:
    """The change that binds a pod to a node. Raises 409 where the pod cannot be bound."""

    def change(current: api.Pod) -> api.Pod:
        # Shares with the old pod what a binding does not touch.
        replace = msgspec.structs.replace
        pod = replace(
            current,
            metadata=replace(current.metadata, annotations=dict(current.metadata.annotations)),
            spec=replace(current.spec),
            status=replace(current.status),
        )
        name = pod.metadata.name or ""
        if pod.metadata.deletionTimestamp is not None:
            raise status.conflict(kind, name, f"pod {name} is being deleted, cannot be assigned to a host")
        if pod.spec.nodeName:
            why = f"pod {name} is already assigned to node {pod.spec.nodeName!r}".replace("'", '"')
            raise status.conflict(kind, name, why)
        if pod.spec.schedulingGates:
            why = f"pod {name} has non-empty .spec.schedulingGates"
            raise status.conflict(kind, name, why)
        pod.spec.nodeName = node
        pod.status.nominatedNodeName = None  # the promise is kept
        pod.metadata.annotations.update(annotations)
        condition = api.PodCondition(
            type="PodScheduled",
            status="True",
            lastTransitionTime=now,
            observedGeneration=pod.metadata.generation,
        )
        kept = [c for c in pod.status.conditions if c.type != "PodScheduled"]
        pod.status.conditions = [*kept, condition]
        return pod

    return change


class Together:
    """Carries out bindings that are asked for together."""

    def __init__(
        self,
        resources: Resources,
        writer: Writer,
        admission: Chain,
        quotas: Quotas,
        gate: Gate,
        flow: FlowControl,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._pods: Resource = resources.of(api.Pod)
        self._writer = writer
        self._admission = admission
        self._quotas = quotas
        self._gate = gate
        self._flow = flow
        self._metrics = metrics
        self._clock = clock

    async def bind(
        self, user: User, agent: str, wanted: Sequence[Bind], handle: Handle, *, alone: bool
    ) -> list[Response | Exception | None]:
        """Bind all of them; None for each that is bound, else the answer or what went wrong.

        `handle` answers requests of their own, which with `alone` all of them go by.
        """
        answers: list[Response | Exception | None] = [None] * len(wanted)
        left = list(range(len(wanted)))
        if len(wanted) > 1 and not alone and not self._admission.active and self._may(user, wanted):
            left = await self._bind_together(user, agent, wanted, answers)
        if left:
            requests = (handle(_request(user, agent, wanted[at])) for at in left)
            for at, answer in zip(left, await asyncio.gather(*requests, return_exceptions=True), strict=True):
                if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                    raise answer
                done = isinstance(answer, Response) and answer.status < 300
                answers[at] = None if done else answer
        return answers

    def _may(self, user: User, wanted: Sequence[Bind]) -> bool:
        """Whether the user may bind any pod of these namespaces."""
        try:
            for namespace in {bind.namespace for bind in wanted}:
                self._gate.check(user, _target(self._pods.kind, namespace, ""))
        except StatusError:
            return False
        return True

    async def _bind_together(
        self, user: User, agent: str, wanted: Sequence[Bind], answers: list[Response | Exception | None]
    ) -> list[int]:
        """Bind those about which nothing is out of the ordinary; gives the places of the others."""
        began_s = perf_counter()
        kind = self._pods.kind
        targets = [_target(kind, bind.namespace, bind.name) for bind in wanted]
        path = _path(wanted[0])
        try:
            permit = self._flow.enter(user, targets[0], "post", path)
            if permit is not None and permit.ready is not None:
                await self._flow.wait(permit)
        except StatusError:
            return list(range(len(wanted)))
        try:
            now, manager = self._clock.now().replace(microsecond=0), agent.split("/", 1)[0][:128]
            left: list[int] = []
            places: list[int] = []
            writes: list[tuple[list[Guard], list[Op]]] = []
            for at, (bind, target) in enumerate(zip(wanted, targets, strict=True)):
                context = Context(
                    user=user, target=target, resource=self._pods, served=self._pods, now=now, manager=manager
                )
                write = await self._write(context, bind)
                if write is None:
                    left.append(at)
                else:
                    places.append(at)
                    writes.append(write)
            outcomes = await self._writer.commit_each(writes)
        finally:
            if permit is not None and permit.ticket is not None:
                self._flow.done(permit)
        took_s = perf_counter() - began_s
        for at, outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                left.append(at)  # somebody else changed the pod at this moment
                continue
            answers[at] = outcome.response() if isinstance(outcome, StatusError) else None
            code = outcome.code if isinstance(outcome, StatusError) else 201
            self._metrics.request("POST", path, targets[at], code, took_s)
        return left

    async def _write(self, context: Context, bind: Bind) -> tuple[list[Guard], list[Op]] | None:
        """What binds the pod, as it is now; None where a request has to find out."""
        item = self._pods.cache.get(bind.namespace, bind.name)
        if item is None or not bind.node or self._quotas.watch(bind.namespace, self._pods.kind):
            return None
        old = self._pods.decode_stored(item.data)
        edit = Edit(
            context=context,
            change=binding_of(bind.node, {}, context.now, self._pods.kind),
            subresource=_BINDING,
            uid=bind.uid,
        )
        try:
            new = await edited(edit, old, self._admission)
            value = self._pods.encode(new)
        except Exception:  # a request has the words for it
            return None
        return [Guard(item.key, item.revision), *context.guards], [Put(item.key, value), *context.ops]


def _target(kind: Kind, namespace: str, name: str) -> Target:
    return Target(kind.group, kind.version, kind.plural, namespace, name, _BINDING, "", "create")


def _path(bind: Bind) -> str:
    return registry.path(registry.by_type(api.Pod), bind.namespace, bind.name, _BINDING)


def _request(user: User, agent: str, bind: Bind) -> Request:
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": bind.name, "namespace": bind.namespace},
        "target": {"kind": "Node", "name": bind.node},
    }
    if bind.uid:
        body["metadata"]["uid"] = bind.uid
    headers = {"content-type": "application/json", "accept": "application/json", "user-agent": agent}
    return Request(
        method="POST", path=_path(bind), headers=headers, body=msgspec.json.encode(body), user=user
    )
