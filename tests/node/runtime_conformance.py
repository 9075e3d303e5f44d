"""What every runtime must do, whatever runs its containers.

`LifecycleConformance` holds for all of them; `ImageConformance` and `CommandConformance` for those that run
real programs; `NetworkConformance` for those whose pods listen. A runtime's test module subclasses what
applies to it and says, with a `subject` fixture, how its Runtime is made.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sampan.node.runtimes.runtime import (
    Container,
    ContainerSpec,
    Listing,
    Mount,
    Runtime,
    RuntimeFailure,
    SandboxSpec,
    Session,
    State,
)

DEADLINE_S = 30.0
CRI_LOG_LINE = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)$"
)


@dataclass(frozen=True)
class Subject:
    """A runtime under test: how to open it, and what it can be given."""

    open: Callable[[], Runtime]
    image: str
    logs: Path
    scratch: Path
    forever: tuple[str, ...] = ("/bin/sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.1; done")


@dataclass
class Pod:
    """A sandbox made for one test."""

    runtime: Runtime
    spec: SandboxSpec
    id: str
    image: str
    containers: list[str] = field(default_factory=list)

    async def start(self, *command: str, name: str = "main", **changes: Any) -> str:
        container = await self.create(*command, name=name, **changes)
        await self.runtime.start_container(container)
        return container

    async def create(self, *command: str, name: str = "main", **changes: Any) -> str:
        attempt = len(self.containers)
        values = {"image": self.image, "log_path": f"{name}-{attempt}.log"} | changes
        spec = ContainerSpec(name=name, attempt=attempt, command=command, **values)
        container = await self.runtime.create_container(self.id, self.spec, spec)
        self.containers.append(container)
        return container

    async def container(self, container_id: str) -> Container:
        listing = await self.runtime.list()
        return next(each for each in listing.containers if each.id == container_id)

    async def exited(self, container_id: str) -> Container:
        """The container once it has exited."""

        async def look() -> Container | None:
            found = await self.container(container_id)
            return found if found.state is State.EXITED else None

        return await eventually(look)

    def log(self, name: str = "main", attempt: int = 0) -> list[tuple[str, str, str]]:
        """(stream, tag, text) of each line."""
        lines = (Path(self.spec.log_directory) / f"{name}-{attempt}.log").read_text().splitlines()
        found = [CRI_LOG_LINE.match(line) for line in lines]
        assert all(found), lines
        return [(match[2], match[3], match[4]) for match in found if match]


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` returns once it is true."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.02)


def spec_for(subject: Subject, **changes: Any) -> SandboxSpec:
    uid = str(uuid.uuid4())
    directory = subject.logs / uid
    directory.mkdir(parents=True)
    values = {"namespace": "default", "name": f"pod-{uid[:8]}", "uid": uid, "hostname": f"pod-{uid[:8]}"}
    return SandboxSpec(**(values | {"log_directory": str(directory)} | changes))


@asynccontextmanager
async def pod_of(subject: Subject, runtime: Runtime, **changes: Any) -> AsyncIterator[Pod]:
    spec = spec_for(subject, **changes)
    sandbox_id = await runtime.run_sandbox(spec)
    pod = Pod(runtime, spec, sandbox_id, subject.image)
    try:
        yield pod
    finally:
        for container in pod.containers:
            with suppress(RuntimeFailure):
                await runtime.stop_container(container, 0)
                await runtime.remove_container(container)
        await runtime.stop_sandbox(sandbox_id)
        await runtime.remove_sandbox(sandbox_id)


def run(subject: Subject, scenario: Callable[[Pod], Awaitable[None]], **changes: Any) -> None:
    """Run a scenario in a pod of its own, within a deadline."""

    async def main() -> None:
        runtime = subject.open()
        try:
            async with asyncio.timeout(2 * DEADLINE_S), pod_of(subject, runtime, **changes) as pod:
                await scenario(pod)
        finally:
            await runtime.close()

    asyncio.run(main())


async def collect(session: Session) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    async for stream, data in session.output():
        found[stream] += data
    return found


async def read_until(session: Session, wanted: bytes) -> bytes:
    """Output up to and with `wanted`; the session's output goes on afterwards from a new iterator."""
    found = b""
    async with asyncio.timeout(DEADLINE_S):
        async for _, data in session.output():
            found += data
            if wanted in found:
                return found
    raise AssertionError(f"{wanted!r} never came; {found!r} did")


