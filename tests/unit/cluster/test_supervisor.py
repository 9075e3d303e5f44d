"""The supervisor with real, tiny processes: deaths, order of stopping, and its own sudden end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.cluster import supervisor
from sampan.cluster.restarts import PartState
from sampan.cluster.running import Lock, read_states
from sampan.cluster.supervisor import Part, Supervisor

DEADLINE_S = 20.0
# Stays until SIGTERM, and then writes its name to the file that tells the order of endings.
STAYS = (
    "import signal,sys,time;"
    "signal.signal(signal.SIGTERM,lambda *_:(open(sys.argv[2],'a').write(sys.argv[1]+' '),sys.exit(0)));"
    "open(sys.argv[2]+'.'+sys.argv[1],'w');"
    "time.sleep(600)"
)
SUPERVISOR = """
    import asyncio, sys
    from pathlib import Path
    from sampan.cluster.running import Lock
    from sampan.cluster.supervisor import Part, Supervisor
    run = Path(sys.argv[1])
    Lock(run).take()
    parts = [Part(name, (sys.executable, "-S", "-c", code, name, str(run / "order")))
             for name, code in zip(sys.argv[2::2], sys.argv[3::2])]
    async def cleanup():
        (run / "order").open("a").write("cleanup ")
    asyncio.run(Supervisor(run, run, parts).run(cleanup))
"""


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to hold"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@contextmanager
def supervised(run: Path, **parts: str) -> Iterator[subprocess.Popen[bytes]]:
    named = [word for part in parts.items() for word in part]
    with (run / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(run), *named], stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def state(run: Path, name: str) -> PartState:
    return next((s for s in read_states(run) if s.name == name), PartState(name=name))


def running(run: Path, *names: str) -> bool:
    return all((run / f"order.{name}").exists() and state(run, name).pid for name in names)


def test_a_part_that_dies_is_started_again_with_growing_delay_and_the_reason_is_kept(tmp_path: Path) -> None:
    dies = "import sys; sys.stderr.write('first\\nno such port\\n'); sys.exit(3)"
    with supervised(tmp_path, bad=dies, good=STAYS):
        until(lambda: state(tmp_path, "bad").restarts >= 3 and running(tmp_path, "good"))
        bad, good = state(tmp_path, "bad"), state(tmp_path, "good")
        assert {death.why for death in bad.deaths} == {"exited with status 3: no such port"}
        assert bad.delay_s >= 0.8
        assert (good.restarts, good.state) == (0, "running")
        until(lambda: "starting it again in 0.8 s" in (tmp_path / "supervisor.log").read_text())


def test_a_killed_part_is_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path, good=STAYS):
        until(lambda: running(tmp_path, "good"))
        first = state(tmp_path, "good").pid
        os.kill(first, signal.SIGKILL)
        until(lambda: state(tmp_path, "good").pid not in (0, first))
        assert [d.why for d in state(tmp_path, "good").deaths] == ["killed by SIGKILL"]


def test_sigterm_stops_all_in_reverse_and_cleans_up(tmp_path: Path) -> None:
    with supervised(tmp_path, a=STAYS, b=STAYS, c=STAYS) as process:
        until(lambda: running(tmp_path, "a", "b", "c"))
        pids = [state(tmp_path, name).pid for name in "abc"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert (tmp_path / "order").read_text() == "c b a cleanup "
        assert [state(tmp_path, name).state for name in "abc"] == ["stopped"] * 3
        assert not any(alive(pid) for pid in pids)


def test_a_part_that_waits_for_its_next_start_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with supervised(tmp_path, bad="import sys; sys.exit(1)") as process:
        until(lambda: state(tmp_path, "bad").delay_s >= 1.6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert state(tmp_path, "bad").state == "stopped"


def test_parts_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, a=STAYS, b=STAYS) as process:
        until(lambda: running(tmp_path, "a", "b"))
        pids = [state(tmp_path, name).pid for name in "ab"]
        assert Lock.holder(tmp_path) == process.pid
        process.kill()
        process.wait()
        until(lambda: not any(alive(pid) for pid in pids))
        assert Lock.holder(tmp_path) == 0


def test_one_supervisor_a_directory(tmp_path: Path) -> None:
    with supervised(tmp_path, a=STAYS) as process:
        until(lambda: running(tmp_path, "a"))
        with pytest.raises(SampanError, match=rf"already running \(supervisor {process.pid}\)"):
            Lock(tmp_path).take()
    lock = Lock(tmp_path)
    lock.take()
    assert Lock.holder(tmp_path) == os.getpid()


async def supervise_until(run: Path, logs: Path, argv: tuple[str, ...], enough: Callable[[], bool]) -> None:
    supervisor = Supervisor(run, logs, [Part("part", argv)])

    async def cleanup() -> None:
        (run / "cleaned").touch()

    async with asyncio.timeout(DEADLINE_S):
        task = asyncio.create_task(supervisor.run(cleanup))
        while not enough():  # noqa: ASYNC110 - parts.json is a file
            await asyncio.sleep(0)
        supervisor._stopping.set()
        await task
    assert (run / "cleaned").exists()
    assert state(run, "part").state == "stopped"


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    asyncio.run(
        supervise_until(tmp_path, tmp_path, ("/none/such",), lambda: state(tmp_path, "part").restarts >= 2)
    )
    assert (
        state(tmp_path, "part").deaths[0].why
        == "exited with status 127: /none/such: No such file or directory"
    )


def test_a_log_that_cannot_be_written_is_named_and_tried_again(tmp_path: Path) -> None:
    logs = tmp_path / "none"
    asyncio.run(
        supervise_until(tmp_path, logs, (sys.executable,), lambda: state(tmp_path, "part").restarts >= 2)
    )
    assert "part.log: No such file" in state(tmp_path, "part").deaths[0].why


@pytest.mark.parametrize("turns", range(8))
def test_a_stop_while_a_part_is_being_started_ends_it_too(tmp_path: Path, turns: int) -> None:
    left = iter(range(turns))
    asyncio.run(supervise_until(tmp_path, tmp_path, ("sleep", "600"), lambda: next(left, None) is None))


def test_a_damaged_parts_file_says_nothing(tmp_path: Path) -> None:
    assert read_states(tmp_path) == []
    (tmp_path / "parts.json").write_text("[{")
    assert read_states(tmp_path) == []


def test_a_long_log_is_begun_anew_while_its_part_goes_on_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT_BYTES", 10)
    path = tmp_path / "part.log"
    with path.open("ab", buffering=0) as part:
        part.write(b"short")
        supervisor.limit_log(path)
        assert path.read_bytes() == b"short"
        part.write(b" no more")
        supervisor.limit_log(path)
        part.write(b"next")
    assert path.read_bytes() == b"next"
    assert (tmp_path / "part.log.1").read_bytes() == b"short no more"
    supervisor.limit_log(tmp_path / "none.log")
