"""A scheduler over watches that lag: what is true, what was delivered, and what waits for an answer."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.client.cache import Cache, key_of
from sampan.client.client import Listed
from sampan.client.errors import ApiError
from sampan.client.transport import Bind
from sampan.scheduler.binding import post_binding
from sampan.scheduler.requests import demand
from sampan.scheduler.shell import Scheduler
from sampan.scheduler.table import NodeTable
from sampan.scheduler.volume_use import volume_behind
from sampan.schema import api, codec
from tests.unit.scheduler.objects import container, node, pod

CPUS: Final = {"n1": "3", "n2": "2", "n3": "4"}
DRIVER: Final = "csi.x"
MOST_ATTACHED: Final = 1
SELECTED: Final = "volume.kubernetes.io/selected-node"


class Watched:
    """An informer whose events wait until they are delivered."""

    def __init__(self) -> None:
        self.cache: Cache[Any] = Cache()
        self.truth: dict[str, Any] = {}
        self._late: deque[tuple[Any, bool]] = deque()
        self._handlers: list[Callable[[Any, Any], None]] = []

    def on_change(self, handler: Callable[[Any, Any], None]) -> None:
        self._handlers.append(handler)

    async def synced(self) -> None:
        return

    def set(self, name: str, obj: Any) -> None:
        before = self.truth.pop(name, None)
        if obj is not None:
            self.truth[name] = obj
            self._late.append((obj, True))
        elif before is not None:
            self._late.append((before, False))

    def deliver(self) -> None:
        if not self._late:
            return
        shown, is_there = self._late.popleft()
        obj = shown if is_there else None
        old = self.cache.put(obj) if is_there else self.cache.remove(key_of(shown))
        if old is None and obj is None:
            return
        changes = [(old, obj)]
        if old is not None and obj is not None and old.metadata.uid != obj.metadata.uid:
            changes = [(old, None), (None, obj)]
        for change in changes:
            for handler in self._handlers:
                handler(*change)

    def deliver_all(self) -> None:
        while self._late:
            self.deliver()

    def lose(self) -> None:
        """The next event never comes; what came of it is told by a later one."""
        self._late.popleft()


class Together:
    """A transport that carries bindings together; each still waits for an answer of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.carried: list[int] = []

    async def bind_all(self, wanted: Sequence[Bind]) -> list[Exception | None]:
        self.carried.append(len(wanted))
        posts = [post_binding(cast(Any, self._world), (b.namespace, b.name), b.uid, b.node) for b in wanted]
        return list(await asyncio.gather(*posts))


