"""Claims on a node: a driver on real sockets prepares them; containers get what its CDI files say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.node.agent import Agent
from sampan.node.config import AgentConfig
from sampan.node.drivers import cdifiles, registry, slices
from sampan.node.drivers.cdi import CdiError, edits_of
from sampan.node.node_info import MachineInfo
from sampan.node.runtimes.runtime import ContainerSpec, DeviceNode, Mount, SandboxSpec
from sampan.node.runtimes.simulated import SimulatedRuntime
from tests.fakes.drivers import DraDriver
from tests.unit.node.fakes import FakeApi, container, make_pod, pod_path

MACHINE = MachineInfo(cpus=4, memory_bytes=8 << 30, disk_bytes=100 << 30)
DRIVER = "gpu.example.com"


class Runtime(SimulatedRuntime):
    """Remembers what containers it was asked for."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), RandomIds())
        self.made: list[ContainerSpec] = []

    async def create_container(self, sandbox_id: str, sandbox: SandboxSpec, spec: ContainerSpec) -> str:
        self.made.append(spec)
        return await super().create_container(sandbox_id, sandbox, spec)

    def env(self, name: str = "app") -> dict[str, str]:
        return dict(next(spec.env for spec in reversed(self.made) if spec.name == name))


class Bench:
    """An agent on a directory of its own, with a driver."""

    def __init__(self, root: Path, **driver: Any) -> None:
        self.root = root
        self.cdi = root / "cdi"
        self.api = FakeApi()
        self.runtime = Runtime()
        self.driver = DraDriver(root, self.cdi, **driver)
        self.events: list[tuple[str, str]] = []
        self._task: asyncio.Task[None] | None = None

    def _record(self, about: Any, type: str, reason: str, message: str, **_: Any) -> None:
        self.events.append((reason, message))

    async def start_agent(self) -> None:
        config = AgentConfig(
            node_name="node-1",
            node_ips=("192.0.2.1",),
            root_dir=str(self.root),
            log_dir=str(self.root / "logs"),
        )
        self.agent = Agent(
            self.api.client, self.runtime, config, SystemClock(), record=self._record, machine=MACHINE
        )
        self._task = asyncio.create_task(self.agent.run())

    async def stop_agent(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def claim(self, name: str = "mine", *users: str, uid: str = "") -> None:
        result = {"request": "one", "driver": DRIVER, "pool": "node-1", "device": "gpu-0"}
        self.api._put(
            f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{name}",
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": {"name": name, "namespace": "default", "uid": uid or f"{name}-uid"},
                "spec": {},
                "status": {
                    "allocation": {"devices": {"results": [result]}},
                    "reservedFor": [{"resource": "pods", "name": u, "uid": f"{u}-uid"} for u in users],
                },
            },
            "ADDED",
        )

    def pod(self, name: str = "web", claim: str = "mine", **used: Any) -> None:
        containers = [container(resources={"claims": [{"name": "gpu", **used}]}), container("other")]
        pod = make_pod(
            name, containers=containers, resourceClaims=[{"name": "gpu", "resourceClaimName": claim}]
        )
        self.api.put(pod_path(name), pod)

    def phase(self, name: str = "web") -> str:
        return self.api.pod(name).status.phase or ""

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - many sides, none of which tells
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "CHECK_S", 0.02)
    monkeypatch.setattr(registry, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(cdifiles, "DIRECTORIES", (str(tmp_path / "cdi"),))


def run(root: Path, test: Callable[[Bench], Awaitable[None]], **driver: Any) -> None:
    async def main() -> None:
        bench = Bench(root, **driver)
        await bench.start_agent()
        await bench.driver.start()
        try:
            await test(bench)
        finally:
            await bench.stop_agent()
            await bench.driver.stop()
            await bench.runtime.close()

    asyncio.run(main())


EDITS = {
    "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw"}],
    "mounts": [{"hostPath": "/opt/gpu", "containerPath": "/usr/lib/gpu", "options": ["ro", "bind"]}],
    "additionalGids": [44],
}


