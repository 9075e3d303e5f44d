"""Carries decisions out: binds pods to their nodes, many at once, and finds out what became of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from sampan.base.clock import Clock, kube_time
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.client.transport import Bind, BindsTogether
from sampan.kinds import registry
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.podstatus import write_status
from sampan.scheduler.queue import FIRST_BACKOFF_S, MAX_BACKOFF_S, Key
from sampan.schema import api

_log = logging.getLogger(__name__)


# Is told what went wrong with a binding, or None.
Answered = Callable[[Exception | None], None]


class Binder:
    """Posts bindings; where the transport can, those of one turn of the event loop together.

    `start` runs what it is given, and ends it with the scheduler.
    """

    def __init__(self, client: Client, start: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._client = client
        transport = getattr(client, "transport", None)
        self._transport = transport if isinstance(transport, BindsTogether) else None
        self._start = start
        self._waiting: list[tuple[Bind, Answered]] = []

    def send(self, key: Key, uid: str, node: str, answered: Answered) -> None:
        """Bind the pod, and tell `answered` what went wrong, if anything."""
        if self._transport is None:
            self._start(self._alone(key, uid, node, answered))
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send, self._transport)
        self._waiting.append((Bind(*key, uid, node), answered))

    async def post(self, key: Key, uid: str, node: str) -> Exception | None:
        """Bind the pod; gives what went wrong, if anything."""
        if self._transport is None:
            return await post_binding(self._client, key, uid, node)
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def answered(problem: Exception | None) -> None:
            if not done.done():
                done.set_result(problem)

        self.send(key, uid, node, answered)
        return await done

    async def _alone(self, key: Key, uid: str, node: str, answered: Answered) -> None:
        answered(await post_binding(self._client, key, uid, node))

    def _send(self, transport: BindsTogether) -> None:
        batch, self._waiting = self._waiting, []
        self._start(self._carry(transport, batch))

    async def _carry(self, transport: BindsTogether, batch: list[tuple[Bind, Answered]]) -> None:
        answers: Sequence[Exception | None]
        try:
            answers = await transport.bind_all([bind for bind, _ in batch])
        except Exception as problem:  # whatever it is, the room must not stay taken for good
            answers = [problem] * len(batch)
        for (bind, answered), answer in zip(batch, answers, strict=True):
            try:
                answered(answer)
            except Exception:  # the others must have theirs
                _log.exception("the answer to the binding of %s/%s is lost", bind.namespace, bind.name)


async def post_binding(client: Client, key: Key, uid: str, node: str) -> Exception | None:
    """Bind the pod; gives what went wrong, if anything."""
    namespace, name = key
    binding = api.Binding(
        apiVersion="v1",
        kind="Binding",
        metadata=api.ObjectMeta(name=name, namespace=namespace, uid=uid),
        target=api.ObjectReference(kind="Node", name=node),
    )
    path = registry.path(registry.by_type(api.Pod), namespace, name, "binding")
    try:
        await client.post(path, binding, api.Status)
    except Exception as problem:  # whatever it is, the room must not stay taken for good
        return problem
    return None


async def preempt(client: Client, clock: Clock, victim: PodInfo, scheduler: str) -> None:
    """Mark a victim as preempted and delete it. One that is gone already is no error. Raises ApiError."""
    namespace, name = victim.key
    condition = api.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="PreemptionByScheduler",
        message=f"{scheduler}: preempting to accommodate a higher priority pod",
        lastTransitionTime=kube_time(clock.now()),
    )
    try:
        await write_status(client, victim.pod, [condition])
        await client.delete(api.Pod, name, namespace, uid=victim.uid)
    except ApiError as problem:
        if problem.code not in (404, 409):
            raise


async def is_bound(client: Client, clock: Clock, key: Key, uid: str, node: str, problem: Exception) -> bool:
    """Whether a binding that failed was made all the same, as where its answer was lost.

    The room stays taken until that is certain: a pod that is bound takes it, whoever knows.
    """
    if isinstance(problem, ApiError) and problem.code < 500 and problem.code not in (408, 409):
        return False
    delay_s = FIRST_BACKOFF_S
    while True:
        try:
            pod = await client.get(api.Pod, key[1], key[0])
        except ApiError as unread:
            if unread.code < 500 and unread.code not in (408, 429):
                return False
        except Exception:
            _log.debug("reading %s/%s failed", *key, exc_info=True)
        else:
            return pod.metadata.uid == uid and pod.spec.nodeName == node
        await clock.sleep(delay_s)
        delay_s = min(delay_s * 2, MAX_BACKOFF_S)