class World:
    """The API server's side: what is true, and bindings that wait for an answer."""

    def __init__(self, seed: int, *, pod_groups: bool = False, together: bool = False) -> None:
        self.transport = Together(self) if together else None
        self.kinds: dict[type[Any], Watched] = {}
        self.pods, self.nodes = self.of(api.Pod), self.of(api.Node)
        self.claims, self.volumes = self.of(api.PersistentVolumeClaim), self.of(api.PersistentVolume)
        self.device_claims = self.of(api.ResourceClaim)
        self.lost = False  # whether what the next write ends with comes after it is made
        self.events: list[api.Event] = []
        self.conditions: dict[str, dict[str, Any]] = {}  # of pod groups
        self.failing: Exception | None = None  # what the next patch of a claim or volume ends with
        self._versions = 0
        self.bindings: list[tuple[api.Binding, asyncio.Future[None]]] = []
        self.clock = SimulatedClock()
        self._uids = 0
        chance = random.Random(seed)
        self.scheduler = Scheduler(
            cast(Any, self),
            cast(Any, self),
            self.clock,
            RandomIds(chance),
            chance=chance,
            pod_groups=pod_groups,
        )

    def of(self, kind: type[Any]) -> Watched:
        return self.kinds.setdefault(kind, Watched())

    async def post(self, path: str, binding: api.Binding, answer: type[Any]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bindings.append((binding, done))
        await done

    async def get(self, kind: type[Any], name: str, namespace: str = "") -> Any:
        found = self.of(kind).truth.get(name)
        if found is None:
            raise ApiError.of(404, "NotFound", "gone")
        return found

    async def list(self, kind: type[Any]) -> Any:
        return Listed(list(self.of(kind).truth.values()), "", "")

    async def update(self, obj: Any) -> Any:
        """Of claims for devices, their status too."""
        problem, self.failing = self.failing, None
        lost, self.lost = self.lost, False
        if problem is not None and not lost:
            raise problem
        held = self.of(type(obj)).truth.get(obj.metadata.name)
        if held is None:
            raise ApiError.of(404, "NotFound", "gone")
        if (held.metadata.uid, held.metadata.resourceVersion) != (
            obj.metadata.uid,
            obj.metadata.resourceVersion,
        ):
            raise ApiError.of(409, "Conflict", "the object has been modified")
        self.put(codec.copy(obj))
        if problem is not None:
            raise problem
        return self.of(type(obj)).truth[obj.metadata.name]

    update_status = update

    async def delete(self, kind: type[Any], name: str, namespace: str, **_: Any) -> None:
        """A victim that takes its time to go."""

    async def create(self, obj: Any) -> Any:
        self.events.append(obj)
        return obj

    async def change(self, *_: Any, **__: Any) -> bool:
        return False  # as where the server is elsewhere

    async def patch(self, kind: type[Any], name: str, namespace: str, change: Any, **_: Any) -> None:
        """Of claims and volumes; of conditions of pods, `touch_pod` stands for their coming back."""
        if kind is api.Pod:
            return
        if kind is api.PodGroupV1beta1:
            self.conditions[name] = change["status"]["conditions"][0]
            return
        problem, self.failing = self.failing, None
        if problem is not None:
            raise problem
        held = self.of(kind).truth.get(name)
        if held is None:
            raise ApiError.of(404, "NotFound", "gone")
        asked = change["metadata"]
        for field in ("uid", "resourceVersion"):
            if asked.get(field, getattr(held.metadata, field)) != getattr(held.metadata, field):
                raise ApiError.of(409, "Conflict", "the object has been modified")
        whole = codec.to_builtins(held)
        whole["metadata"].setdefault("annotations", {}).update(asked.get("annotations") or {})
        whole["spec"].update(change.get("spec") or {})
        self.put(codec.from_builtins(whole, kind))

    def put(self, obj: Any) -> None:
        """An object as the API server stores it."""
        self._versions += 1
        meta = msgspec.structs.replace(obj.metadata, resourceVersion=str(self._versions))
        self.of(type(obj)).set(meta.name, msgspec.structs.replace(obj, metadata=meta))

    def deliver_everything(self) -> None:
        for watched in list(self.kinds.values()):
            watched.deliver_all()

    def add_pod(self, number: int, cpu: int, port: int, claim: str = "") -> None:
        name = f"p{number}"
        if name not in self.pods.truth:
            self._uids += 1
            one = {
                **container(cpu=str(cpu)),
                "ports": [{"containerPort": 1, "hostPort": port}] if port else [],
            }
            mounts = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
            self.pods.set(name, pod(name, uid=str(self._uids), containers=[one], volumes=mounts))

    def add_user(self, number: int, cpu: int, claim: str) -> None:
        """A pod that uses a claim for a device."""
        name = f"p{number}"
        if name not in self.pods.truth:
            self._uids += 1
            named = [{"name": "d", "resourceClaimName": claim}]
            asked = [container(cpu=str(cpu))]
            self.pods.set(name, pod(name, uid=str(self._uids), containers=asked, resourceClaims=named))

    def add_devices(self, name: str) -> None:
        """One device, for the node alone."""
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": DRIVER, "nodeName": name, "pool": pool, "devices": [{"name": "gpu"}]}
        self.put(codec.from_builtins({"metadata": {"name": name}, "spec": spec}, api.ResourceSlice))

    def add_device_claim(self, name: str) -> None:
        if name in self.device_claims.truth:
            return
        self._uids += 1
        request = {
            "name": "r",
            "exactly": {"deviceClassName": "any", "allocationMode": "ExactCount", "count": 1},
        }
        meta = {"name": name, "namespace": "default", "uid": f"devices-{self._uids}"}
        whole = {"metadata": meta, "spec": {"devices": {"requests": [request]}}}
        self.put(codec.from_builtins(whole, api.ResourceClaim))

    def release_devices(self) -> None:
        """What the controller of claims does: who is gone uses nothing, what nobody uses is free again."""
        live = {p.metadata.uid for p in self.pods.truth.values() if p.status.phase != "Succeeded"}
        for held in list(self.device_claims.truth.values()):
            users = [user for user in held.status.reservedFor if user.uid in live]
            if len(users) != len(held.status.reservedFor):
                allocation = held.status.allocation if users else None
                status = msgspec.structs.replace(held.status, reservedFor=users, allocation=allocation)
                self.put(msgspec.structs.replace(held, status=status))

    def add_member(self, number: int, cpu: int, group: str, **spec: Any) -> None:
        name = f"p{number}"
        if name not in self.pods.truth:
            self._uids += 1
            asked = [container(cpu=str(cpu))]
            named = {"schedulingGroup": {"podGroupName": group}}
            self.pods.set(name, pod(name, uid=str(self._uids), containers=asked, **named, **spec))

    def put_group(self, name: str, least: int, **spec: Any) -> None:
        """A gang; a basic group where `least` is 0."""
        policy = {"gang": {"minCount": least}} if least else {"basic": {}}
        meta = {"name": name, "namespace": "default", "uid": f"group-{name}"}
        whole = {"metadata": meta, "spec": {"schedulingPolicy": policy, **spec}}
        self.put(codec.from_builtins(whole, api.PodGroupV1beta1))

    def touch_pod(self, number: int) -> None:
        """A status change, such as the scheduler's own condition."""
        held = self.pods.truth.get(f"p{number}")
        if held is not None:
            self.pods.set(f"p{number}", msgspec.structs.replace(held))

    def finish_pod(self, number: int) -> None:
        held = self.pods.truth.get(f"p{number}")
        if held is not None and held.spec.nodeName:
            status = msgspec.structs.replace(held.status, phase="Succeeded")
            self.pods.set(f"p{number}", msgspec.structs.replace(held, status=status))

    def put_node(self, name: str, **spec: Any) -> None:
        offered = {"cpu": CPUS[name], "memory": "9Gi", "pods": "3"}
        self.nodes.set(name, node(name, allocatable=offered, labels={"host": name}, **spec))

    def answer(self, how: str) -> None:
        if not self.bindings:
            return
        binding, done = self.bindings.pop(0)
        name, target = binding.metadata.name or "", binding.target
        held = self.pods.truth.get(name)
        fits = held is not None and held.metadata.uid == binding.metadata.uid and not held.spec.nodeName
        if how in ("bound", "bound but unanswered") and fits and target is not None:
            spec = msgspec.structs.replace(held.spec, nodeName=target.name)
            self.pods.set(name, msgspec.structs.replace(held, spec=spec))
        if done.done():  # nobody waits for the answer any more
            return
        if how == "bound" and fits:
            done.set_result(None)
        elif how in ("bound but unanswered", "lost"):
            done.set_exception(TimeoutError("no answer"))
        elif how == "broken":
            done.set_exception(ValueError("an answer that nobody understands"))
        else:
            done.set_exception(ApiError.of(409 if not fits else 403, "", "refused"))

    def check(self) -> None:
        for name, cpu in CPUS.items():
            here = [
                p
                for p in self.pods.truth.values()
                if p.spec.nodeName == name and p.status.phase != "Succeeded"
            ]
            asked = [demand(p) for p in here]
            assert sum(a.amounts.get("cpu", 0) for a in asked) <= 1000 * int(cpu)
            assert len(here) <= 3
            ports = [port for a in asked for port in a.ports]
            assert len(ports) == len(set(ports))
            self._check_volumes(name, here)
            self._check_devices(name, here)
        given = [
            (each.pool, each.device)
            for held in self.device_claims.truth.values()
            for each in (held.status.allocation.devices.results if held.status.allocation else ())
        ]
        assert len(given) == len(set(given))

    def check_table(self) -> None:
        fresh = NodeTable()
        for each in self.nodes.truth.values():
            fresh.put(each)
        for held in self.pods.truth.values():
            row = fresh.rows.get(held.spec.nodeName or "")
            if row is not None and held.status.phase != "Succeeded":
                fresh.take(row, demand(held))
        assert self.scheduler.world.table.contents() == fresh.contents()

    def add_claim(self, name: str, **spec: Any) -> None:
        if name in self.claims.truth:
            return
        self._uids += 1
        whole = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
        notes = {"pv.kubernetes.io/bind-completed": "yes"} if spec.get("volumeName") else {}
        meta = {"name": name, "namespace": "default", "uid": f"claim-{self._uids}", "annotations": notes}
        self.put(codec.from_builtins({"metadata": meta, "spec": whole}, api.PersistentVolumeClaim))

    def add_volume(self, name: str, on: str = "", **spec: Any) -> None:
        if name in self.volumes.truth:
            return
        self._uids += 1
        if on:
            term = {"matchExpressions": [{"key": "host", "operator": "In", "values": [on]}]}
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
        whole = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **spec}
        meta = {"name": name, "uid": f"volume-{self._uids}"}
        self.put(codec.from_builtins({"metadata": meta, "spec": whole}, api.PersistentVolume))

    def add_class(self, name: str, provisioner: str) -> None:
        made = {"metadata": {"name": name}, "provisioner": provisioner}
        self.put(codec.from_builtins({**made, "volumeBindingMode": "WaitForFirstConsumer"}, api.StorageClass))

    def add_limit(self, name: str) -> None:
        entry = {"name": DRIVER, "nodeID": name, "allocatable": {"count": MOST_ATTACHED}}
        self.put(codec.from_builtins({"metadata": {"name": name}, "spec": {"drivers": [entry]}}, api.CSINode))

    def bind_claims(self) -> None:
        """What the binder and the provisioner do: claims that were told a volume or a node become bound."""
        for held in list(self.claims.truth.values()):
            name, selected = held.metadata.name, held.metadata.annotations.get(SELECTED)
            if held.spec.volumeName:
                continue
            uid = held.metadata.uid
            pointed = [
                v for v in self.volumes.truth.values() if v.spec.claimRef and v.spec.claimRef.uid == uid
            ]
            if not pointed and selected in self.nodes.truth:
                ref = {"namespace": "default", "name": name, "uid": uid}
                made = {"claimRef": ref, "storageClassName": held.spec.storageClassName}
                self.add_volume(f"pvc-{uid}", selected, csi={"driver": DRIVER, "volumeHandle": uid}, **made)
                pointed = [self.volumes.truth[f"pvc-{uid}"]]
            if pointed:
                whole = codec.to_builtins(held)
                whole["spec"]["volumeName"] = pointed[0].metadata.name
                whole["metadata"].setdefault("annotations", {})["pv.kubernetes.io/bind-completed"] = "yes"
                self.put(codec.from_builtins(whole, api.PersistentVolumeClaim))

    def give_up_provisioning(self) -> None:
        """What a provisioner does that cannot make a volume on the node."""
        for held in list(self.claims.truth.values()):
            if SELECTED in held.metadata.annotations and not held.spec.volumeName:
                notes = {k: v for k, v in held.metadata.annotations.items() if k != SELECTED}
                meta = msgspec.structs.replace(held.metadata, annotations=notes)
                self.put(msgspec.structs.replace(held, metadata=meta))

    def _check_devices(self, name: str, here: list[api.Pod]) -> None:
        for each in here:
            for used in each.spec.resourceClaims:
                held = self.device_claims.truth[used.resourceClaimName]
                assert any(user.uid == each.metadata.uid for user in held.status.reservedFor)
                assert held.status.allocation is not None
                assert {got.pool for got in held.status.allocation.devices.results} == {name}

    def _check_volumes(self, name: str, here: list[api.Pod]) -> None:
        handles = set()
        for each in here:
            for mounted in each.spec.volumes:
                source = mounted.persistentVolumeClaim
                claim = self.claims.truth[source.claimName] if source is not None else None
                if claim is None:
                    continue
                volume = self.volumes.truth[claim.spec.volumeName]  # bound before the pod was
                affinity = volume.spec.nodeAffinity
                if affinity is not None:
                    assert affinity.required.nodeSelectorTerms[0].matchExpressions[0].values == [name]
                handles |= set(volume_behind(volume))
                if "ReadWriteOncePod" in claim.spec.accessModes:
                    users = [p for p in self._running() if _mounts(p, claim)]
                    assert len(users) == 1
        assert len(handles) <= MOST_ATTACHED
        owned = [c.spec.volumeName for c in self.claims.truth.values() if c.spec.volumeName]
        assert len(owned) == len(set(owned))

    def _running(self) -> list[api.Pod]:
        return [p for p in self.pods.truth.values() if p.spec.nodeName and p.status.phase != "Succeeded"]


def _mounts(one: api.Pod, claim: api.PersistentVolumeClaim) -> bool:
    names = [v.persistentVolumeClaim.claimName for v in one.spec.volumes if v.persistentVolumeClaim]
    return claim.metadata.name in names


async def turns() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def start(world: World, *names: str) -> asyncio.Task[None]:
    for name in names:
        world.put_node(name)
    world.deliver_everything()
    running = asyncio.create_task(world.scheduler.run())
    await turns()
    return running


async def end(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
