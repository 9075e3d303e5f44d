"""The health of devices: what plugins and drivers report is in the status of the pods that have them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.kinds.core.allocated_validation import HEALTHY, UNHEALTHY, UNKNOWN
from sampan.node.config import AgentConfig
from sampan.node.drivers import checkpoint, health
from sampan.node.drivers.claimplan import Device, Prepared
from sampan.node.drivers.deviceplan import Held
from sampan.node.drivers.health import Health, claim_statuses, learned, next_end, plugin_statuses, report
from sampan.node.drivers.healthwatch import RETRY_S, HealthWatch
from sampan.node.drivers.node import Drivers
from sampan.node.drivers.server import Server
from sampan.node.machine import new_state, step
from sampan.node.messages import Observed
from sampan.node.model import NodeFacts, Volumes
from sampan.schema import api, codec
from tests.fakes.drivers import HealthReports
from tests.unit.node.fakes import FakeApi, container, make_pod, pod_path
from tests.unit.node.test_claims import DRIVER, Bench, _quick, run
from tests.unit.node.test_deviceplugins import RESOURCE, asking, plugged

__all__ = ["_quick"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG = {"health_check_timeout_seconds": 3600}


def shown(bench: Bench, pod: str = "web", name: str = "app") -> dict[str, list[tuple[str, str, str | None]]]:
    """By resource, the devices that the pod's status shows: id, health, message."""
    status = bench.api.pod(pod).status
    (mine,) = [c for c in status.containerStatuses if c.name == name]
    return {
        each.name: [(r.resourceID, r.health or "", r.message) for r in each.resources]
        for each in mine.allocatedResourcesStatus
    }


# --- as a node does it ------------------------------------------------------------------------------------


