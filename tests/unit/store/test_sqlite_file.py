"""What becomes of the file: crashes, full disks, damage, other processes, snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.store.backend import Committed, Delete, KeyRange, Put, StoreUnavailable
from sampan.store.index import Row
from sampan.store.sqlite import SqliteStore
from sampan.store.sqlite.file import Lock, LogFile, Work, prepare
from tests.unit.store import crasher
from tests.unit.store.conformance import changes_of, collect, put, run

ALL = KeyRange.prefix("/")


def fill(path: Path, count: int = 50, size: int = 100) -> None:
    async def test() -> None:
        store = SqliteStore(path)
        await asyncio.gather(*(put(store, f"/k/{i:04}", b"%d" % i * size) for i in range(count)))
        await store.close()

    run(test)


# Crashes


def crash(path: Path, first: int, after_lines: int) -> list[tuple[int, int, int]]:
    """Kill a committing process after so many acknowledgements; all that it acknowledged."""
    command = [sys.executable, "-m", crasher.__name__, str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < after_lines:
            ready, _, _ = select.select([process.stdout], [], [], 30)
            chunk = process.stdout.read1() if ready else b""  # type: ignore[attr-defined]
            assert chunk, "the committing process stopped by itself"
            said += chunk
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
        assert process.wait(30) == -signal.SIGKILL
    lines = said[: said.rindex(b"\n")].decode().splitlines()
    return [(int(c), int(n), int(r)) for c, n, r in (line.split() for line in lines)]


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    rng = random.Random()
    top = 0
    for round_ in range(6):
        acknowledged = crash(path, round_ * 1_000_000, rng.randint(1, 2500))
        top = max(top, *(revision for _, _, revision in acknowledged))
        last = {c: (n, r) for c, n, r in sorted(acknowledged)}

        async def check(last: dict[int, tuple[int, int]] = last, least: int = top) -> None:
            store = SqliteStore(path)
            page = await store.read(KeyRange.prefix("/crash/"))
            assert page.revision >= least
            found = {entry.key: entry for entry in page.entries}
            for committer in range(crasher.COMMITTERS):
                halves = [found.get(f"/crash/{committer}/{half}") for half in crasher.HALVES]
                left, right = halves
                if committer in last:
                    assert left is not None and right is not None
                    number, revision = last[committer]
                    assert left.mod_revision >= revision
                    assert int(left.value.split()[0]) >= number
                if left is not None and right is not None:
                    assert (left.value, left.mod_revision) == (right.value, right.mod_revision)
                    assert len(left.value.split(b" ")[1]) == int(left.value.split()[0]) % 3000
                else:
                    assert left is right is None
            assert await put(store, "/after", b"") == page.revision + 1
            await store.close()

        run(check)
        top += 1


def test_a_process_that_forgets_to_close_can_end_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    program = (
        "import asyncio, pathlib, sys\n"
        "from sampan.store.sqlite import SqliteStore\n"
        "from sampan.store.backend import Put\n"
        "async def main():\n"
        "    store = SqliteStore(pathlib.Path(sys.argv[1]))\n"
        "    await store.commit([], [Put('/a', b'1')])\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=30)

    async def test() -> None:
        store = SqliteStore(path)
        assert [e.value for e in (await store.read(ALL)).entries] == [b"1"]
        await store.close()

    run(test)


def test_a_store_opens_as_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def test() -> None:
        store = SqliteStore(path)
        first = await put(store, "/a", b"1")
        await put(store, "/b", b"1")
        floor = await put(store, "/a", b"2")
        end = await put(store, "/a", b"3")
        await store.compact(floor)
        pages = [await store.read(ALL, at) for at in (floor, end)]
        await store.close()
        store = SqliteStore(path)
        assert [await store.read(ALL, at) for at in (floor, end)] == pages
        with pytest.raises(SampanError, match=f"the oldest kept is {floor}"):
            await store.read(ALL, first)
        async with changes_of(store, ALL, floor) as batches:
            assert [c.previous for c in await collect(batches, end)] == [b"2"]
        await store.close()

    run(test)


def test_what_a_broken_off_compaction_left_is_forgotten_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def test() -> None:
        store = SqliteStore(path)
        for n in range(20):
            await put(store, "/a", b"%d" % n)
        end = await put(store, "/b", b"")
        await store.close()
        with sqlite3.connect(path) as db:  # the floor was raised, and then the power went
            db.execute("UPDATE meta SET value = ?", (end,))
        db.close()
        store = SqliteStore(path)
        assert (await store.read(ALL)).revision == end
        await store.compact(end)
        await store.close()
        with sqlite3.connect(path) as db:
            assert db.execute("SELECT count(*) FROM log").fetchone() == (2,)
        db.close()

    run(test)


# Full disks and failing writes


def test_a_full_disk_fails_commits_whole_and_is_got_over(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def test() -> None:
        store = SqliteStore(path)
        start = await put(store, "/first", b"1")
        async with changes_of(store, ALL, start) as batches:
            # No file may grow any more: what a full disk is to the store.
            size = path.with_name("store.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
            big = b"x" * 20_000
            outcomes = await asyncio.gather(
                *(store.commit([], [Put(f"/{i}/a", big), Put(f"/{i}/b", big)]) for i in range(20)),
                return_exceptions=True,
            )
            assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
            assert str(path) in str(outcomes[0])
            page = await store.read(ALL)
            assert [entry.key for entry in page.entries] == ["/first"]
            assert page.revision == start
            with pytest.raises(StoreUnavailable):
                await store.compact(start)
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            assert await put(store, "/second", big) == start + 1
            assert [c.key for c in await collect(batches, start + 1)] == ["/second"]
        await store.compact(start + 1)
        await store.close()
        store = SqliteStore(path)
        assert [entry.key for entry in (await store.read(ALL)).entries] == ["/first", "/second"]
        await store.close()

    try:
        run(test)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, handler)


_ON_A_SMALL_DISK = """
import asyncio, os, pathlib, sys
from sampan.store.backend import Committed, Delete, KeyRange, Put, StoreUnavailable
from sampan.store.sqlite import SqliteStore