def test_a_claim_is_prepared_before_and_unprepared_after_its_pod(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        bench.claim("mine", "web")
        bench.pod()
        await bench.until(lambda: bench.phase() == "Running")
        assert bench.driver.calls == [("prepare", "mine")]
        env = bench.runtime.env()
        assert (env["GPU_ONE"], env["CDI"]) == ("mine", "yes")
        assert "GPU_ONE" not in bench.runtime.env("other")
        (made,) = [spec for spec in bench.runtime.made if spec.name == "app"]
        assert made.devices == (DeviceNode("/dev/null", "/dev/gpu0", "rw"),)
        assert Mount("/opt/gpu", "/usr/lib/gpu", True) in made.mounts
        assert made.security.supplemental_groups == (44,)
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: pod_path() not in bench.api.objects)
        assert bench.driver.calls == [("prepare", "mine"), ("unprepare", "mine")]

    run(tmp_path, scenario, edits=EDITS)


def test_a_driver_that_is_late_or_fails_is_asked_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.driver.stop()
        bench.claim("mine", "web")
        bench.pod()
        why = "Failed to prepare dynamic resources: DRA driver gpu.example.com is not registered"
        await bench.until(lambda: ("FailedPrepareDynamicResources", why) in bench.events)
        bench.driver.failing = "no power"
        await bench.driver.start()
        await bench.until(lambda: any("for claim mine: no power" in text for _, text in bench.events))
        assert bench.phase() == "Pending"
        bench.driver.failing = ""
        await bench.until(lambda: bench.phase() == "Running")

    run(tmp_path, scenario)


def test_a_pod_whose_driver_never_came_can_go_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.driver.stop()
        bench.claim("mine", "web")
        bench.pod()
        await bench.until(lambda: any("is not registered" in text for _, text in bench.events))
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: pod_path() not in bench.api.objects)
        await bench.driver.start()

    run(tmp_path, scenario)