def test_the_status_shows_how_devices_of_plugins_are(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench)
        bench.api.put(pod_path(), make_pod(containers=[asking(2), container("other")]))
        await bench.until(lambda: bench.phase() == "Running")
        assert shown(bench) == {RESOURCE: [("a", HEALTHY, None), ("b", HEALTHY, None)]}
        assert shown(bench, name="other") == {}
        plugin.list({"a": False, "b": True, "c": True})
        await bench.until(lambda: shown(bench) == {RESOURCE: [("a", UNHEALTHY, None), ("b", HEALTHY, None)]})
        plugin.list({"a": True, "b": True})
        await bench.until(lambda: shown(bench) == {RESOURCE: [("a", HEALTHY, None), ("b", HEALTHY, None)]})
        await plugin.stop()

    run(tmp_path, scenario)


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_the_status_shows_how_devices_of_claims_are(tmp_path: Path, version: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.driver.requests = ("one", "two")
        bench.claim("mine", "web")
        bench.driver.reports.say(
            gpu_one={"health": 1, **LONG}, gpu_two={"health": 2, "message": "too hot", **LONG}
        )
        await bench.until(lambda: bench.driver.reports.streams == 1)
        bench.pod(request="two")
        await bench.until(lambda: bench.phase() == "Running")
        device = f"{DRIVER}/gpu=mine-uid-two"
        await bench.until(lambda: shown(bench) == {"claim:gpu/two": [(device, UNHEALTHY, "too hot")]})
        assert shown(bench, name="other") == {}
        bench.driver.reports.say(gpu_one={"health": 1}, gpu_two={"health": 1, **LONG})
        await bench.until(lambda: shown(bench) == {"claim:gpu/two": [(device, HEALTHY, None)]})
        await bench.driver.stop()
        await bench.until(lambda: shown(bench) == {"claim:gpu/two": [(device, UNKNOWN, None)]})

    run(tmp_path, scenario, health=version)


def test_a_driver_that_reports_nothing_leaves_it_unknown(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        bench.claim("mine", "web")
        bench.pod()
        await bench.until(lambda: bench.phase() == "Running")
        assert shown(bench) == {"claim:gpu": [(f"{DRIVER}/gpu=mine-uid-one", UNKNOWN, None)]}

    run(tmp_path, scenario)


def test_what_is_known_outlives_the_agent(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench)
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        bench.claim("mine", "web")
        bench.driver.reports.say(gpu_one={"health": 2, "message": "dusty", **LONG})
        both = container(resources={"claims": [{"name": "gpu"}], "limits": {RESOURCE: "1"}})
        claims = [{"name": "gpu", "resourceClaimName": "mine"}]
        bench.api.put(pod_path(), make_pod(containers=[both], resourceClaims=claims))
        known = {
            RESOURCE: [("a", HEALTHY, None)],
            "claim:gpu": [(f"{DRIVER}/gpu=mine-uid-one", UNHEALTHY, "dusty")],
        }
        await bench.until(lambda: bench.phase() == "Running" and shown(bench) == known)
        await bench.stop_agent()
        await bench.driver.stop()
        await plugin.stop()
        await bench.start_agent()  # and neither of them comes back
        workers = bench.agent.host.workers
        await bench.until(lambda: "web-uid" in workers and workers["web-uid"].state.volumes is Volumes.READY)
        status = workers["web-uid"].state.reported
        assert status is not None
        assert status.containerStatuses[0].allocatedResourcesStatus
        assert status.containerStatuses == bench.api.pod("web").status.containerStatuses
        assert shown(bench) == known

    run(tmp_path, scenario, health="v1")


def test_the_files_tell_what_was_known(tmp_path: Path) -> None:
    """An agent that begins again reads from files what it told before."""
    pod = make_pod(
        containers=[container(resources={"claims": [{"name": "gpu"}], "limits": {RESOURCE: "1"}})],
        resourceClaims=[{"name": "gpu", "resourceClaimName": "mine"}],
    )
    clock = SimulatedClock()
    (tmp_path / "device-plugins").mkdir()
    gpu = Prepared(
        "default", "mine", "mine-uid", ("d",), ("web-uid",), {"d": (Device((), "p", "a", ("v/c=a",)),)}
    )
    cam = {"pod": "web-uid", "container": "app", "resource": RESOURCE, "devices": ["a"], "edits": {}}
    known = Health("p", "a", UNHEALTHY, clock.now(), 60, "dusty")
    checkpoint.save(tmp_path / "dra_manager_state", (gpu,))
    checkpoint.save(tmp_path / "dra_health_state", {"d": (known,)})
    checkpoint.save(tmp_path / "device-plugins" / "kubelet_internal_checkpoint", {"held": [cam]})

    async def scenario() -> None:
        config = AgentConfig(node_name="node-1", node_ips=("192.0.2.1",), root_dir=str(tmp_path))
        drivers = Drivers(FakeApi().client, clock, config, lambda: None, lambda pods: None)
        cameras = {"name": RESOURCE, "resources": [{"resourceID": "a", "health": HEALTHY}]}
        gpus = {"resourceID": "v/c=a", "health": UNHEALTHY, "message": "dusty"}
        expected = {"app": [cameras, {"name": "claim:gpu", "resources": [gpus]}]}
        assert codec.to_builtins(drivers.health(pod)) == expected
        await clock.advance(60)
        assert codec.to_builtins(drivers.health(pod)) == {
            "app": [
                cameras,
                {"name": "claim:gpu", "resources": [{"resourceID": "v/c=a", "health": UNKNOWN}]},
            ]
        }

    asyncio.run(scenario())


def test_what_was_told_of_a_pod_that_is_over_stays() -> None:
    told = [{"name": RESOURCE, "resources": [{"resourceID": "a", "health": UNHEALTHY}]}]
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    shown = {"name": "app", "image": "app:1", "imageID": "", "ready": False, "restartCount": 0}
    pod = make_pod(
        status={
            "phase": "Succeeded",
            "containerStatuses": [{**shown, "state": ended, "allocatedResourcesStatus": told}],
        }
    )
    facts = NodeFacts(name="node-1", ips=("192.0.2.1",))
    state, _ = step(new_state(pod, facts), Observed((), (), NOW), NOW)
    assert state.reported is not None
    assert codec.to_builtins(state.reported.containerStatuses[0].allocatedResourcesStatus) == told


# --- the watch --------------------------------------------------------------------------------------------


class Watched:
    """A HealthWatch on a clock that a test moves, and a driver's health service."""

    def __init__(self, root: Path) -> None:
        self.clock = SimulatedClock()
        self.changes: list[str] = []
        self.file = root / "dra_health_state"
        self.socket = str(root / "dra.sock")
        self.reports = HealthReports("v1")
        self.server = Server(self.socket, self.reports.served)
        self.watch = self.fresh()

    def fresh(self) -> HealthWatch:
        return HealthWatch(self.clock, self.file, self.changes.append)

    def health(self, device: str = "gpu-0") -> str:
        known = self.watch.known.get(DRIVER, {}).get(("node-1", device))
        return UNKNOWN if known is None or known.until <= self.clock.now() else known.health

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the other side is a stream that does not tell
                await asyncio.sleep(0.005)


def watched(root: Path, test: Any) -> None:
    async def main() -> None:
        bench = Watched(root)
        await bench.server.start()
        running = asyncio.create_task(bench.watch.run())
        try:
            await test(bench)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bench.server.stop()

    asyncio.run(main())


def test_a_report_holds_for_its_time(tmp_path: Path) -> None:
    async def scenario(bench: Watched) -> None:
        bench.reports.say(gpu_0={"health": 1}, gpu_1={"health": 2, "health_check_timeout_seconds": 100})
        bench.watch.watch(DRIVER, bench.socket, ("v1.DRAResourceHealth",))
        await bench.until(lambda: bench.changes)
        assert (bench.health(), bench.health("gpu-1")) == (HEALTHY, UNHEALTHY)
        bench.changes.clear()
        await bench.clock.advance(29)
        assert (bench.health(), bench.changes) == (HEALTHY, [])
        await bench.clock.advance(1)
        assert (bench.health(), bench.changes) == (UNKNOWN, [DRIVER])
        bench.reports.say(gpu_0={"health": 1})
        await bench.until(lambda: bench.health() == HEALTHY)
        assert bench.changes == [DRIVER, DRIVER]
        await bench.clock.advance(70)  # the other one is not in the report, and its time is over
        assert bench.health("gpu-1") == UNKNOWN

    watched(tmp_path, scenario)


def test_a_stream_that_ends_is_asked_for_again(tmp_path: Path) -> None:
    async def scenario(bench: Watched) -> None:
        bench.reports.say(gpu_0={"health": 1})
        bench.watch.watch(DRIVER, bench.socket, ("v1alpha1.DRAResourceHealth", "v1.DRAResourceHealth"))
        await bench.until(lambda: bench.health() == HEALTHY)
        bench.reports.end()
        await bench.until(lambda: bench.health() == UNKNOWN)
        assert bench.reports.streams == 1
        await bench.clock.advance(RETRY_S)
        await bench.until(lambda: bench.health() == HEALTHY)
        assert bench.reports.streams == 2

    watched(tmp_path, scenario)


def test_a_driver_without_the_service_is_asked_once(tmp_path: Path) -> None:
    async def scenario(bench: Watched) -> None:
        bench.watch.watch(DRIVER, bench.socket, ("v1alpha1.DRAResourceHealth",))
        (stream,) = bench.watch._tasks
        await asyncio.wait_for(stream, 30)
        bench.watch.watch(DRIVER, bench.socket, ("v1.DRAPlugin",))
        assert not bench.watch._tasks

    watched(tmp_path, scenario)


def test_the_file_has_what_was_known_and_forgets_drivers_that_go(tmp_path: Path) -> None:
    async def scenario(bench: Watched) -> None:
        bench.reports.say(gpu_0={"health": 2, "message": "dusty"})
        bench.watch.watch(DRIVER, bench.socket, ("v1.DRAResourceHealth",))
        await bench.until(lambda: bench.health() == UNHEALTHY)
        assert bench.fresh().known == bench.watch.known
        bench.watch.unwatch(DRIVER)
        assert bench.fresh().known == bench.watch.known == {}
        bench.file.write_text("{")
        assert bench.fresh().known == {}

    watched(tmp_path, scenario)


# --- plans ------------------------------------------------------------------------------------------------


def seen(
    device: str, state: str = HEALTHY, *, at_s: int = 0, timeout_s: int = 30, message: str = ""
) -> Health:
    return Health("p", device, state, NOW + timedelta(seconds=at_s), timeout_s, message)


@pytest.mark.parametrize(
    ("before", "reports", "at_s", "left", "changed"),
    [
        ([], [seen("a")], 0, [seen("a")], True),
        ([seen("a")], [seen("a", at_s=5)], 5, [seen("a", at_s=5)], False),
        ([seen("a")], [seen("a", at_s=30)], 30, [seen("a", at_s=30)], True),  # it was unknown meanwhile
        ([seen("a")], [seen("a", UNHEALTHY)], 1, [seen("a", UNHEALTHY)], True),
        ([seen("a")], [seen("a", message="!")], 1, [seen("a", message="!")], True),
        ([seen("a")], [seen("a", timeout_s=9)], 1, [seen("a", timeout_s=9)], True),
        ([seen("a")], [], 29, [seen("a")], False),
        ([seen("a")], [], 30, [], True),
    ],
)
def test_what_a_report_changes(
    before: list[Health], reports: list[Health], at_s: int, left: list[Health], changed: bool
) -> None:
    found = learned({each.key: each for each in before}, reports, NOW + timedelta(seconds=at_s))
    assert found == ({each.key: each for each in left}, changed)


def test_no_driver_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST_DEVICES", 2)
    known, _ = learned({}, [seen("a"), seen("b"), seen("c")], NOW)
    assert [device for _, device in known] == ["a", "b"]
    known, _ = learned(known, [seen("c"), seen("a", UNHEALTHY)], NOW)
    assert [each.health for each in known.values()] == [UNHEALTHY, HEALTHY]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("x" * 1024, "x" * 1024), ("x" * 1025, "x" * 1021 + "..."), ("\u00e9" * 600, "\u00e9" * 510 + "...")],
)
def test_messages_have_a_longest_length(given: str, kept: str) -> None:
    assert report("p", "a", HEALTHY, NOW, message=given).message == kept


