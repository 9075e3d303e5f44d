"""The shell around the cycle: watches pods and nodes, keeps the table, binds, and says why pods wait.

The table counts a pod from the moment it is decided for, not from when its binding is seen, so that no
two decisions ever share the same room; a binding that fails gives the room back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
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
from sampan.scheduler.cycle import Decision, explain, schedule
from sampan.scheduler.queue import Key, Queue, Waiting
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
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(BINDINGS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pods.on_change(self._pod_changed)
        self._nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Schedule until cancelled."""
        recorder = asyncio.create_task(self._recorder.run())
        try:
            await self._nodes.synced()
            await self._pods.synced()
            while True:
                self._wake.clear()
                await self._drain()
                await self._sleep()
        finally:
            for task in (recorder, *self._tasks):
                task.cancel()

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
            self.queue.remove(waiting.key)
            return
        wanted = demand(pod)
        decision = schedule(pod, wanted, self.table, self._chance.choice)
        if not decision.node:
            self.queue.park(waiting, decision.refused_by, self._clock.monotonic_s())
            await self._say_why(pod, decision)
            return
        self._place(waiting.key, _Placed(waiting.uid, decision.node, wanted))
        await self._room.acquire()
        task = asyncio.create_task(self._bind(waiting, pod, decision.node))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bind(self, waiting: Waiting, pod: api.Pod, node: str) -> None:
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
        except (ApiError, ConnectionError, TimeoutError) as failed:
            self._unbound(waiting, failed)
            return
        finally:
            self._room.release()
        self.queue.remove(waiting.key)
        message = f"Successfully assigned {namespace}/{name} to {node}"
        self._recorder.emit(Emit(_ref(pod), "Normal", "Scheduled", message, "Binding"))

    def _unbound(self, waiting: Waiting, failed: Exception) -> None:
        placed = self._placed.get(waiting.key)
        if placed is not None and placed.uid == waiting.uid:
            self._unplace(waiting.key)
        if isinstance(failed, ApiError) and failed.code in (404, 409):
            self.queue.remove(waiting.key)  # gone, or somebody else was faster: the watch tells the rest
            return
        _log.warning("binding %s/%s failed and is tried again: %s", *waiting.key, failed)
        self.queue.retry_later(waiting, self._clock.monotonic_s())
        self._wake.set()

    async def _say_why(self, pod: api.Pod, decision: Decision) -> None:
        message = decision.message
        known = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        if known is not None and known.status == "False" and known.message == message:
            return
        changed = known is None or known.status != "False"
        moment = kube_time(self._clock.now()) if changed or known is None else known.lastTransitionTime
        condition: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": moment.isoformat().replace("+00:00", "Z") if moment else None,
        }
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        metadata = pod.metadata
        with contextlib.suppress(ApiError, ConnectionError, TimeoutError):  # said again at the next try
            await self._client.patch(
                api.Pod,
                metadata.name or "",
                metadata.namespace or "",
                patch,
                patch_type=STRATEGIC,
                subresource="status",
            )
        self._recorder.emit(Emit(_ref(pod), "Warning", "FailedScheduling", message, "Scheduling"))

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
        elif self._is_mine(new):
            if old is None or _matters(old, new) or key not in self.queue:
                placed = self._placed.get(key)
                if placed is None or placed.uid != uid:
                    self.queue.add(key, uid, new.spec.priority or 0)
                    self._wake.set()
        else:
            self.queue.remove(key)

    def _seen_on(self, key: Key, uid: str, pod: api.Pod) -> None:
        self.queue.remove(key)
        node = pod.spec.nodeName or ""
        placed = self._placed.get(key)
        if placed is not None and placed.uid == uid and placed.node == node:
            wanted = demand(pod)
            if wanted == placed.demand:
                return
        self._unplace(key)
        self._place(key, _Placed(uid, node, demand(pod)))

    def _forget(self, key: Key, uid: str) -> None:
        placed = self._placed.get(key)
        if placed is not None and placed.uid == uid:
            self._unplace(key)
            self.queue.changed(_POD_GONE_PLUGINS)
            self._wake.set()
        self.queue.remove(key)

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
        self._by_node[placed.node].discard(key)
        row = self.table.rows.get(placed.node)
        if row is not None:
            self.table.release(row, placed.demand)

    def _node_changed(self, old: api.Node | None, new: api.Node | None) -> None:
        if new is None:
            assert old is not None
            self.table.remove(old.metadata.name or "")
            return
        name = new.metadata.name or ""
        fresh = name not in self.table.rows
        if not fresh and old is not None and not _node_matters(old, new):
            self.table.nodes[self.table.rows[name]] = new
            return
        self.table.put(new)
        if fresh:
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


def _ref(pod: api.Pod) -> Ref:
    metadata = pod.metadata
    return Ref("v1", "Pod", metadata.namespace or "", metadata.name or "", metadata.uid or "")