class LifecycleConformance:
    """Sandboxes and containers come, are listed, and go."""

    def test_the_version_names_the_runtime(self, subject: Subject) -> None:
        async def main() -> None:
            runtime = subject.open()
            name, _, version = (await runtime.version()).partition("://")
            assert (name, bool(version)) == (runtime.name, True)
            await runtime.close()

        asyncio.run(main())

    def test_a_sandbox_is_listed_with_what_it_was_made_of(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            found = next(each for each in (await pod.runtime.list()).sandboxes if each.id == pod.id)
            assert (found.namespace, found.name, found.uid) == (
                pod.spec.namespace,
                pod.spec.name,
                pod.spec.uid,
            )
            assert (found.attempt, found.ready) == (3, True)
            assert found.labels["tier"] == "web"
            assert found.annotations["note"] == "yes"
            assert found.ips

        run(subject, scenario, attempt=3, labels={"tier": "web"}, annotations={"note": "yes"})

    def test_a_stopped_sandbox_is_not_ready_and_a_removed_one_is_gone(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            await pod.runtime.stop_sandbox(pod.id)
            assert not next(each for each in (await pod.runtime.list()).sandboxes if each.id == pod.id).ready
            await pod.runtime.remove_sandbox(pod.id)
            assert pod.id not in {each.id for each in (await pod.runtime.list()).sandboxes}

        run(subject, scenario)

    def test_a_container_goes_from_created_to_running_to_exited(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.create(*subject.forever, labels={"a": "b"}, annotations={"c": "d"})
            created = await pod.container(container)
            assert (created.state, created.started_at) == (State.CREATED, None)
            assert (created.sandbox_id, created.name, created.attempt) == (pod.id, "main", 0)
            assert created.labels["a"] == "b"
            assert created.annotations["c"] == "d"
            started_at = await pod.runtime.start_container(container)
            running = await pod.container(container)
            assert running.state is State.RUNNING
            assert running.started_at == started_at
            assert running.image == subject.image
            assert running.image_ref
            await pod.runtime.stop_container(container, 10)
            stopped = await pod.container(container)
            assert stopped.state is State.EXITED
            assert stopped.finished_at is not None
            assert stopped.finished_at >= running.started_at
            await pod.runtime.remove_container(container)
            assert container not in {each.id for each in (await pod.runtime.list()).containers}

        run(subject, scenario)

    def test_stopping_and_removing_what_is_not_there_succeeds(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            for _ in range(2):
                await pod.runtime.stop_container(container, 0)
            for _ in range(2):
                await pod.runtime.remove_container(container)
            await pod.runtime.stop_container(container, 0)
            for _ in range(2):
                await pod.runtime.stop_sandbox(pod.id)
            for _ in range(2):
                await pod.runtime.remove_sandbox(pod.id)
            await pod.runtime.stop_sandbox(pod.id)

        run(subject, scenario)

    def test_removing_a_sandbox_removes_its_containers(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            await pod.runtime.stop_sandbox(pod.id)
            await pod.runtime.remove_sandbox(pod.id)
            assert container not in {each.id for each in (await pod.runtime.list()).containers}

        run(subject, scenario)

    def test_another_runtime_object_sees_what_runs(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            first: Listing = await pod.runtime.list()
            other = subject.open()
            try:
                second = await other.list()
                assert next(each for each in second.sandboxes if each.id == pod.id) == next(
                    each for each in first.sandboxes if each.id == pod.id
                )
                found = next(each for each in second.containers if each.id == container)
                assert found == next(each for each in first.containers if each.id == container)
                await other.stop_container(container, 0)
            finally:
                await other.close()
            assert (await pod.exited(container)).exit_code in (137, 143)

        run(subject, scenario)

    def test_exits_name_containers_and_the_list_then_agrees(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            seen = asyncio.Event()

            async def listen() -> None:
                async for exited in pod.runtime.exits():
                    if exited == container:
                        seen.set()

            listener = asyncio.ensure_future(listen())
            try:
                # The subscription is made by the listener's own task; exits before it are not told.
                await asyncio.sleep(0.3)
                await pod.runtime.stop_container(container, 0)
                async with asyncio.timeout(DEADLINE_S):
                    await seen.wait()
                assert (await pod.container(container)).state is State.EXITED
            finally:
                listener.cancel()
                with suppress(asyncio.CancelledError):
                    await listener

        run(subject, scenario)


class ImageConformance:
    """Image names are checked before anything is fetched."""

    def test_a_malformed_image_name_is_refused(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            with pytest.raises(RuntimeFailure) as failure:
                await pod.runtime.pull_image("Not A Name", None)
            assert failure.value.reason == "InvalidImageName"

        run(subject, scenario)


class CommandConformance:
    """Programs run as they were asked to, and can be spoken with."""

    @pytest.mark.parametrize("code", [0, 1, 42])
    def test_exit_codes(self, subject: Subject, code: int) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.exited(await pod.start("/bin/sh", "-c", f"exit {code}"))
            assert (container.exit_code, container.reason) == (code, "Error" if code else "Completed")

        run(subject, scenario)

    def test_term_comes_first_and_kill_after_the_grace_period(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            willing = await pod.start(
                "/bin/sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
            )
            stubborn = await pod.start(
                "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done", name="stubborn"
            )
            await eventually(lambda: _logged(pod, "main", 0))
            await eventually(lambda: _logged(pod, "stubborn", 1))
            await pod.runtime.stop_container(willing, 20)
            await pod.runtime.stop_container(stubborn, 1)
            assert (await pod.container(willing)).exit_code == 7
            assert (await pod.container(stubborn)).exit_code == 137

        run(subject, scenario)

    def test_logs_are_in_cri_format(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            await pod.exited(
                await pod.start("/bin/sh", "-c", "echo one; echo two >&2; sleep 0.1; printf three")
            )
            lines = pod.log()
            assert sorted(lines[:2]) == [("stderr", "F", "two"), ("stdout", "F", "one")]
            assert lines[2][::2] == ("stdout", "three")

        run(subject, scenario)

    def test_a_long_line_is_logged_in_parts(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            await pod.exited(await pod.start("/bin/sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo"))
            lines = pod.log()
            assert len(lines) > 1
            assert {tag for _, tag, _ in lines[:-1]} == {"P"}
            assert lines[-1][1] == "F"
            assert "".join(text for _, _, text in lines) == "x" * 40000

        run(subject, scenario)

    def test_logging_goes_on_in_a_new_file_after_a_rotation(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(
                "/bin/sh", "-c", "echo old; read go; echo new", stdin=True, stdin_once=True
            )
            await eventually(lambda: _logged(pod, "main", 0))
            path = Path(pod.spec.log_directory) / "main-0.log"
            path.rename(path.with_suffix(".1"))
            await pod.runtime.reopen_log(container)
            session = await pod.runtime.attach(container, tty=False, stdin=True)
            await session.write(b"go\n")
            await pod.exited(container)
            await session.close()
            assert pod.log() == [("stdout", "F", "new")]

        run(subject, scenario)

    def test_environment_arguments_and_working_directory(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(
                "/bin/sh",
                "-c",
                'echo "$GREETING $1"; pwd',
                args=("ignored", "second"),
                env=(("GREETING", "a b=c"),),
                working_dir="/tmp",
            )
            await pod.exited(container)
            assert [text for _, _, text in pod.log()] == ["a b=c second", "/tmp"]

        run(subject, scenario)

    def test_mounts_show_the_hosts_files(self, subject: Subject) -> None:
        source = subject.scratch / "volume"
        source.mkdir(exist_ok=True)
        (source / "file").write_text("hello")

        async def scenario(pod: Pod) -> None:
            container = await pod.start(
                "/bin/sh",
                "-c",
                "cat /sampan-data/file; echo; echo new > /sampan-data/made; "
                "echo x > /sampan-ro/file || echo refused",
                mounts=(Mount(str(source), "/sampan-data"), Mount(str(source), "/sampan-ro", readonly=True)),
            )
            await pod.exited(container)
            printed = [text for stream, _, text in pod.log() if stream == "stdout"]
            assert printed == ["hello", "refused"]
            assert (source / "made").read_text() == "new\n"
            assert (source / "file").read_text() == "hello"

        run(subject, scenario)

    def test_a_command_that_does_not_exist_fails_to_start(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.create("/no/such/program")
            with pytest.raises(RuntimeFailure) as failure:
                await pod.runtime.start_container(container)
            assert failure.value.reason == "RunContainerError"
            assert "/no/such/program" in str(failure.value)

        run(subject, scenario)

    def test_exec_sync_gives_output_and_exit_code(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever, env=(("WHO", "me"),))
            result = await pod.runtime.exec_sync(
                container, ("/bin/sh", "-c", "echo $WHO; echo bad >&2; exit 3"), DEADLINE_S
            )
            assert (result.exit_code, result.stdout, result.stderr) == (3, b"me\n", b"bad\n")

        run(subject, scenario)

    def test_exec_sync_raises_when_it_takes_too_long(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            with pytest.raises(TimeoutError):
                await pod.runtime.exec_sync(container, ("sleep", "60"), 1)

        run(subject, scenario)

    def test_exec_in_a_container_that_is_gone_fails(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start("/bin/true")
            await pod.exited(container)
            with pytest.raises(RuntimeFailure):
                await pod.runtime.exec_sync(container, ("true",), 5)
            with pytest.raises(RuntimeFailure):
                await pod.runtime.exec(container, ("true",), tty=False, stdin=False)

        run(subject, scenario)

    def test_an_exec_session_reads_input_to_its_end(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            command = ("/bin/sh", "-c", "cat; echo done >&2; exit 5")
            session = await pod.runtime.exec(container, command, tty=False, stdin=True)
            reading = asyncio.ensure_future(collect(session))
            # More than a pipe holds, so that both directions must flow at once.
            data = b"0123456789abcde\n" * 20_000
            await session.write(data)
            await session.close_stdin()
            async with asyncio.timeout(DEADLINE_S):
                assert await reading == {1: data, 2: b"done\n"}
                assert await session.wait() == 5
            await session.close()

        run(subject, scenario)

    def test_an_exec_session_with_a_terminal_can_be_resized(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            session = await pod.runtime.exec(container, ("/bin/sh",), tty=True, stdin=True)
            await session.resize(101, 37)
            # Sizes and input come by ways of their own. What is typed is shown too: it must not say the size.
            await session.write(b"while [ \"$(stty size)\" != '37 1''01' ]; do sleep 0.05; done\n")
            await session.write(b"stty size; test -t 1 && echo term''inal; exit 4\n")
            async with asyncio.timeout(DEADLINE_S):
                printed = (await collect(session))[1]
                assert await session.wait() == 4
            assert b"37 101" in printed
            assert b"terminal" in printed
            await session.close()

        run(subject, scenario)

    def test_a_closed_exec_session_leaves_no_process(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)
            session = await pod.runtime.exec(container, ("sleep", "98765"), tty=False, stdin=False)
            await session.close()

            async def gone() -> bool:
                command = ("/bin/sh", "-c", "grep -lz 9876[5] /proc/[0-9]*/cmdline | wc -l")
                return (await pod.runtime.exec_sync(container, command, 5)).stdout.strip() == b"0"

            await eventually(gone)

        run(subject, scenario)

    def test_attach_gives_input_and_output(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(
                "/bin/sh",
                "-c",
                "while read line; do echo got $line; done; exit 6",
                stdin=True,
                stdin_once=True,
            )
            session = await pod.runtime.attach(container, tty=False, stdin=True)
            await session.write(b"one\n")
            assert b"got one" in await read_until(session, b"got one\n")
            await session.close_stdin()
            assert (await pod.exited(container)).exit_code == 6
            async with asyncio.timeout(DEADLINE_S):
                assert await session.wait() == 0
            await session.close()
            assert ("stdout", "F", "got one") in pod.log()

        run(subject, scenario)

    def test_attach_to_a_terminal_shows_what_has_no_newline(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(
                "/bin/sh",
                "-c",
                "read go; while [ \"$(stty size)\" != '20 90' ]; do sleep 0.05; done; stty size; "
                "printf 'name? '; read name; exit 8",
                stdin=True,
                tty=True,
            )
            session = await pod.runtime.attach(container, tty=True, stdin=True)
            await session.resize(90, 20)
            await session.write(b"go\n")
            assert b"20 90" in await read_until(session, b"name? ")
            await session.write(b"sampan\n")
            assert (await pod.exited(container)).exit_code == 8
            await session.close()

        run(subject, scenario)

    def test_usage_counts_memory_of_what_runs(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever)

            async def used() -> bool:
                return any(
                    each.container_id == container
                    and each.memory_working_set_bytes > 0
                    and each.cpu_total_ns > 0
                    for each in await pod.runtime.usage()
                )

            await eventually(used)

        run(subject, scenario)


class NetworkConformance:
    """Pods have addresses, and ports that can be reached."""

    def listener(self, port: int, pod_ip: str) -> tuple[str, ...]:
        raise NotImplementedError

    def test_open_port_reaches_a_listener_in_the_pod(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            sandbox = next(each for each in (await pod.runtime.list()).sandboxes if each.id == pod.id)
            await pod.start(*self.listener(18080, sandbox.ips[0]))

            async def answer() -> bytes:
                import socket

                try:
                    descriptor, family = await pod.runtime.open_port(pod.id, 18080)
                except ConnectionError:
                    return b""
                connection = socket.socket(family, socket.SOCK_STREAM, fileno=descriptor)
                reader, writer = await asyncio.open_connection(sock=connection)
                writer.write(b"ping\n")
                data = await reader.readline()
                writer.close()
                await writer.wait_closed()
                return data

            assert await eventually(answer) == b"pong\n"

        run(subject, scenario)

    def test_open_port_raises_where_nothing_listens(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            with pytest.raises(ConnectionError):
                await pod.runtime.open_port(pod.id, 18081)

        run(subject, scenario)

    def test_pods_have_different_addresses(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            async with pod_of(subject, pod.runtime) as other:
                ips = {
                    each.id: each.ips
                    for each in (await pod.runtime.list()).sandboxes
                    if each.id in (pod.id, other.id)
                }
                assert ips[pod.id] != ips[other.id]

        run(subject, scenario)


async def _logged(pod: Pod, name: str, attempt: int) -> bool:
    path = Path(pod.spec.log_directory) / f"{name}-{attempt}.log"
    return path.exists() and bool(path.read_text())
