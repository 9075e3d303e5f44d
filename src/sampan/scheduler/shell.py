"""The shell around the cycle: watches pods and nodes, keeps the table, binds, and says why pods wait.

The table counts a pod from the moment it is decided for, not from when its binding is seen, so that no
two decisions ever share the same room; a binding that fails gives the room back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock, kube_time
from sampan.base.ids import Ids
from sampan.client.client import STRATEGIC, Client
from sampan.client.effects import Emit, Ref
from sampan.client.errors import ApiError
from sampan.client.events import Recorder
from sampan.client.informer import SharedInformers
from sampan.kinds import registry
from sampan.scheduler.cycle import explain, schedule
from sampan.scheduler.queue import FIRST_BACKOFF_S, MAX_BACKOFF_S, Key, Queue, Waiting
from sampan.scheduler.requests import Demand, demand
from sampan.scheduler.table import NodeTable
from sampan.schema import api

NAME: Final = "default-scheduler"
# Bindings under way at once; more wait for a place.
BINDINGS: Final = 64
# Decisions between two turns of the event loop: keeps watches flowing under a burst.
DECISIONS_A_TURN: Final = 16
_NODE_PLUGINS: Final = frozenset(
    {"NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit"}
)
_POD_GONE_PLUGINS: Final = frozenset({"NodePorts", "NodeResourcesFit"})

_log = logging.getLogger(__name__)


class _Placed(msgspec.Struct, frozen=True):
    """A pod that is counted on a node, bound or about to be."""

    uid: str
    node: str
    demand: Demand


class Scheduler:
    """Schedules the pods that name it. One runs at a time in a cluster."""

    def __init__(
        self,
        client: Client,
        informers: SharedInformers,
        clock: Clock,
        ids: Ids,
        *,
        name: str = NAME,
        chance: random.Random | None = None,
    ) -> None:
        self.name = name
        self.queue = Queue()
        self.table = NodeTable()
        self._client = client
        self._clock = clock
        self._chance = chance or random.Random()
        self._pods = informers.of(api.Pod)
        self._nodes = informers.of(api.Node)
        self._recorder = Recorder(client, clock, name)
        self._placed: dict[Key, _Placed] = {}
        self._by_node: dict[str, set[Key]] = {}
        self._untold: dict[Key, tuple[api.Pod, str]] = {}
        self._something_to_tell = asyncio.Event()
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(BINDINGS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pods.on_change(self._pod_changed)
        self._nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Schedule until cancelled; may be run again, and then goes by what the cluster holds by then."""
        await self._nodes.synced()
        await self._pods.synced()
        self._start_over()
        helpers = [asyncio.create_task(self._recorder.run()), asyncio.create_task(self._tell_why())]
        try:
            while True:
                self._wake.clear()
                await self._drain()
                await self._sleep()
        finally:
            ending = [*helpers, *self._tasks]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def _start_over(self) -> None:
        """Believe only what the watches have shown: bindings of an earlier run may have come to nothing."""
        self.queue.start_over()
        self._untold.clear()
        for key in list(self._placed):
            self._unplace(key)
        for pod in self._pods.cache.items():
            self._pod_changed(None, pod)

    def explain(self, pod: api.Pod) -> list[tuple[str, str, str]]:
        """For each node: its name, the plugin that refuses the pod there ("" for none), and why."""
        return list(explain(pod, demand(pod), self.table))

    async def _drain(self) -> None:
        done = 0
        while (waiting := self.queue.pop(self._clock.monotonic_s())) is not None:
            await self._try(waiting)
            done += 1
            if done % DECISIONS_A_TURN == 0:
                await asyncio.sleep(0)

    async def _sleep(self) -> None:
        """Wait for an event, or for the next pod to come out of back-off."""
        due_s = self.queue.next_due_s()
        if due_s is None:
            await self._wake.wait()
            return
        timer = asyncio.create_task(self._clock.sleep(max(due_s - self._clock.monotonic_s(), 0)))
        event = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((timer, event), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            event.cancel()

    async def _try(self, waiting: Waiting) -> None:
        pod = self._pods.cache.get(*waiting.key)
        if pod is None or pod.metadata.uid != waiting.uid or not self._is_mine(pod):
            self.queue.remove(waiting.key, waiting.uid)
            return
        wanted = demand(pod)
        decision = schedule(pod, wanted, self.table, self._chance.choice)
        if not decision.node:
            self.queue.park(waiting, decision.refused_by, self._clock.monotonic_s())
            self._untold[waiting.key] = (pod, decision.message)
            self._something_to_tell.set()
            return
        self._untold.pop(waiting.key, None)
        self._place(waiting.key, _Placed(waiting.uid, decision.node, wanted))
        await self._room.acquire()
        task = asyncio.create_task(self._bind(waiting, pod, decision.node))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- binding -------------------------------------------------------------------------------------

    async def _bind(self, waiting: Waiting, pod: api.Pod, node: str) -> None:
        try:
            problem = await self._post_binding(waiting, node)
            if problem is not None and not await self._is_bound(waiting, node, problem):
                self._unbound(waiting, problem)
                return
        finally:
            self._room.release()
        self.queue.remove(waiting.key, waiting.uid)
        message = f"Successfully assigned {'/'.join(waiting.key)} to {node}"
        self._recorder.emit(Emit(_ref(pod), "Normal", "Scheduled", message, "Binding"))

    async def _post_binding(self, waiting: Waiting, node: str) -> Exception | None:
        namespace, name = waiting.key
        binding = api.Binding(
            apiVersion="v1",
            kind="Binding",
            metadata=api.ObjectMeta(name=name, namespace=namespace, uid=waiting.uid),
            target=api.ObjectReference(kind="Node", name=node),
        )
        path = registry.path(registry.by_type(api.Pod), namespace, name, "binding")
        try:
            await self._client.post(path, binding, api.Status)
        except Exception as problem:  # whatever it is, the room must not stay taken for good
            return problem
        return None

    async def _is_bound(self, waiting: Waiting, node: str, problem: Exception) -> bool:
        """Whether a binding that failed was made all the same, as where its answer was lost.

        The room stays taken until that is certain: a pod that is bound takes it, whoever knows.
        """
        if isinstance(problem, ApiError) and problem.code < 500 and problem.code not in (408, 409):
            return False
        delay_s = FIRST_BACKOFF_S
        while True:
            try:
                pod = await self._client.get(api.Pod, waiting.key[1], waiting.key[0])
            except ApiError as unread:
                if unread.code < 500 and unread.code not in (408, 429):
                    return False
            except Exception:
                _log.debug("reading %s/%s failed", *waiting.key, exc_info=True)
            else:
                return pod.metadata.uid == waiting.uid and pod.spec.nodeName == node
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, MAX_BACKOFF_S)

    def _unbound(self, waiting: Waiting, problem: Exception) -> None:
        held = self._pods.cache.get(*waiting.key)
        placed = self._placed.get(waiting.key)
        seen = held is not None and held.metadata.uid == waiting.uid and bool(held.spec.nodeName)
        if placed is not None and placed.uid == waiting.uid and not seen:
            self._unplace(waiting.key)
            self.queue.changed(_POD_GONE_PLUGINS)  # others may have the room
        if held is not None and self._is_mine(held) and held.metadata.uid == waiting.uid:
            _log.warning("binding %s/%s failed and is tried again: %s", *waiting.key, problem)
            self.queue.retry_later(waiting, self._clock.monotonic_s())
        else:
            self.queue.remove(waiting.key, waiting.uid)
        self._wake.set()

    # -- saying why ----------------------------------------------------------------------------------

    async def _tell_why(self) -> None:
        """Write the latest reason of each pod that waits, one after the other, until cancelled."""
        while True:
            await self._something_to_tell.wait()
            self._something_to_tell.clear()
            while self._untold:
                key = next(iter(self._untold))
                pod, message = self._untold.pop(key)
                self._recorder.emit(Emit(_ref(pod), "Warning", "FailedScheduling", message, "Scheduling"))
                try:
                    await self._write_condition(pod, message)
                except (ApiError, ConnectionError, TimeoutError) as problem:  # said again at the next try
                    _log.debug("the condition of %s/%s could not be written: %s", *key, problem)
                except Exception:
                    _log.exception("the condition of %s/%s could not be written", *key)

    async def _write_condition(self, pod: api.Pod, message: str) -> None:
        metadata = pod.metadata
        name, namespace = metadata.name or "", metadata.namespace or ""
        held = self._pods.cache.get(namespace, name)
        if held is None or held.metadata.uid != metadata.uid or held.spec.nodeName:
            return
        condition = why_condition(held, message, kube_time(self._clock.now()))
        if condition is None:
            return
        patch = {"metadata": {"uid": metadata.uid}, "status": {"conditions": [condition]}}
        await self._client.patch(api.Pod, name, namespace, patch, patch_type=STRATEGIC, subresource="status")

    # -- what the watches say ------------------------------------------------------------------------

    def _is_mine(self, pod: api.Pod) -> bool:
        return (
            not pod.spec.nodeName
            and pod.spec.schedulerName == self.name
            and pod.metadata.deletionTimestamp is None
            and not pod.spec.schedulingGates
        )

    def _pod_changed(self, old: api.Pod | None, new: api.Pod | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        uid = pod.metadata.uid or ""
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._forget(key, uid)
        elif new.spec.nodeName:
            self._seen_on(key, uid, new)
        elif not self._is_mine(new):
            self.queue.remove(key, uid)
        elif old is None or key not in self.queue or _matters(old, new):
            placed = self._placed.get(key)
            if placed is None or placed.uid != uid:  # else its binding is under way, or not seen yet
                self.queue.add(key, uid, new.spec.priority or 0)
                self._wake.set()

    def _seen_on(self, key: Key, uid: str, pod: api.Pod) -> None:
        self.queue.remove(key, uid)
        self._untold.pop(key, None)
        seen = _Placed(uid, pod.spec.nodeName or "", demand(pod))
        before = self._placed.get(key)
        if before == seen:
            return
        self._unplace(key)
        self._place(key, seen)
        if before is not None:  # it was thought to be elsewhere, or was resized: there may be room now
            self.queue.changed(_POD_GONE_PLUGINS)
            self._wake.set()

    def _forget(self, key: Key, uid: str) -> None:
        placed = self._placed.get(key)
        if placed is not None and placed.uid == uid:
            self._unplace(key)
            self.queue.changed(_POD_GONE_PLUGINS)
            self._wake.set()
        self.queue.remove(key, uid)
        self._untold.pop(key, None)

    def _place(self, key: Key, placed: _Placed) -> None:
        self._placed[key] = placed
        self._by_node.setdefault(placed.node, set()).add(key)
        row = self.table.rows.get(placed.node)
        if row is not None:
            self.table.take(row, placed.demand)

    def _unplace(self, key: Key) -> None:
        placed = self._placed.pop(key, None)
        if placed is None:
            return
        on_node = self._by_node[placed.node]
        on_node.discard(key)
        if not on_node:
            del self._by_node[placed.node]
        row = self.table.rows.get(placed.node)
        if row is not None:
            self.table.release(row, placed.demand)

    def _node_changed(self, old: api.Node | None, new: api.Node | None) -> None:
        if new is None:
            assert old is not None
            self.table.remove(old.metadata.name or "")
            return
        name = new.metadata.name or ""
        if name in self.table.rows and old is not None and not _node_matters(old, new):
            self.table.nodes[self.table.rows[name]] = new
            return
        if self.table.put(new):
            for key in self._by_node.get(name, ()):
                self.table.take(self.table.rows[name], self._placed[key].demand)
        self.queue.changed(_NODE_PLUGINS)
        self._wake.set()


def _matters(old: api.Pod, new: api.Pod) -> bool:
    """Whether a change of a pending pod can change the decision. Its status cannot."""
    return old.spec != new.spec or old.metadata.labels != new.metadata.labels


def _node_matters(old: api.Node, new: api.Node) -> bool:
    """Whether a change of a node can change a decision. Heartbeats cannot."""
    return (
        old.spec != new.spec
        or old.metadata.labels != new.metadata.labels
        or old.status.allocatable != new.status.allocatable
    )


def why_condition(pod: api.Pod, message: str, now: datetime) -> dict[str, Any] | None:
    """PodScheduled=False with the reason Unschedulable, as a patch; None where the pod says so already.

    lastTransitionTime stays where the status was False before (as with SchedulingGated).
    """
    known = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    was_false = known is not None and known.status == "False"
    if known is not None and was_false and (known.reason, known.message) == ("Unschedulable", message):
        return None
    since = known.lastTransitionTime if known is not None and was_false else None
    condition: dict[str, Any] = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": (since or now).isoformat().replace("+00:00", "Z"),
    }
    if pod.metadata.generation:
        condition["observedGeneration"] = pod.metadata.generation
    return condition


def _ref(pod: api.Pod) -> Ref:
    metadata = pod.metadata
    return Ref("v1", "Pod", metadata.namespace or "", metadata.name or "", metadata.uid or "")