def test_a_claim_waits_until_its_namesake_is_unprepared(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        bench.claim("mine", "old")
        bench.pod("old")
        await bench.until(lambda: bench.phase("old") == "Running")
        bench.claim("mine", "new", uid="new-claim")
        bench.pod("new")
        why = "old ResourceClaim with same name mine and different UID mine-uid still exists"
        await bench.until(lambda: any(why in text for _, text in bench.events))
        bench.api.mark_deleted("old", grace_s=1)
        await bench.until(lambda: bench.phase("new") == "Running")
        assert bench.driver.calls[1:] == [("unprepare", "mine"), ("prepare", "mine")]

    run(tmp_path, scenario)


def test_a_claim_of_two_pods_is_unprepared_with_the_last(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.claim("mine", "web", "api")
        bench.pod("web")
        bench.pod("api")
        await bench.until(lambda: {bench.phase("web"), bench.phase("api")} == {"Running"})
        assert bench.driver.calls == [("prepare", "mine")]
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: pod_path("web") not in bench.api.objects)
        assert bench.driver.calls == [("prepare", "mine")]
        bench.api.mark_deleted("api", grace_s=1)
        await bench.until(lambda: pod_path("api") not in bench.api.objects)
        assert bench.driver.calls[1:] == [("unprepare", "mine")]

    run(tmp_path, scenario)


def test_an_agent_that_begins_again_unprepares_what_is_left(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for name, user in (("mine", "web"), ("theirs", "gone")):
            bench.claim(name, user)
            bench.pod(user, name)
        await bench.until(lambda: {bench.phase("web"), bench.phase("gone")} == {"Running"})
        await bench.stop_agent()
        bench.api.remove(pod_path("gone"))
        listing = await bench.runtime.list()
        (sandbox,) = [sandbox for sandbox in listing.sandboxes if sandbox.name == "gone"]
        await bench.runtime.remove_sandbox(sandbox.id)  # nothing but the agent's own file knows of it
        await bench.start_agent()
        await bench.until(lambda: ("unprepare", "theirs") in bench.driver.calls)
        assert bench.driver.calls.count(("prepare", "mine")) == 1
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: ("unprepare", "mine") in bench.driver.calls)

    run(tmp_path, scenario)


def test_containers_get_the_devices_of_their_requests(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.driver.requests = ("one/big", "two")
        bench.claim("mine", "web")
        bench.pod(request="one")
        await bench.until(lambda: bench.phase() == "Running")
        env = bench.runtime.env()
        assert env["GPU_ONE/BIG"] == "mine" and "GPU_TWO" not in env

    run(tmp_path, scenario)


def test_a_claim_for_extended_resources_is_used_as_mapped(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.driver.requests = ("container-0-request-0",)
        bench.claim("made", "web")
        asked = {"requests": {"example.com/gpu": "1"}}
        mapping = {
            "containerName": "app",
            "resourceName": "example.com/gpu",
            "requestName": "container-0-request-0",
        }
        status = {"extendedResourceClaimStatus": {"resourceClaimName": "made", "requestMappings": [mapping]}}
        pod = make_pod(containers=[container(resources=asked), container("other")], status=status)
        bench.api.put(pod_path(), pod)
        await bench.until(lambda: bench.phase() == "Running")
        assert bench.runtime.env()["GPU_CONTAINER-0-REQUEST-0"] == "made"
        assert "CDI" not in bench.runtime.env("other")

    run(tmp_path, scenario)


def test_a_pod_that_may_not_use_the_claim_waits(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.claim("mine", "somebody")
        bench.pod()
        why = "Failed to prepare dynamic resources: pod web is not allowed to use resource claim mine"
        await bench.until(lambda: ("FailedPrepareDynamicResources", why) in bench.events)
        assert not bench.driver.calls

    run(tmp_path, scenario)


def test_a_driver_of_another_version_is_told(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.driver.stop()
        bench.driver.registrar._info["supported_versions"] = ("v9.DRAPlugin",)
        await bench.driver.registrar.server.start()
        await bench.until(lambda: bool(bench.driver.registrar.told))
        registered, why = bench.driver.registrar.told[0]
        assert not registered and "wants one of v1.DRAPlugin, v1beta1.DRAPlugin" in why
        await bench.driver.registrar.server.stop()

    run(tmp_path, scenario)


def test_an_update_of_a_driver_leaves_the_new_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        assert bench.agent._drivers is not None
        claims = bench.agent._drivers.claims
        (old,) = (each.endpoint for each in claims.drivers.values())
        await claims.register(DRIVER, f"{old}.new", ("v1.DRAPlugin",))
        await claims.deregister(DRIVER, old)
        assert claims.drivers[DRIVER].endpoint == f"{old}.new"
        await claims.deregister(DRIVER, f"{old}.new")
        assert not claims.drivers

    run(tmp_path, scenario)


def test_slices_go_with_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/apis/resource.k8s.io/v1/resourceslices/"

    async def scenario(bench: Bench) -> None:
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        for name, driver in (("a", DRIVER), ("b", "other.example.com")):
            whole = {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": name, "uid": name},
                "spec": {"driver": driver, "nodeName": "node-1"},
            }
            bench.api._put(path + name, whole, "ADDED")
        # What is left of a driver that did not come back after a restart of the agent.
        assert bench.agent._drivers is not None
        await bench.agent._drivers._slices._wipe("")
        assert path + "a" in bench.api.objects and path + "b" not in bench.api.objects
        monkeypatch.setattr(slices, "WIPE_AFTER_S", 0)
        await bench.driver.stop()
        await bench.until(lambda: path + "a" not in bench.api.objects)

    run(tmp_path, scenario)


# -- CDI files ---------------------------------------------------------------------------------------------


def write(directory: Path, name: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)


def test_cdi_files_of_the_second_directory_hide_those_of_the_first(tmp_path: Path) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    text = 'cdiVersion: "0.6.0"\nkind: v.com/c\ndevices:\n- name: d\n  containerEdits:\n    env: [FROM={}]\n'
    write(first, "a.yaml", text.format("etc"))
    write(second, "b.yaml", text.format("run"))
    write(second, "broken.json", "{")
    read = partial(cdifiles.read, (str(first), str(second)))
    assert edits_of(["v.com/c=d"], read()).env == {"FROM": "run"}
    write(second, "c.yaml", text.format("twice"))
    with pytest.raises(CdiError, match="it is both in"):
        edits_of(["v.com/c=d"], read())


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ('{"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}', "wants hooks run"),
        ('{"netDevices": [{"hostInterfaceName": "eth1", "name": "eth1"}]}', "network devices"),
        ('{"mounts": [{"hostPath": "t", "containerPath": "/t", "type": "tmpfs"}]}', "a mount of type tmpfs"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, device: str, why: str) -> None:
    kind = '"cdiVersion": "0.6.0", "kind": "v.com/c"'
    write(tmp_path / "cdi", "a.json", f'{{{kind}, "devices": [{{"name": "d", "containerEdits": {device}}}]}}')
    files = cdifiles.read((str(tmp_path / "cdi"),))
    with pytest.raises(CdiError, match=why):
        edits_of(["v.com/c=d"], files)
    with pytest.raises(CdiError, match=r"unresolvable CDI device v\.com/c=e"):
        edits_of(["v.com/c=e"], files)
