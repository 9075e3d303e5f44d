"""The process runtime's parts: frames, log lines, addresses, mounts without root."""

from __future__ import annotations

import asyncio
import ctypes
import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.runtimes.process import addresses, mounts, records, wire
from sampan.node.runtimes.process.crilog import MAX_LINE_BYTES, LineCutter
from sampan.node.runtimes.process.runtime import ProcessRuntime
from sampan.node.runtimes.process.wire import Decoder, Hello
from sampan.node.runtimes.runtime import ContainerSpec, RuntimeFailure, SandboxSpec

NOW = "2026-01-01T00:00:00.000000000Z"


@given(st.lists(st.tuples(st.integers(0, 8), st.binary(max_size=50))), st.integers(1, 9))
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(wire.frame(*each) for each in frames)
    decoder = Decoder()
    found = [
        each for start in range(0, len(stream), size) for each in decoder.feed(stream[start : start + size])
    ]
    assert found == frames


def test_an_endless_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than"):
        Decoder().feed(wire.HEADER.pack(0, wire.MAX_FRAME_BYTES + 1))


@given(st.lists(st.text(max_size=9)).map(tuple), st.booleans(), st.booleans())
def test_hellos_round_trip(command: tuple[str, ...], tty: bool, stdin: bool) -> None:
    hello = Hello(command, tty, stdin)
    [(kind, data)] = Decoder().feed(wire.hello_frame(hello))
    assert (kind, wire.read_hello(data)) == (wire.HELLO, hello)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_log_lines_hold_all_that_was_written(data: bytes, size: int) -> None:
    cutter = LineCutter("stdout")
    log = b"".join(cutter.feed(data[start : start + size], NOW) for start in range(0, len(data), size))
    log += cutter.finish(NOW)
    prefix = f"{NOW} stdout F ".encode()
    lines = log.split(b"\n")[:-1]
    assert all(line.startswith(prefix) for line in lines)
    assert b"\n".join(line.removeprefix(prefix) for line in lines) == data.removesuffix(b"\n")


