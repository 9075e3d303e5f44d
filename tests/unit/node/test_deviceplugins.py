"""Device plugins: what they list is in the node's status; what they allocate is done to containers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.node.drivers.deviceplan import Choice, Held, TooFew, Wanted, choice, chosen, wanted
from sampan.node.drivers.deviceplugins import STOPPED_S, DevicePlugins
from tests.fakes.drivers import DevicePlugin
from tests.unit.node.fakes import container, make_pod, pod_path
from tests.unit.node.test_claims import Bench, _quick, run

__all__ = ["_quick"]
RESOURCE = "example.com/cam"


def asking(count: int, name: str = "app", **more: Any) -> dict[str, Any]:
    return container(name, resources={"limits": {RESOURCE: str(count)}}, **more)


def amounts(bench: Bench) -> tuple[str, str]:
    status = bench.api.objects["/api/v1/nodes/node-1"]["status"]
    return status["capacity"].get(RESOURCE, ""), status["allocatable"].get(RESOURCE, "")


async def plugged(bench: Bench, **given: Any) -> DevicePlugin:
    plugin = DevicePlugin(
        bench.root / "device-plugins", RESOURCE, {"a": True, "b": True, "c": False}, **given
    )
    await bench.until((bench.root / "device-plugins" / "kubelet.sock").exists)
    await plugin.start()
    await bench.until(lambda: amounts(bench) == ("3", "2"))
    return plugin


def test_devices_are_offered_and_given_away(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench)
        bench.api.put(pod_path(), make_pod(containers=[asking(1), container("other")]))
        await bench.until(lambda: bench.phase() == "Running")
        assert plugin.allocated == [("a",)]
        (made,) = [spec for spec in bench.runtime.made if spec.name == "app"]
        assert dict(made.env)["CAM"] == "a"
        assert [(d.host_path, d.container_path, d.permissions) for d in made.devices] == [
            ("/dev/null", "/dev/cam-a", "rw")
        ]
        assert [(m.host_path, m.readonly) for m in made.mounts if m.container_path == "/opt/cam"] == [
            ("/tmp", True)
        ]
        assert made.annotations["cam"] == "a"
        assert "CAM" not in bench.runtime.env("other")
        bench.api.mark_deleted("web", grace_s=1)
        await bench.until(lambda: pod_path() not in bench.api.objects)
        bench.api.put(pod_path("next"), make_pod("next", containers=[asking(2)]))
        await bench.until(lambda: bench.phase("next") == "Running")
        assert plugin.allocated == [("a",), ("a", "b")]
        plugin.list({"a": False, "b": False, "c": False, "d": True})
        await bench.until(lambda: amounts(bench) == ("4", "1"))
        await plugin.stop()
        await bench.until(lambda: amounts(bench) == ("4", "0"))

    run(tmp_path, scenario)


def test_what_containers_have_outlives_the_agent(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench)
        bench.api.put(pod_path(), make_pod(containers=[asking(1)]))
        await bench.until(lambda: bench.phase() == "Running")
        await bench.stop_agent()
        await bench.start_agent()
        await bench.until(lambda: amounts(bench) == ("0", "0"))
        await plugin.stop()
        plugin = await plugged(bench)
        bench.api.put(pod_path("next"), make_pod("next", containers=[asking(1)]))
        await bench.until(lambda: bench.phase("next") == "Running")
        assert plugin.allocated == [("b",)]
        await plugin.stop()

    run(tmp_path, scenario)


def test_a_plugin_says_what_it_prefers_and_is_told_of_starts(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench, prefers=("b",), pre_start=True)
        bench.api.put(pod_path(), make_pod(containers=[asking(1)]))
        await bench.until(lambda: bench.phase() == "Running")
        assert (plugin.allocated, plugin.started) == ([("b",)], [("b",)])
        await plugin.stop()

    run(tmp_path, scenario)


def test_nobody_waits_for_a_plugin_that_goes_and_an_update_leaves_the_new_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = SimulatedClock()
        plugins = DevicePlugins(clock, str(tmp_path), lambda: None)
        old, new = str(tmp_path / "old.sock"), str(tmp_path / "new.sock")
        plugins._add(RESOURCE, old, False, False)
        plugins._add(RESOURCE, new, False, False)
        await plugins.deregister(RESOURCE, old)
        await asyncio.sleep(0)
        assert RESOURCE in plugins._plugins
        # The clock stands still: its devices count for minutes, and the call returns at once.
        await asyncio.wait_for(plugins.deregister(RESOURCE, new), 5)
        while plugins._tasks:
            await asyncio.sleep(0.01)
            await clock.advance(STOPPED_S)
        assert RESOURCE not in plugins._plugins

    asyncio.run(scenario())


def test_a_data_directory_may_be_longer_than_a_socket_s_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)

    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench)
        bench.api.put(pod_path(), make_pod(containers=[asking(1)]))
        await bench.until(lambda: bench.phase() == "Running")
        await plugin.stop()

    run(deep, scenario)


def test_a_pod_waits_while_its_plugin_refuses(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench)
        plugin.failing = "too hot"
        bench.api.put(pod_path(), make_pod(containers=[asking(2)]))
        await bench.until(
            lambda: any(r == "UnexpectedAdmissionError" and "too hot" in m for r, m in bench.events)
        )
        plugin.failing = ""
        await bench.until(lambda: bench.phase() == "Running")
        await plugin.stop()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("version", "resource", "why"),
    [
        ("v1alpha1", RESOURCE, 'requested API version "v1alpha1" is not supported by kubelet'),
        ("v1beta1", "cam", 'the ResourceName "cam" is invalid'),
    ],
)
def test_what_cannot_be_registered_is_told(tmp_path: Path, version: str, resource: str, why: str) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = DevicePlugin(bench.root / "device-plugins", resource, {}, version=version)
        await bench.until((bench.root / "device-plugins" / "kubelet.sock").exists)
        with pytest.raises(Exception, match=why):
            await plugin.start()
        await plugin.stop()

    run(tmp_path, scenario)


# -- what is chosen ----------------------------------------------------------------------------------------


def test_what_init_containers_have_is_lent_to_later_ones() -> None:
    pod = make_pod(
        containers=[asking(1)],
        initContainers=[asking(2, "first"), asking(1, "beside", restartPolicy="Always")],
    )
    assert wanted(pod, {RESOURCE}) == [
        Wanted("first", RESOURCE, 2, True),
        Wanted("beside", RESOURCE, 1, False),
        Wanted("app", RESOURCE, 1, False),
    ]
    held = [Held("web-uid", "first", RESOURCE, ("a", "b"))]
    found = choice(Wanted("app", RESOURCE, 1, False), ("a", "b", "c"), held, {"a", "b"})
    assert chosen(found) == ("a",)
    with pytest.raises(TooFew):
        choice(Wanted("app", RESOURCE, 2, False), ("a", "b", "c"), held, ())


@pytest.mark.parametrize(
    ("preferred", "taken"),
    [
        ((), ("a", "b")),
        (("a", "c"), ("a", "c")),
        (("c", "d"), ("a", "b")),  # not what must be taken
        (("a", "z"), ("a", "b")),  # not what there is
        (("a",), ("a", "b")),  # not as many
    ],
)
def test_a_preference_counts_where_it_makes_sense(preferred: tuple[str, ...], taken: tuple[str, ...]) -> None:
    assert chosen(Choice(("a",), ("a", "b", "c", "d"), 2), preferred) == taken
