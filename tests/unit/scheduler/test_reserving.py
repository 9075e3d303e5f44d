"""What writes allocations, against a server that refuses, forgets to answer, and tells of changes late."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.client.errors import ApiError
from sampan.scheduler.devices.allocator import Search
from sampan.scheduler.devices.extended import claim_for
from sampan.scheduler.devices.ledger import Reserve
from sampan.scheduler.devices.results import allocation
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.reserving import Reserving
from sampan.scheduler.world import World
from sampan.schema import api, codec

DRIVER = "d.example.com"
CLASSES = {"any": codec.from_builtins({"metadata": {"name": "any"}, "spec": {}}, api.DeviceClass)}
# What becomes of one request: done; refused; done, but the answer is lost; lost on its way; somebody else
# wrote just before; the server cannot, and says so, though it did.
FATES = st.lists(
    st.sampled_from(["ok", "ok", "ok", "refused", "lost", "unsent", "conflict", "500"]), max_size=60
)


class Clock:
    """Short waits pass at once, long ones never: nothing times out here."""

    async def sleep(self, delay_s: float) -> None:
        if delay_s < 60:
            await asyncio.sleep(0)
        else:
            await asyncio.Event().wait()


class Server:
    """Claims as the API server holds them, and what its watch still has to tell."""

    def __init__(self, fates: list[str]) -> None:
        self.claims: dict[str, Any] = {}
        self.told: deque[tuple[Any, Any]] = deque()
        self.pods: dict[str, Any] = {}
        self._fates = iter(fates)
        self._version = 1

    async def get(self, kind: Any, name: str, namespace: str = "") -> Any:
        await self._fate()
        if name not in self.claims:
            raise ApiError.of(404, "NotFound", "gone")
        return self.claims[name]

    async def create(self, obj: Any) -> Any:
        made = codec.copy(obj)
        self._version += 1
        made.metadata.name = f"{obj.metadata.generateName}{self._version}"
        made.metadata.uid = made.metadata.name
        return await self._write(lambda: self.store(made))

    async def update(self, obj: Any) -> Any:
        return await self._write(lambda: self._replace(obj))

    update_status = update

    async def change(self, *_: Any, **__: Any) -> bool:
        return False  # as where the server is elsewhere

    async def patch(self, kind: Any, name: str, namespace: str, change: Any, **_: Any) -> Any:
        return await self._write(lambda: self.pods.update({name: change}))

    async def delete(self, kind: Any, name: str, namespace: str, *, uid: str) -> None:
        await self._write(lambda: self.drop(name))

    def store(self, claim: Any) -> Any:
        self._version += 1
        kept = codec.copy(claim)
        kept.metadata.resourceVersion = str(self._version)
        self.told.append((self.claims.get(kept.metadata.name), kept))
        self.claims[kept.metadata.name] = kept
        self._check()
        return kept

    def drop(self, name: str) -> None:
        if name not in self.claims:
            raise ApiError.of(404, "NotFound", "gone")
        self.told.append((self.claims.pop(name), None))

    def _replace(self, obj: Any) -> Any:
        held = self.claims.get(obj.metadata.name)
        if held is None:
            raise ApiError.of(404, "NotFound", "gone")
        if held.metadata.resourceVersion != obj.metadata.resourceVersion:
            raise ApiError.of(409, "Conflict", "changed")
        return self.store(obj)

    async def _fate(self) -> str:
        await asyncio.sleep(0)
        fate = next(self._fates, "ok")
        if fate == "unsent":
            raise ConnectionError("unsent")
        if fate == "refused":
            raise ApiError.of(403, "Forbidden", "no")
        return fate

    async def _write(self, write: Any) -> Any:
        fate = await self._fate()
        if fate == "conflict":
            raise ApiError.of(409, "Conflict", "changed")
        done = write()
        if fate == "lost":
            raise ConnectionError("lost")
        if fate == "500":
            raise ApiError.of(500, "InternalError", "etcd")
        await asyncio.sleep(0)
        return done

    def _check(self) -> None:
        held = [r.device for c in self.claims.values() if c.status.allocation for r in _results(c)]
        assert len(held) == len(set(held)), "a device was given twice"


def _results(claim: Any) -> Any:
    return claim.status.allocation.devices.results


class Bench:
    """Decides for one pod after the other, as the scheduler does, while earlier ones are being written."""

    def __init__(self, fates: list[str]) -> None:
        self.server = Server(fates)
        self.world = World()
        self.reserving = Reserving(cast(Any, self.server), cast(Any, Clock()), self.world)
        pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": DRIVER, "nodeName": "n", "pool": pool, "devices": [{"name": "d0"}, {"name": "d1"}]}
        self.world.devices.changed(
            None, codec.from_builtins({"metadata": {"name": "s"}, "spec": spec}, api.ResourceSlice)
        )
        self.world.devices.changed(None, CLASSES["any"])
        self.tasks: list[asyncio.Task[None]] = []

    async def run(self, steps: list[str]) -> None:
        for number, step in enumerate(steps):
            if step == "tell":
                self.tell(1)
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "end":
                self.end()
            else:
                self.decide(f"p{number}", is_special=step == "special")
        for _ in range(5000):
            if all(task.done() for task in self.tasks):
                break
            self.tell(100)
            await asyncio.sleep(0)
        assert all(task.done() for task in self.tasks)
        for task in self.tasks:
            task.result()
        self.tell(100)

    def tell(self, most: int) -> None:
        """The watch shows what happened, in order."""
        for _ in range(min(most, len(self.server.told))):
            self.world.devices.changed(*self.server.told.popleft())
            self.reserving.changed()

    def end(self) -> None:
        """The first claim that has devices ends with its pod."""
        for name, claim in self.server.claims.items():
            if claim.status.allocation is not None:
                self.server.drop(name)
                return

    def decide(self, name: str, *, is_special: bool) -> None:
        whole = {"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"containers": [
            {"name": "main", "resources": {"requests": {"example.com/gpu": "1"}}}]}}  # fmt: skip
        pod = self.world.infos.of(codec.from_builtins(whole, api.Pod))
        mappings: Any = ()
        if is_special:
            served = claim_for(pod.pod, {"example.com/gpu": "any"})
            claim, mappings = served.claim, served.mappings
        else:
            requests = [{"name": "r", "exactly": {"deviceClassName": "any", "count": 1}}]
            meta = {"name": name, "namespace": "default", "uid": name}
            spec = {"devices": {"requests": requests}}
            claim = self.server.store(
                codec.from_builtins({"metadata": meta, "spec": spec, "status": {}}, api.ResourceClaim)
            )
            self.tell(100)  # who is decided for has been seen
        devices = self.world.devices
        search = Search(devices.inventory, devices.taken, devices.classes, devices.seen)
        found = search.run([claim], devices.inventory.on("n", {}))
        if found is None:
            return
        work = [Reserve(claim, "n", allocation(found[0], devices.inventory, CLASSES, "n"), mappings)]
        devices.promise(work)
        self.tasks.append(asyncio.create_task(self._write(work, pod)))

    async def _write(self, work: list[Reserve], pod: PodInfo) -> None:
        with contextlib.suppress(Exception):  # the pod would be tried again
            done = await self.reserving.run(work, pod)
            if pod.key[1].endswith("3"):  # a binding that fails
                await self.reserving.undo(done, pod)


STEPS = st.lists(
    st.sampled_from(["decide", "special", "tell", "turn", "turn", "end"]), min_size=3, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(STEPS, FATES)
def test_no_device_is_given_twice_whatever_fails(steps: list[str], fates: list[str]) -> None:
    bench = Bench(fates)
    asyncio.run(bench.run(steps))
    # In the end the ledger believes what the server holds, and nothing is promised any more.
    devices = bench.world.devices
    held = {r.device for c in bench.server.claims.values() if c.status.allocation for r in _results(c)}
    assert {device.device for device in devices.taken.devices} == held
    assert not devices.unsettled


def test_a_claim_for_extended_resources_goes_when_its_pod_cannot_be_told() -> None:
    bench = Bench(["ok", "ok", "ok", "refused"])  # made, protected, allocated; the pod's status is refused
    asyncio.run(bench.run(["special"]))
    assert not bench.server.claims
    assert not bench.world.devices.taken.devices


def test_a_claim_for_extended_resources_is_made_for_good() -> None:
    bench = Bench([])
    asyncio.run(bench.run(["special"]))
    (claim,) = bench.server.claims.values()
    assert claim.metadata.name.startswith("p0-extended-resources-")
    assert claim.metadata.finalizers == ["resource.kubernetes.io/delete-protection"]
    assert [user.name for user in claim.status.reservedFor] == ["p0"]
    told = bench.server.pods["p0"]["status"]["extendedResourceClaimStatus"]
    assert told["resourceClaimName"] == claim.metadata.name
