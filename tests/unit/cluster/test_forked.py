"""Parts that are forks of the supervisor: what they inherit, how they die, when they are programs instead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.cluster import preload
from sampan.cluster.running import Lock, read_states
from tests.unit.cluster.test_supervisor import DEADLINE_S, alive, state, until

SUPERVISOR = """
    import asyncio, json, os, signal, sys, time
    from pathlib import Path
    from sampan.cluster import supervisor
    from sampan.cluster.running import Lock
    from sampan.cluster.supervisor import Part, Supervisor

    run = Path(sys.argv[1])
    Lock(run).take()
    loaded = object()

    def stays():
        seen = {
            "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
            "session": os.getsid(0) == os.getpid(),
            "handlers": [signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGCHLD)],
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "command": Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").decode(),
        }
        # An event loop of its own, as every part has.
        asyncio.run(asyncio.sleep(0))
        (run / f"seen.{os.getpid()}").write_text(json.dumps(seen))
        time.sleep(600)
        return 0

    def dies():
        sys.stderr.write("no such port\\n")
        return 3

    def raises():
        raise ValueError("broken")

    chosen = {"stays": stays, "dies": dies, "raises": raises}
    parts = [Part(n, (sys.executable, "-S", "-c", "import time; time.sleep(600)", n), chosen[n])
             for n in sys.argv[2:]]

    async def cleanup():
        pass

    asyncio.run(Supervisor(run, run, parts).run(cleanup))
"""


@contextmanager
def supervised(run: Path, *parts: str) -> Iterator[subprocess.Popen[bytes]]:
    with (run / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(run), *parts], stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def seen(run: Path, name: str) -> bool:
    return (run / f"seen.{state(run, name).pid}").exists()


def test_a_fork_has_nothing_of_the_supervisors_but_what_is_loaded(tmp_path: Path) -> None:
    with supervised(tmp_path, "stays"):
        until(lambda: seen(tmp_path, "stays"))
        found = json.loads((tmp_path / f"seen.{state(tmp_path, 'stays').pid}").read_text())
        assert found["fds"] == [0, 1, 2]
        assert found["session"]
        assert found["handlers"] == [True, True]
        assert found["blocked"] == []
        assert found["command"].endswith(" stays")


def test_a_fork_that_is_killed_is_forked_again(tmp_path: Path) -> None:
    with supervised(tmp_path, "stays"):
        until(lambda: seen(tmp_path, "stays"))
        first = state(tmp_path, "stays").pid
        os.kill(first, signal.SIGKILL)
        until(lambda: state(tmp_path, "stays").pid not in (0, first) and seen(tmp_path, "stays"))
        assert [d.why for d in state(tmp_path, "stays").deaths] == ["killed by SIGKILL"]


def test_statuses_and_last_words_of_forks_are_kept(tmp_path: Path) -> None:
    with supervised(tmp_path, "dies", "raises"):
        until(lambda: all(s.restarts >= 2 for s in read_states(tmp_path)) and bool(read_states(tmp_path)))
        assert {d.why for d in state(tmp_path, "dies").deaths} == {"exited with status 3: no such port"}
        assert {d.why for d in state(tmp_path, "raises").deaths} == {
            "exited with status 1: ValueError: broken"
        }


def test_forks_end_when_told_and_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, "stays") as process:
        until(lambda: seen(tmp_path, "stays"))
        pid = state(tmp_path, "stays").pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert not alive(pid)
    with supervised(tmp_path, "stays") as process:
        until(lambda: state(tmp_path, "stays").pid != pid and seen(tmp_path, "stays"))
        pid = state(tmp_path, "stays").pid
        process.kill()
        process.wait()
        until(lambda: not alive(pid))
        assert Lock.holder(tmp_path) == 0


def test_where_the_code_was_replaced_a_part_is_a_program_of_its_own(tmp_path: Path) -> None:
    script = textwrap.dedent(SUPERVISOR).replace(
        "chosen =", "supervisor.code_stamp = lambda number=iter(range(99)): next(number)\nchosen ="
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), "stays"])
    try:
        until(lambda: state(tmp_path, "stays").pid != 0)
        until(lambda: "-S" in Path(f"/proc/{state(tmp_path, 'stays').pid}/cmdline").read_text().split("\0"))
    finally:
        process.kill()
        process.wait()


def test_what_is_loaded_for_all_starts_no_thread(tmp_path: Path) -> None:
    look = (
        "import os, sys; from sampan.cluster import preload, supervisor; preload.load();"
        "print(len(os.listdir('/proc/self/task')), [m for m in ('grpc', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert found.stdout == "1 []\n"
    assert len(set(preload.COMMON)) == len(preload.COMMON)


def test_the_machines_authorities_are_not_read_for_nobody() -> None:
    look = (
        "import os; os.environ['SSL_CERT_DIR'] = '/there'; from sampan.cluster import preload;"
        "preload.load(); from aiohttp import connector; made = connector._SSL_CONTEXT_VERIFIED;"
        "assert made.cert_store_stats()['x509_ca'] == 0;"
        "assert os.environ['SSL_CERT_DIR'] == '/there' and 'SSL_CERT_FILE' not in os.environ"
    )
    found = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    subprocess.run([sys.executable, "-c", look], check=True, env=found)