async def main(folder):
    store = SqliteStore(folder / "store.db")
    kept, failed = {}, 0
    for n in range(400):
        key, value = f"/{n:04}", os.urandom(20_000)
        try:
            outcome = await store.commit([], [Put(key, value)])
        except StoreUnavailable:
            failed += 1
            if failed == 1:
                (folder / "ballast").unlink()
            elif failed == 20:
                break
        else:
            assert isinstance(outcome, Committed)
            kept[key] = value
            after = failed
    assert failed == 20 and after >= 1, (failed, after)
    page = await store.read(KeyRange.prefix("/"))
    assert {e.key: e.value for e in page.entries} == kept
    await store.close()
    store = SqliteStore(folder / "store.db")
    page = await store.read(KeyRange.prefix("/"))
    assert {e.key: e.value for e in page.entries} == kept
    await store.close()
    print("kept", len(kept))

folder = pathlib.Path(sys.argv[1])
(folder / "ballast").write_bytes(bytes(2_000_000))
asyncio.run(main(folder))
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    # In a mount namespace of its own, so that nothing stays mounted whatever happens.
    own = ["unshare", "--mount", "--map-root-user"]
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this host lets nobody make a mount namespace; the test with a file size limit covers it")
    done = subprocess.run(
        [*own, "sh", "-c", script, "sh", str(tmp_path), sys.executable, _ON_A_SMALL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kept ")


def test_a_transaction_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    prepare(path)
    with contextlib.closing(LogFile(path)) as file:
        first, *others = [Row(place, f"/{place}", 2, 0, b"") for place in range(1, 5)]
        file.write(Work([first]))
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            file.write(Work([*others[:2], first]))  # the place is taken: only the second statement notices
        assert [row.place for row in file.log()] == [1]
        file.write(Work(others, forget=[1], floor=7))
        assert [row.place for row in file.log()] == [2, 3, 4]
        assert file.floor() == 7


# Files that are not what they should be


def refused(path: Path) -> str:
    with pytest.raises(SampanError) as error:
        SqliteStore(path)
    sentence = str(error.value)
    assert str(path) in sentence and "\n" not in sentence
    # The lock was let go of with the refusal.
    Lock(path).release()
    return sentence


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n" * 100)
    assert "is not a Sampan store: move it away" in refused(path)
    assert path.read_text() == "remember the milk\n" * 100


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mail (id)")
    db.close()
    before = path.read_bytes()
    assert "not a Sampan store: move it away" in refused(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    fill(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "has format 99" in refused(path) and "install the newer Sampan" in refused(path)


@pytest.mark.parametrize("kept", [0.15, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "store.db"
    fill(path, 400)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "is damaged" in refused(path) and "put the last snapshot in its place" in refused(path)


def test_a_page_of_rubbish_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    fill(path, 400)
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 6 * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    assert "is damaged" in refused(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.mkdir()
    assert "cannot be opened" in refused(path)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.db"
    path.parent.mkdir()
    path.touch()
    fill(path)
    fill(path)


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.db"

    async def test() -> None:
        store = SqliteStore(path)
        await put(store, "/a", b"secret")
        await store.snapshot(tmp_path / "deep" / "copy.db")
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert set(modes) >= {"store.db", "store.db-wal", "store.db-shm", "store.db.lock", "copy.db"}
        assert set(modes.values()) == {0o600}
        await store.close()

    run(test)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def test() -> None:
        store = SqliteStore(path)
        with pytest.raises(SampanError, match=r"in use by the process \d+: stop that process"):
            SqliteStore(path)
        program = (
            "import pathlib, sys\n"
            "from sampan.store.sqlite import SqliteStore\n"
            "SqliteStore(pathlib.Path(sys.argv[1]))\n"
        )
        command = [sys.executable, "-c", program, str(path)]
        other = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, timeout=30
        )
        assert other.returncode == 1 and "in use by the process" in other.stderr
        await put(store, "/a", b"1")
        await store.close()
        store = SqliteStore(path)
        await store.close()

    run(test)


# Snapshots and the size of files


def test_a_snapshot_is_a_store(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    async def test() -> None:
        store = SqliteStore(tmp_path / "store.db")
        for i in range(100):
            await put(store, f"/{i:03}", b"%d" % i * 50)
        before = (await store.read(ALL)).revision

        async def write() -> int:
            for i in range(200):
                await store.commit([], [Put(f"/{i % 100:03}", b"new"), Delete(f"/{(i + 1) % 100:03}")])
            return (await store.read(ALL)).revision

        end, _ = await asyncio.gather(write(), store.snapshot(copy))
        copied = SqliteStore(copy)
        page = await copied.read(ALL)
        assert before <= page.revision <= end
        assert page == await store.read(ALL, page.revision)
        assert await put(copied, "/x", b"") == page.revision + 1
        await copied.close()
        with pytest.raises(SampanError, match="exists already: name another file"):
            await store.snapshot(copy)
        with pytest.raises(SampanError, match="cannot be written"):
            await store.snapshot(tmp_path / "nowhere" / "copy.db")
        await store.close()

    run(test)
    assert not list(tmp_path.glob("*.partial"))


def test_neither_log_nor_file_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def test() -> None:
        store = SqliteStore(path)
        for _ in range(30):
            outcomes = await asyncio.gather(
                *(store.commit([], [Put(f"/{i}", bytes(20_000))]) for i in range(100))
            )
            assert isinstance(outcomes[-1], Committed)
            await store.compact(outcomes[-1].revision)
        # 60 MB went through; 2 MB are live.
        assert path.with_name("store.db-wal").stat().st_size < 40_000_000
        await store.close()
        assert path.stat().st_size < 40_000_000

    run(test)
