"""Says why pods wait: the PodScheduled condition, the nominated node, and FailedScheduling events."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any

import msgspec

from sampan.base.clock import Clock, kube_time
from sampan.client.cache import Cache, key_of
from sampan.client.client import Client
from sampan.client.effects import Emit, Ref
from sampan.client.errors import ApiError
from sampan.client.events import Recorder
from sampan.scheduler.podinfo import Key
from sampan.scheduler.podstatus import write_status
from sampan.schema import api

UNSCHEDULABLE = "Unschedulable"
FAILED = "SchedulerError"
# The pod is kept out of the queue; that is no failure of scheduling, and has no event (as upstream).
NOT_READY = "NotReadyForScheduling"

_log = logging.getLogger(__name__)


class Word(msgspec.Struct, frozen=True):
    """What is to be said of a pod. `nominated` is a node's name, "" to take one back, None to leave it."""

    pod: api.Pod
    message: str
    reason: str = UNSCHEDULABLE
    nominated: str | None = None


class Teller:
    """Writes the latest word on each pod that waits, with what of earlier ones was not written yet."""

    def __init__(self, client: Client, clock: Clock, pods: Cache[api.Pod], recorders: Any) -> None:
        self._client = client
        self._clock = clock
        self._pods = pods
        self._recorder_of = recorders
        self._untold: dict[Key, Word] = {}
        self._something = asyncio.Event()

    def tell(self, key: Key, word: Word) -> None:
        before = self._untold.pop(key, None)
        self._untold[key] = word if before is None else _joined(before, word)
        self._something.set()

    def tell_nomination(self, pod: api.Pod, node: str) -> None:
        """Change the nominated node alone."""
        self.tell(key_of(pod), Word(pod, "", nominated=node))

    def forget(self, key: Key) -> None:
        self._untold.pop(key, None)

    def clear(self) -> None:
        self._untold.clear()

    async def run(self) -> None:
        """Write one word after the other, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._untold:
                key = next(iter(self._untold))
                word = self._untold.pop(key)
                if not word.message or word.reason == NOT_READY:
                    await self._write_safely(key, word)
                    continue
                recorder: Recorder = self._recorder_of(word.pod.spec.schedulerName or "")
                event = Emit(ref(word.pod), "Warning", "FailedScheduling", word.message, "Scheduling")
                recorder.emit(event)
                await self._write_safely(key, word)

    async def _write_safely(self, key: Key, word: Word) -> None:
        try:
            await self._write(word)
        except (ApiError, ConnectionError, TimeoutError) as problem:  # said again at the next try
            _log.debug("the condition of %s/%s could not be written: %s", *key, problem)
        except Exception:
            _log.exception("the condition of %s/%s could not be written", *key)

    async def _write(self, word: Word) -> None:
        metadata = word.pod.metadata
        held = self._pods.get(metadata.namespace or "", metadata.name or "")
        if held is None or held.metadata.uid != metadata.uid or held.spec.nodeName:
            return
        conditions = []
        if word.message:
            condition = why_condition(held, word.message, kube_time(self._clock.now()), word.reason)
            conditions = [condition] if condition is not None else []
        nominated = word.nominated
        if nominated is not None and (held.status.nominatedNodeName or "") == nominated:
            nominated = None
        if conditions or nominated is not None:
            await write_status(self._client, word.pod, conditions, nominated)


def _joined(before: Word, word: Word) -> Word:
    """The later word, with what the earlier one, that was not written, said of what this one is silent on."""
    if before.pod.metadata.uid != word.pod.metadata.uid:
        return word
    if word.nominated is None:
        word = msgspec.structs.replace(word, nominated=before.nominated)
    if not word.message:
        word = msgspec.structs.replace(word, message=before.message, reason=before.reason)
    return word


def why_condition(
    pod: api.Pod, message: str, now: datetime, reason: str = UNSCHEDULABLE
) -> api.PodCondition | None:
    """PodScheduled=False with the reason Unschedulable; None where the pod says so already.

    lastTransitionTime stays where the status was False before (as with SchedulingGated).
    """
    known = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    was_false = known is not None and known.status == "False"
    if known is not None and was_false and (known.reason, known.message) == (reason, message):
        return None
    since = known.lastTransitionTime if known is not None and was_false else None
    return api.PodCondition(
        type="PodScheduled",
        status="False",
        reason=reason,
        message=message,
        lastTransitionTime=since or now,
        observedGeneration=pod.metadata.generation or None,
    )


def ref(pod: api.Pod) -> Ref:
    """The pod as events name it."""
    metadata = pod.metadata
    return Ref("v1", "Pod", metadata.namespace or "", metadata.name or "", metadata.uid or "")