def test_the_next_end_is_the_nearest_to_come() -> None:
    known = {"d": {("p", "a"): seen("a"), ("p", "b"): seen("b", timeout_s=60)}, "e": {}}
    assert next_end(known, NOW) == NOW + timedelta(seconds=30)
    assert next_end(known, NOW + timedelta(seconds=30)) == NOW + timedelta(seconds=60)
    assert next_end(known, NOW + timedelta(seconds=60)) is None


def test_a_timeout_below_zero_is_the_default() -> None:
    assert report("p", "a", HEALTHY, NOW, timeout_s=-1) == seen("a")


def test_devices_that_a_plugin_does_not_list_count_as_healthy() -> None:
    held = [Held("u", "app", "e.com/b", ("2", "1")), Held("u", "app", "e.com/a", ("1",))]
    found = plugin_statuses(held, {"e.com/b": {"1": False, "3": True}})
    assert codec.to_builtins(found) == {
        "app": [
            {"name": "e.com/a", "resources": [{"resourceID": "1", "health": HEALTHY}]},
            {
                "name": "e.com/b",
                "resources": [
                    {"resourceID": "1", "health": UNHEALTHY},
                    {"resourceID": "2", "health": HEALTHY},
                ],
            },
        ]
    }


def test_devices_of_claims_are_named_as_kubelet_names_them() -> None:
    pod = codec.from_builtins(
        make_pod(
            containers=[
                container(
                    resources={"claims": [{"name": "c", "request": "r"}, {"name": "t"}, {"name": "unknown"}]}
                )
            ],
            resourceClaims=[
                {"name": "c", "resourceClaimName": "mine"},
                {"name": "t", "resourceClaimTemplateName": "tmpl"},
                {"name": "unknown", "resourceClaimTemplateName": "tmpl"},
            ],
        ),
        api.Pod,
    )
    pod.status.resourceClaimStatuses = [api.PodResourceClaimStatus(name="t", resourceClaimName="made")]
    prepared = [
        Prepared(
            "ns",
            "mine",
            "1",
            ("d",),
            devices={
                "d": (
                    Device(("r/sub",), "p", "a", ("v/c=x", "v/c=y")),
                    Device(("other",), "p", "b"),
                    Device((), "p", "c", ("v/c=x",)),
                )
            },
        ),
        Prepared(
            "ns", "made", "2", ("d",), devices={"d": (Device(("q",), "p", "b"), Device((), "p", "old"))}
        ),
    ]
    known = {"d": {("p", name): seen(name, UNHEALTHY, message="hot") for name in ("a", "b")}}
    known["d"]["p", "old"] = seen("old", at_s=-30)
    assert codec.to_builtins(claim_statuses(pod, prepared, known, NOW)) == {
        "app": [
            {
                "name": "claim:c/r",
                "resources": [{"resourceID": "v/c=x", "health": UNHEALTHY, "message": "hot"}],
            },
            {
                "name": "claim:t",
                "resources": [
                    {"resourceID": "d/p/b", "health": UNHEALTHY, "message": "hot"},
                    {"resourceID": "d/p/old", "health": UNKNOWN},
                ],
            },
        ]
    }