@pytest.mark.parametrize(
    "length", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES + 5]
)
def test_long_lines_come_in_parts(length: int) -> None:
    cutter = LineCutter("stderr")
    log = cutter.feed(b"x" * length, NOW) + cutter.feed(b"\n", NOW)
    entries = [line.split(b" ", 3) for line in log.splitlines()]
    assert [tag for _, _, tag, _ in entries] == [b"P"] * ((length - 1) // MAX_LINE_BYTES) + [b"F"]
    assert b"".join(text for *_, text in entries) == b"x" * length


def test_addresses_are_the_lowest_free_and_differ_by_node() -> None:
    first = addresses.allocate("/a", ())
    assert first.startswith("127.")
    second = addresses.allocate("/a", (first,))
    assert second != first
    assert addresses.allocate("/a", (second,)) == first
    assert addresses.allocate("/b", ()) != first


@pytest.mark.parametrize(
    ("path", "name"),
    [("/var/run/secrets", "SAMPAN_MOUNT_VAR_RUN_SECRETS"), ("/my-data.d/", "SAMPAN_MOUNT_MY_DATA_D")],
)
def test_mounts_have_a_variable(path: str, name: str) -> None:
    assert addresses.mount_variable(path) == name


def test_a_container_without_a_command_is_told_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        runtime = ProcessRuntime(tmp_path)
        spec = SandboxSpec(namespace="n", name="p", uid="u")
        sandbox = await runtime.run_sandbox(spec)
        with pytest.raises(RuntimeFailure, match="Set `command` in the container") as failure:
            await runtime.create_container(sandbox, spec, ContainerSpec(name="a", attempt=0, image="busybox"))
        assert failure.value.reason == "CreateContainerError"
        await runtime.close()

    asyncio.run(main())


def test_an_exit_is_told_that_came_before_anybody_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        runtime = ProcessRuntime(tmp_path / "state", can_mount=False)
        spec = SandboxSpec(namespace="n", name="p", uid="u", log_directory=str(tmp_path))
        sandbox = await runtime.run_sandbox(spec)
        made = ContainerSpec(name="a", attempt=0, image="host", command=("/bin/true",), log_path="a.log")
        container = await runtime.create_container(sandbox, spec, made)
        monkeypatch.setattr(runtime, "_keeper", lambda _: None)  # gone as soon as somebody looks
        await runtime.start_container(container)
        async with asyncio.timeout(30):
            assert await anext(runtime.exits()) == container
        monkeypatch.undo()
        await runtime.remove_sandbox(sandbox)
        await runtime.close()

    asyncio.run(main())


def test_two_processes_may_write_a_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = tmp_path / records.EXITED, Path.write_text

    def write_before_the_other(path: Path, text: str) -> int:
        monkeypatch.undo()
        count = write(path, text)
        child = os.fork()
        if child == 0:
            records.write_json(file, "of the other")
            os._exit(0)
        os.waitpid(child, 0)
        return count

    monkeypatch.setattr(Path, "write_text", write_before_the_other)
    records.write_json(file, "ours")
    assert records.read_json(file) == "ours"


def test_without_mounts_a_variable_names_the_hosts_directory(tmp_path: Path) -> None:
    from sampan.node.runtimes.runtime import Mount

    async def main() -> None:
        runtime = ProcessRuntime(tmp_path / "state", can_mount=False)
        spec = SandboxSpec(namespace="n", name="p", uid="u", log_directory=str(tmp_path))
        sandbox = await runtime.run_sandbox(spec)
        container = await runtime.create_container(
            sandbox,
            spec,
            ContainerSpec(
                name="a",
                attempt=0,
                image="host",
                command=("/bin/sh", "-c", "echo $SAMPAN_MOUNT_DATA $SAMPAN_POD_IP"),
                mounts=(Mount("/srv/volume", "/data"),),
                log_path="a.log",
            ),
        )
        exits = runtime.exits()
        await runtime.start_container(container)
        async with asyncio.timeout(30):
            assert await anext(exits) == container
        [ip] = (await runtime.list()).sandboxes[0].ips
        assert (tmp_path / "a.log").read_text().endswith(f"stdout F /srv/volume {ip}\n")
        await runtime.remove_sandbox(sandbox)
        await runtime.close()

    asyncio.run(main())


def test_a_keeper_that_was_killed_shows_as_137(tmp_path: Path) -> None:
    import signal

    from sampan.node.containerd import pids

    async def main() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        spec = SandboxSpec(namespace="n", name="p", uid="u")
        sandbox = await runtime.run_sandbox(spec)
        command = ("/bin/sh", "-c", "sleep 300")
        container = await runtime.create_container(
            sandbox, spec, ContainerSpec(name="a", attempt=0, image="host", command=command)
        )
        await runtime.start_container(container)
        keeper = pids.read(tmp_path / "state/containers" / container / "keeper.json")
        assert keeper is not None
        started = (tmp_path / "state/containers" / container / "started.json").read_bytes()
        program = int(msgspec.json.decode(started)["pid"])
        pids.send(keeper, signal.SIGKILL)
        async with asyncio.timeout(30):
            await pids.wait(keeper)
        os.killpg(program, signal.SIGKILL)
        [found] = (await runtime.list()).containers
        assert (found.exit_code, found.reason) == (137, "Error")
        await runtime.remove_sandbox(sandbox)
        await runtime.close()

    asyncio.run(main())


def in_child(work: str, root: Path, user: int) -> str:
    """What `mounts` does for another user, told by a child of ours."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(user)
                os.setuid(user)
                # A process that changed its user may not write to its own /proc, unlike one started as it.
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
            binds = [mounts.Bind(str(root / "source"), work, True)]
            mounts.enter(binds, root / "new")
            text = (Path(work) / "file").read_text()
            try:
                (Path(work) / "made").write_text("")
                text += " writable"
            except OSError:
                text += " readonly"
            text += f" {os.getuid()} {Path('/proc/self').exists()}"
        except BaseException as error:
            text = repr(error)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(
    Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0",
    reason="user namespaces are switched off",
)
@pytest.mark.parametrize(
    "target", ["/sampan-test-data", "/var/tmp-sampan-test/deep", "/run/secrets-sampan/a/b"]
)
def test_mounts_work_without_root(target: str) -> None:
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    # Not below pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="sampan-mounts-") as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "source").mkdir()
        (root / "source/file").write_text("hello")
        (root / "new").mkdir()
        (root / "new").chmod(0o777)
        assert in_child(target, root, user) == f"hello readonly {user} True"
        assert not Path(target).exists()
