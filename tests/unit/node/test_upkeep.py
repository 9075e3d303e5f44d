"""What keeps the disk from filling up: log rotation and the collection of images."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.node.config import AgentConfig
from sampan.node.runtimes.runtime import ContainerSpec, Image, RuntimeFailure, SandboxSpec
from sampan.node.runtimes.simulated import SimulatedRuntime
from sampan.node.upkeep.image_manager import ImageManager
from sampan.node.upkeep.images import Disk, Limits, Seen, bytes_to_free, look, victims
from sampan.node.upkeep.log_manager import ContainerLog, LogManager
from sampan.node.upkeep.rotation import Rotation, outlived, rotation

NOW = datetime(2026, 11, 23, 10, 15, 0, tzinfo=UTC)
MOVED = "0.log.20261123-101500"
EARLIER = [f"0.log.20261123-10140{n}" for n in range(9)]


@pytest.mark.parametrize(
    ("present", "files", "expected"),
    [
        (["0.log"], 5, Rotation(MOVED)),
        (["0.log", EARLIER[0], "1.log", "10.log.20261123-101400"], 5, Rotation(MOVED, (), (EARLIER[0],))),
        # The current one, the one being moved, and three more.
        (
            ["0.log", *(name + ".gz" for name in EARLIER[:3]), EARLIER[3]],
            5,
            Rotation(MOVED, (EARLIER[0] + ".gz",), (EARLIER[3],)),
        ),
        (["0.log", EARLIER[0], EARLIER[1]], 2, Rotation(MOVED, (EARLIER[0], EARLIER[1]))),
        (["0.log", EARLIER[0]], 1, Rotation(MOVED, (EARLIER[0],))),  # kubelet refuses fewer than two
        # An agent was killed while it compressed, or after it and before it removed the original.
        (
            ["0.log", EARLIER[0], EARLIER[0] + ".tmp", EARLIER[1], EARLIER[1] + ".gz"],
            5,
            Rotation(MOVED, (EARLIER[0] + ".tmp", EARLIER[1]), (EARLIER[0],)),
        ),
        (["0.log", MOVED], 5, None),
        (["0.log", MOVED + ".gz"], 5, None),
    ],
)
def test_how_a_log_is_rotated(present: list[str], files: int, expected: Rotation | None) -> None:
    assert rotation("0.log", present, NOW, files) == expected


@settings(deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_no_more_logs_than_allowed_and_the_newest_stay(files: int, pauses_s: list[int]) -> None:
    there, moved, now = {"0.log"}, list[str](), NOW
    for pause_s in pauses_s:
        now += timedelta(seconds=pause_s)
        plan = rotation("0.log", there, now, files)
        assert plan is not None
        assert set(plan.remove) | set(plan.compress) <= there - {"0.log"}
        there = (there - set(plan.remove) - set(plan.compress)) | {n + ".gz" for n in plan.compress}
        there.add(plan.moved_to)
        moved.append(plan.moved_to)
        kept = sorted(name.removesuffix(".gz") for name in there - {"0.log"})
        assert kept == moved[-max(1, files - 1) :]
        assert plan.moved_to in there  # the newest one is not compressed


@pytest.mark.parametrize(
    ("oldest", "gone"),
    [
        (0, []),
        (1, ["0.log", "0.log.20261123-101400.gz"]),
        (3, ["0.log", "0.log.20261123-101400.gz", "2.log"]),
    ],
)
def test_logs_of_containers_that_are_gone(oldest: int, gone: list[str]) -> None:
    present = ["0.log", "0.log.20261123-101400.gz", "2.log", "10.log", "notes", "x1.log"]
    assert outlived(present, oldest) == tuple(gone)


class Runtime(SimulatedRuntime):
    """Images on a disk, logs that can be reopened: what the simulated runtime has not."""

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__(clock, RandomIds())
        self.reopened: list[str] = []
        self.refuses = False
        self.sizes: dict[str, int] = {}
        self.removed: list[str] = []

    async def reopen_log(self, container_id: str) -> None:
        if self.refuses:
            raise RuntimeFailure("NotRunning", f"container {container_id} is not running")
        self.reopened.append(container_id)

    async def image_directory(self) -> str:
        return "/images"

    async def list_images(self) -> Sequence[Image]:
        return [Image(f"sha256:{n}", (n,), (), size) for n, size in self.sizes.items()]

    async def remove_image(self, reference: str) -> None:
        if self.refuses:
            raise RuntimeFailure("ImageDeleteError", "it is busy")
        self.removed.append(reference)
        del self.sizes[reference.removeprefix("sha256:")]

    async def container(self, image: str) -> str:
        spec = SandboxSpec(namespace="default", name="web", uid="u")
        home = await self.run_sandbox(spec)
        return await self.create_container(home, spec, ContainerSpec(name="main", attempt=0, image=image))


def logs(root: Path, most_bytes: int = 10, files: int = 3) -> tuple[LogManager, Runtime, list[ContainerLog]]:
    clock = SimulatedClock(NOW)
    runtime, known = Runtime(clock), list[ContainerLog]()
    config = AgentConfig(node_name="n", node_ips=(), log_most_bytes=most_bytes, log_files=files)
    return LogManager(runtime, clock, config, lambda: known), runtime, known


def test_a_log_is_moved_reopened_compressed_and_in_the_end_removed(tmp_path: Path) -> None:
    manager, runtime, known = logs(tmp_path)
    log = tmp_path / "0.log"
    known.append(ContainerLog("c1", str(log), 0, True))

    async def rounds() -> None:
        for number in range(4):
            log.write_text(f"line {number} is long enough\n")
            await manager.check()
            assert not log.exists()  # the runtime makes it anew
            log.write_text("short")
            await manager.check()
            await manager._clock.advance(1)  # type: ignore[attr-defined]

    asyncio.run(rounds())
    assert runtime.reopened == ["c1"] * 4
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "0.log",
        "0.log.20261123-101502.gz",
        "0.log.20261123-101503",
    ]
    assert gzip.decompress((tmp_path / "0.log.20261123-101502.gz").read_bytes()) == b"line 2 is long enough\n"


@pytest.mark.parametrize(("running", "size"), [(True, 9), (False, 100)])
def test_short_logs_and_those_of_ended_containers_stay(tmp_path: Path, running: bool, size: int) -> None:
    manager, runtime, known = logs(tmp_path)
    (tmp_path / "0.log").write_text("x" * size)
    known.append(ContainerLog("c1", str(tmp_path / "0.log"), 0, running))
    asyncio.run(manager.check())
    assert not runtime.reopened and [p.name for p in tmp_path.iterdir()] == ["0.log"]


def test_a_log_that_cannot_be_reopened_is_put_back_and_does_not_stop_the_others(tmp_path: Path) -> None:
    manager, runtime, known = logs(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.log").write_text("x" * 20)
        known.append(ContainerLog(name, str(tmp_path / name / "0.log"), 0, True))
    known.append(ContainerLog("none", str(tmp_path / "none" / "0.log"), 0, True))
    runtime.refuses = True
    asyncio.run(manager.check())
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.log*")) == ["a/0.log", "b/0.log"]
    runtime.refuses = False
    asyncio.run(manager.check())
    assert runtime.reopened == ["a", "b"]


def test_logs_of_instances_that_are_gone_are_removed_once(tmp_path: Path) -> None:
    manager, _, known = logs(tmp_path)
    for name in ("0.log", "0.log.20261123-101400.gz", "1.log", "2.log"):
        (tmp_path / name).write_text("x")
    known.append(ContainerLog("c", str(tmp_path / "2.log"), 1, False))
    asyncio.run(manager.check())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.log", "2.log"]


LIMITS = Limits(85, 80, 120)


@pytest.mark.parametrize(
    ("available", "goal"),
    [(1000, 0), (160, 0), (159, 41), (150, 50), (0, 200)],  # whole percent, rounded as kubelet does
)
def test_how_much_must_go(available: int, goal: int) -> None:
    assert bytes_to_free(Disk(1000, available), LIMITS) == goal


def test_a_disk_without_a_size_is_never_full() -> None:
    assert bytes_to_free(Disk(0, 0), LIMITS) == 0


def image(name: str, size: int = 10, **more: Any) -> Image:
    return Image(f"sha256:{name}", (f"{name}:1",), (f"{name}@sha256:d",), size, **more)


def ago(seconds: int) -> datetime:
    return NOW - timedelta(seconds=seconds)


A, B, C = image("a"), image("b"), image("c")


@pytest.mark.parametrize(
    ("seen", "goal", "expected"),
    [
        (
            {"a": Seen(ago(900), ago(60)), "b": Seen(ago(900), ago(90)), "c": Seen(ago(900), ago(30))},
            15,
            "ba",
        ),
        ({"a": Seen(ago(900), ago(60)), "b": Seen(ago(900), ago(60)), "c": Seen(ago(901), ago(60))}, 1, "c"),
        ({"a": Seen(ago(900), NOW), "b": Seen(ago(119)), "c": Seen(ago(120))}, 100, "c"),  # used, young, old
        ({"a": Seen(ago(900)), "b": Seen(ago(900)), "c": Seen(ago(900))}, 0, ""),
    ],
)
def test_which_images_go(seen: dict[str, Seen], goal: int, expected: str) -> None:
    known = {f"sha256:{name}": when for name, when in seen.items()}
    chosen = victims((A, B, C), known, (), goal, LIMITS.least_age_s, NOW)
    assert [i.tags[0][0] for i in chosen] == list(expected)


def test_pinned_images_never_go() -> None:
    images = (A, B, image("c", pinned=True))
    known = {i.id: Seen(ago(900)) for i in images}
    assert victims(images, known, ("a:1",), 100, 0, NOW) == (B,)


@pytest.mark.parametrize("name", ["sha256:a", "a:1", "a@sha256:d"])
def test_an_image_is_in_use_under_any_of_its_names(name: str) -> None:
    assert look(None, (A, B), [name], NOW) == {
        "sha256:a": Seen(look(None, (A,), [], NOW)["sha256:a"].first, NOW),
        "sha256:b": look(None, (B,), [], NOW)["sha256:b"],
    }


def test_images_are_as_old_as_our_knowledge_of_them_but_the_first_ones() -> None:
    first = look(None, (A,), (), ago(60))
    later = look(first, (A, B), ["a:1"], NOW)
    assert later["sha256:b"].first == NOW and later["sha256:a"].first < ago(10**6)
    assert look(later, (B,), (), NOW).keys() == {"sha256:b"}  # what is gone is forgotten


SIZES = st.lists(st.integers(1, 100), max_size=8)


@settings(deadline=None)
@given(SIZES, st.integers(0, 500), st.sets(st.integers(0, 7)))
def test_enough_goes_and_nothing_in_vain(sizes: list[int], goal: int, used: set[int]) -> None:
    images = [image(str(number), size) for number, size in enumerate(sizes)]
    seen = look(None, images, [f"sha256:{number}" for number in used], NOW)
    chosen = victims(images, seen, (), goal, 120, NOW)
    may_go = [i for n, i in enumerate(images) if n not in used]
    freed = sum(i.size_bytes for i in chosen)
    assert set(chosen) <= set(may_go)
    assert freed >= goal or set(chosen) == set(may_go)
    assert not chosen or freed - chosen[-1].size_bytes < goal


class Images:
    def __init__(self, available: int, **sizes: int) -> None:
        self.clock = SimulatedClock()
        self.runtime = Runtime(self.clock)
        self.runtime.sizes = dict(sizes)
        self.told: list[str] = []
        self.disk = Disk(1000, available)
        config = AgentConfig(node_name="n", node_ips=(), pinned_images=("pause",))
        self.manager = ImageManager(
            self.runtime,
            self.clock,
            config,
            wanted=lambda: ["sha256:soon"],
            warn=lambda reason, message: self.told.append(f"{reason}: {message}"),
            disk=lambda directory: self.disk if directory == "/images" else Disk(0, 0),
        )


def test_a_full_disk_loses_unused_images_and_what_is_used_stays() -> None:
    world = Images(100, old=60, used=60, soon=60, pause=60)

    async def steps() -> None:
        container = await world.runtime.container("used")
        await world.manager.collect()
        assert world.runtime.removed == ["sha256:old"]
        assert world.told == [
            "FreeDiskSpaceFailed: Failed to garbage collect required amount of images. "
            "Attempted to free 100 bytes, but only found 60 bytes eligible to free."
        ]
        await world.runtime.remove_container(container)
        await world.clock.advance(1)
        world.runtime.sizes["new"] = 60
        await world.manager.collect()
        assert world.runtime.removed == ["sha256:old", "sha256:used"]

    asyncio.run(steps())


def test_a_disk_with_room_loses_nothing() -> None:
    world = Images(160, old=60)
    asyncio.run(world.manager.collect())
    assert not world.runtime.removed and not world.told


def test_the_loop_outlives_failures_and_comes_back_every_five_minutes() -> None:
    world = Images(100, old=200)
    world.runtime.refuses = True

    async def steps() -> None:
        running = asyncio.create_task(world.manager.run())
        try:
            await world.clock.advance(1)
            assert world.told and not world.runtime.removed
            world.runtime.refuses = False
            await world.clock.advance(298)
            assert not world.runtime.removed
            await world.clock.advance(2)
            assert world.runtime.removed == ["sha256:old"]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(steps())
