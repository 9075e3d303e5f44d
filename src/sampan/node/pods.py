"""All pods of a node (or of many): a worker for each, one eye on the runtime for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Protocol, cast

from msgspec.structs import replace

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.effects import Ref
from sampan.node import shortcut
from sampan.node.carry_out import CarryOut
from sampan.node.config import AgentConfig
from sampan.node.drivers.resources import NoResources, PodResources
from sampan.node.eager import begin
from sampan.node.files import NoFiles, PodFiles
from sampan.node.finisher import Finisher
from sampan.node.host_ports import HostPorts
from sampan.node.messages import (
    DevicesSeen,
    Observed,
    PodGone,
    Rejected,
)
from sampan.node.model import NodeFacts, Trouble
from sampan.node.names import POD_GRACE, uid_of
from sampan.node.observe import knows_end
from sampan.node.probe_runner import ProbeRunner
from sampan.node.runtimes.runtime import Container, Listing, Runtime, RuntimeFailure, Sandbox, State
from sampan.node.shortcut import RunsPods
from sampan.node.status_writer import WRITERS, StatusWriter
from sampan.node.timers import Timers
from sampan.node.views import by_pod, listing_of
from sampan.node.worker import PodWorker
from sampan.schema import api

RUNTIME_RETRY_S: Final = 1.0
MESSAGES_MOST: Final = 4096
EARLY_EXITS_MOST: Final = 1024

_log = logging.getLogger(__name__)


class Record(Protocol):
    """Records an Event: the signature of `client.events.Recorder.event`."""

    def __call__(
        self, about: Ref, type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None: ...


def no_record(
    about: Ref, type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
) -> None:
    """Records nothing."""


class PodHost:
    """Runs the pods it is told of. `nodes` gives the facts of a pod's node, None for a node not ours."""

    def __init__(
        self,
        config: AgentConfig,
        runtime: Runtime,
        client: Client,
        clock: Clock,
        *,
        nodes: Callable[[str], NodeFacts | None],
        admit: Callable[[api.Pod, Iterable[api.Pod]], Trouble | None] | None = None,
        files: PodFiles | None = None,
        resources: PodResources | None = None,
        host_ports: HostPorts | None = None,
        services: Callable[[], Iterable[api.Service]] = tuple,
        record: Record = no_record,
        writers: int | None = None,
        status_turns: int = 0,
    ) -> None:
        self.timers = Timers(clock)
        self.probes = ProbeRunner(runtime, clock, self.timers)
        self.statuses = StatusWriter(
            client, clock, writers=writers or WRITERS, turns=status_turns, hold_s=config.status_hold_s
        )
        self.files = files or NoFiles()
        self.carry_out = CarryOut(
            config,
            runtime,
            client,
            clock,
            self.files,
            self.statuses,
            services,
            resources or NoResources(),
            host_ports,
        )
        self._resources = resources
        self.finisher = Finisher(client) if self.carry_out.pretends and client.changes_in_place else None
        self.workers: dict[str, PodWorker] = {}
        self.runtime = runtime
        plain = self.carry_out.pretends and resources is None and isinstance(runtime, RunsPods)
        self._runs_pods: RunsPods | None = cast(RunsPods, runtime) if plain else None
        self._config = config
        self._clock = clock
        self._nodes = nodes
        self._admit = admit
        self._record = record
        self._by_node: dict[str, dict[str, PodWorker]] = {}
        self._listing: dict[str, Listing] = {}
        self._listed_at: datetime = clock.now()
        self._owners: dict[str, str] = {}
        self._owned: dict[str, set[str]] = {}
        self._early: dict[str, None] = {}
        self._messages: dict[str, str] = {}
        self._dirty: set[str] = set()
        self._looking: set[asyncio.Task[None]] = set()

    # --- what the API says ----------------------------------------------------------------------------

    def pod_changed(self, old: api.Pod | None, new: api.Pod | None) -> None:
        """An informer's handler. Pods of other nodes are passed over."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            worker = self.workers.get(old.metadata.uid or "")
            if worker is not None:
                worker.gone()
        if new is None or not new.spec.nodeName:
            return
        worker = self.workers.get(new.metadata.uid or "")
        if worker is None:
            self._begin(new)
            return
        before = worker.pod
        if new.metadata.finalizers:
            worker.still_there()
        if new.metadata.deletionTimestamp is None or not self._end_plainly(worker, new):
            worker.seen(new)
        if before.metadata.labels != new.metadata.labels or (
            before.metadata.annotations != new.metadata.annotations
        ):
            self.files.refresh(new)

    def _begin(self, pod: api.Pod) -> None:
        node = self._nodes(pod.spec.nodeName or "")
        if node is None:
            return
        worker = PodWorker(self, pod, node)
        listing = self._listing.pop(worker.uid, Listing((), ()))
        refusal: Trouble | None = None
        if self._admit is not None and not listing.sandboxes and pod.status.startTime is None:
            others = [w.pod for w in self._by_node.get(node.name, {}).values() if w.state.rejected is None]
            refusal = self._admit(pod, others)
            if refusal is not None and pod.metadata.deletionTimestamp is None:
                worker.handle(Rejected(refusal.reason, refusal.message))
        self.workers[worker.uid] = worker
        self._by_node.setdefault(node.name, {})[worker.uid] = worker
        self._learn_owners(worker.uid, listing)
        self.devices_changed((worker.uid,))
        if refusal is not None or listing.sandboxes or not self._start_plainly(worker):
            worker.handle(self._observed(worker.uid, listing, self._listed_at))

    def _start_plainly(self, worker: PodWorker) -> bool:
        """Have a plain pod run at once; False, and nothing done, where it has to go step by step."""
        if self._runs_pods is None or not shortcut.starts_plainly(worker.pod):
            return False
        made = self._runs_pods.run_pod(*shortcut.specs(worker.pod))
        if made is None:
            return False
        sandbox, containers = made
        self._learn_owners(worker.uid, Listing((sandbox,), tuple(containers)))
        worker.leap(*shortcut.started(worker.pod, worker.node, sandbox, containers, self._clock.now()))
        return True

    def _end_plainly(self, worker: PodWorker, pod: api.Pod) -> bool:
        """End a pod that just runs at once; False, and nothing done, where it has to go step by step."""
        state = worker.state
        if self._runs_pods is None or not worker.rests or not shortcut.ends_plainly(state, pod):
            return False
        assert state.sandbox is not None
        exited = self._runs_pods.end_pod(state.sandbox.id)
        worker.leap(*shortcut.ended(state, pod, exited, self._clock.now()))
        return True

    def devices_changed(self, uids: Iterable[str]) -> None:
        """The devices of these pods may be in another state now."""
        if self._resources is None:
            return
        for worker in filter(None, map(self.workers.get, uids)):
            devices = self._resources.health(worker.pod)
            if devices != worker.state.devices:
                worker.handle(DevicesSeen(devices))

    def pods(self) -> list[api.Pod]:
        """Every pod with a worker."""
        return [w.pod for w in self.workers.values()]

    def pods_on(self, node: str) -> list[api.Pod]:
        """The pods of one node."""
        return [w.pod for w in self._by_node.get(node, {}).values()]

    # --- what the runtime says ------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the runtime before any pod is begun, so that what runs already is found."""
        while True:
            self._listed_at = self._clock.now()
            try:
                self._listing = by_pod(await self.runtime.list())
                return
            except (RuntimeFailure, OSError) as error:
                _log.warning("the container runtime does not answer yet: %s", error)
                await self._clock.sleep(RUNTIME_RETRY_S)

    def remove_orphans(self) -> None:
        """Wind down what the runtime has of pods that the API does not know. Call once pods are known."""
        for uid, listing in list(self._listing.items()):
            if uid in self.workers:
                continue
            pod = _orphan(uid, listing)
            node = self._nodes("")
            if pod is None or node is None:
                continue
            worker = self.workers[uid] = PodWorker(self, pod, node)
            self._by_node.setdefault(node.name, {})[uid] = worker
            self._learn_owners(uid, listing)
            worker.handle(PodGone())
            worker.handle(self._observed(uid, listing, self._listed_at))
        self._listing = {}

    async def follow_exits(self) -> None:
        """Look at a pod as soon as one of its containers or its sandbox exits; runs until cancelled."""
        while True:
            try:
                async for runtime_id in self.runtime.exits():
                    uid = self._owners.get(runtime_id)
                    if uid is not None:
                        worker = self.workers.get(uid)
                        if worker is None or not knows_end(worker.state, runtime_id):
                            self.look_at(uid)
                    else:
                        self._remember_early(runtime_id)
            except (RuntimeFailure, OSError) as error:
                _log.warning("the runtime's events ended and are asked for again: %s", error)
            await self._clock.sleep(RUNTIME_RETRY_S)
            self._look_all()

    def _remember_early(self, runtime_id: str) -> None:
        """An exit of something that is not known yet: its start has not been answered."""
        self._early[runtime_id] = None
        if len(self._early) > EARLY_EXITS_MOST:
            del self._early[next(iter(self._early))]

    async def relist(self) -> None:
        """The slow round: look at everything every `relist_s`; runs until cancelled."""
        while True:
            await self._clock.sleep(self._config.relist_s)
            await self._look_at_everything()

    async def _look_at_everything(self) -> None:
        as_of = self._clock.now()
        try:
            parts = by_pod(await self.runtime.list())
        except (RuntimeFailure, OSError) as error:
            _log.warning("the container runtime could not be listed: %s", error)
            return
        for uid, worker in list(self.workers.items()):
            worker.handle(self._observed(uid, parts.get(uid, Listing((), ())), as_of))
        strangers = {uid: part for uid, part in parts.items() if uid not in self.workers}
        if strangers:
            self._listing, self._listed_at = strangers, as_of
            self.remove_orphans()

    def look_at(self, uid: str) -> None:
        """Look at one pod soon; hints that come meanwhile are one look more."""
        if uid in self._dirty:
            return
        self._dirty.add(uid)
        self._spawn(self._look(uid))

    async def _look(self, uid: str) -> None:
        self._dirty.discard(uid)
        await self.observe(uid)

    def _look_all(self) -> None:
        if "" not in self._dirty:
            self._dirty.add("")
            self._spawn(self._look_all_once())

    async def _look_all_once(self) -> None:
        self._dirty.discard("")
        await self._look_at_everything()

    async def observe(self, uid: str) -> None:
        """Look at one pod now."""
        as_of = self._clock.now()
        try:
            listing = await listing_of(self.runtime, uid)
        except (RuntimeFailure, OSError) as error:
            _log.warning("the containers of a pod could not be listed: %s", error)
            return
        worker = self.workers.get(uid)
        if worker is not None:
            worker.handle(self._observed(uid, listing, as_of))

    def _observed(self, uid: str, listing: Listing, as_of: datetime) -> Observed:
        containers = tuple(self._with_message(uid, c) for c in listing.containers)
        return Observed(listing.sandboxes, containers, as_of)

    def _with_message(self, uid: str, container: Container) -> Container:
        if container.state is not State.EXITED:
            return container
        message = self._messages.get(container.id)
        if message is None:
            message = self.files.termination_message(uid, container)
            if len(self._messages) >= MESSAGES_MOST:
                self._messages.pop(next(iter(self._messages)))
            self._messages[container.id] = message
        return replace(container, message=message) if message != container.message else container

    def _learn_owners(self, uid: str, listing: Listing) -> None:
        for sandbox in listing.sandboxes:
            self.own(sandbox.id, uid)
        for container in listing.containers:
            self.own(container.id, uid)

    # --- what workers need ----------------------------------------------------------------------------

    def now(self) -> datetime:
        return self._clock.now()

    def own(self, runtime_id: str, uid: str) -> None:
        self._owners[runtime_id] = uid
        self._owned.setdefault(uid, set()).add(runtime_id)
        if runtime_id in self._early:
            del self._early[runtime_id]
            self.look_at(uid)

    def record(self, pod: api.Pod, type_: str, reason: str, message: str, container: str) -> None:
        if self._record is no_record:
            return
        meta = pod.metadata
        about = Ref(
            "v1", "Pod", meta.namespace or "", meta.name or "", meta.uid or "", meta.resourceVersion or ""
        )
        self._record(about, type_, reason, message, field_path=_field_path(pod, container))

    def forget(self, worker: PodWorker) -> None:
        self.workers.pop(worker.uid, None)
        by_node = self._by_node.get(worker.node.name, {})
        by_node.pop(worker.uid, None)
        for record in worker.state.containers.values():
            for instance in (record.current, record.previous):
                if instance is not None:
                    self._messages.pop(instance.id, None)
        for runtime_id in self._owned.pop(worker.uid, ()):
            self._owners.pop(runtime_id, None)
        last = self.files.forget(worker.pod)
        rest = begin(last) if self.carry_out.pretends else last
        if rest is not None:
            self._spawn(rest)

    def close(self) -> None:
        """Stop working; the runtime keeps what it has."""
        for worker in self.workers.values():
            worker.close()
        for task in self._looking:
            task.cancel()
        self.probes.close()
        self.timers.close()
        self.statuses.close()
        if self.finisher is not None:
            self.finisher.close()

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)


def _field_path(pod: api.Pod, container: str) -> str:
    if not container:
        return ""
    spec = pod.spec
    if any(c.name == container for c in spec.initContainers):
        return f"spec.initContainers{{{container}}}"
    if any(c.name == container for c in spec.ephemeralContainers):
        return f"spec.ephemeralContainers{{{container}}}"
    return f"spec.containers{{{container}}}"


def _orphan(uid: str, listing: Listing) -> api.Pod | None:
    """A pod object for what is left of a pod in the runtime: enough to wind it down."""
    found: list[Sandbox | Container] = [*listing.sandboxes, *listing.containers]
    first = found[0] if found else None
    if first is None or uid_of(first.labels) != uid:
        return None
    labels = first.labels
    names = sorted({c.name for c in listing.containers})
    grace_s = int(first.annotations.get(POD_GRACE, "30") or "30")
    return api.Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=api.ObjectMeta(
            name=labels.get("io.kubernetes.pod.name", ""),
            namespace=labels.get("io.kubernetes.pod.namespace", ""),
            uid=uid,
        ),
        spec=api.PodSpec(
            containers=[api.Container(name=name) for name in names], terminationGracePeriodSeconds=grace_s
        ),
    )
