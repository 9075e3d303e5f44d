"""The real kubectl against a node's server: logs, exec, attach, cp and port-forward on real processes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fcntl import ioctl
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import yaml

from sampan.cluster import pki
from sampan.cluster.tls import client_context, server_context
from sampan.node.agent import Agent
from sampan.node.config import AgentConfig
from sampan.node.node_info import MachineInfo
from sampan.node.runtimes.process.runtime import ProcessRuntime
from sampan.node.streaming.server import StreamServer
from sampan.schema import api
from sampan.testing.cluster import Cluster
from tests.kubectl import Kubectl, binaries
from tests.ports import free_port

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

NODE = "here"
WAIT_S = 30.0


class Node:
    """A cluster whose only node runs pods as processes."""

    def __init__(self, root: Path) -> None:
        self.cluster = Cluster(nodes=0, simulated_clock=False)
        self.cluster.start()
        self.kubeconfig = self.cluster.kubeconfig
        directory = self.kubeconfig.parent
        authority = pki.load(directory, "ca")
        assert authority is not None
        pair = pki.issue(authority, f"system:node:{NODE}", datetime.now(UTC), hosts=("127.0.0.1",))
        pki.save(directory, "node", pair)
        self.tls = server_context(directory / "ca.crt", directory, "node")
        self.root = root
        self.cluster.call(self._start())

    async def _start(self) -> None:
        clock = self.cluster.clock
        self.runtime = ProcessRuntime(self.root / "runtime", clock=clock)
        port = free_port()
        config = AgentConfig(
            node_name=NODE,
            node_ips=("127.0.0.1",),
            root_dir=str(self.root / "node"),
            log_dir=str(self.root / "logs"),
            kubelet_port=port,
        )
        self.agent = Agent(self.cluster.async_client, self.runtime, config, clock, machine=MachineInfo())
        self.streams = StreamServer(self.agent, clock, self.tls)
        await self.streams.start("127.0.0.1", port)
        self._running = asyncio.create_task(self.agent.run())

    def close(self) -> None:
        self.cluster.call(self._stop())
        self.cluster.close()

    async def _stop(self) -> None:
        await self.streams.close()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        for sandbox in (await self.runtime.list()).sandboxes:
            await self.runtime.remove_sandbox(sandbox.id)
        await self.runtime.close()

    def run_pod(self, name: str, script: str, **container: Any) -> None:
        """Run a pod whose container runs `script`; returns once it has started."""
        restart = container.pop("restart", "Never")
        one = api.Container(name="main", image="host", command=["sh", "-c", script], **container)
        spec = api.PodSpec(
            containers=[one], nodeName=NODE, restartPolicy=restart, terminationGracePeriodSeconds=0
        )
        self.cluster.client.create(
            api.Pod(metadata=api.ObjectMeta(name=name, namespace="default"), spec=spec)
        )
        self.until(lambda: self.state(name) is not None)

    def state(self, name: str) -> api.ContainerState | None:
        """The container's state once it has been started, for the first time."""
        statuses = self.cluster.client.get(api.Pod, name, "default").status.containerStatuses
        if not statuses or statuses[0].state is None:
            return None
        state = statuses[0].state
        return state if state.running is not None or state.terminated is not None else None

    def until(self, condition: Callable[[], bool]) -> None:
        until(condition)


def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fails the test when it does not within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    root = Path(tempfile.mkdtemp(prefix="sampan-streaming-"))
    made = Node(root)
    try:
        made.run_pod("box", "trap 'exit 0' TERM; while :; do sleep 0.2; done")
        yield made
    finally:
        made.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=sorted(binaries()) or ["none"])
def kubectl(request: pytest.FixtureRequest, node: Node) -> Kubectl:
    return Kubectl(node.kubeconfig, binaries().get(request.param, ""))


@pytest.fixture
def spdy(monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl as it was before websockets."""
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")


# -- logs


@pytest.mark.conformance("Kubectl logs logs should be able to retrieve and filter logs")
def test_logs_give_what_the_container_wrote(node: Node, kubectl: Kubectl) -> None:
    _once(node, "talker", "echo one; echo two >&2; printf three")
    assert sorted(kubectl("logs", "talker").split("\n")) == ["one", "three", "two"] or kubectl(
        "logs", "talker"
    ).splitlines() == ["one", "two", "three"]
    assert kubectl("logs", "talker", "--tail=1").strip() in ("three", "two")
    assert len(kubectl("logs", "talker", "--limit-bytes=5")) == 5
    stamped = kubectl("logs", "talker", "--timestamps").splitlines()[0]
    assert datetime.fromisoformat(stamped.split(" ")[0][:19]).year >= 2024


@pytest.mark.conformance("Pods should support retrieving logs from the container over websockets")
@pytest.mark.parametrize("protocol", ["", "binary.k8s.io", "base64.binary.k8s.io"])
def test_logs_over_a_websocket(node: Node, protocol: str) -> None:
    _once(node, "messages", "echo one; echo two")

    async def read(query: str) -> bytes:
        config = yaml.safe_load(node.kubeconfig.read_text())
        server = config["clusters"][0]["cluster"]["server"]
        directory = node.kubeconfig.parent
        tls = client_context(directory / "ca.crt", directory, "admin")
        url = f"{server}/api/v1/namespaces/default/pods/messages/log{query}"
        said = b""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, ssl=tls, protocols=(protocol,) if protocol else ()) as socket,
        ):
            assert (socket.protocol or "") == protocol
            async for message in socket:
                said += base64.b64decode(message.data) if protocol.startswith("base64") else message.data
        return said

    assert node.cluster.call(read("?follow=true")) == b"one\ntwo\n"
    assert node.cluster.call(read("?tailLines=1")) == b"two\n"
    with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
        node.cluster.call(read("?previous=true"))


def test_following_ends_with_the_container(node: Node, kubectl: Kubectl) -> None:
    gate = node.root / "gate"
    gate.unlink(missing_ok=True)
    _delete(node, "follow")
    node.run_pod("follow", f"echo begin; while [ ! -e {gate} ]; do sleep 0.05; done; echo end")
    with _started(kubectl, "logs", "-f", "follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        gate.touch()
        assert process.stdout.read() == b"end\n"
        assert process.wait(WAIT_S) == 0


def test_previous_logs_are_those_of_the_instance_before(node: Node, kubectl: Kubectl) -> None:
    mark = node.root / "mark"
    mark.unlink(missing_ok=True)
    _delete(node, "again")
    script = f"if [ -e {mark} ]; then echo second; exec sleep 1000; fi; touch {mark}; echo first; exit 1"
    node.run_pod("again", script, restart="Always")
    node.until(lambda: _restarts(node, "again") == 1 and _is_running(node, "again"))
    assert kubectl("logs", "again", "--previous") == "first\n"
    assert kubectl("logs", "again") == "second\n"


def test_a_container_without_a_previous_instance_says_so(kubectl: Kubectl) -> None:
    done = kubectl.run("logs", "box", "-p")
    assert 'previous terminated container "main" in pod "box" not found' in done.stderr
    assert "BadRequest" in done.stderr


# -- exec


@pytest.mark.conformance("Pods should support remote command execution over websockets")
def test_exec_gives_output_errors_and_the_exit_code(kubectl: Kubectl) -> None:
    done = kubectl.run("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.returncode) == ("out\n", 7)
    assert done.stderr.splitlines() == ["err", "command terminated with exit code 7"]
    assert kubectl("exec", "box", "--", "true") == ""


def test_exec_passes_input_and_its_end(kubectl: Kubectl) -> None:
    assert kubectl("exec", "-i", "box", "--", "cat", stdin="hi\n") == "hi\n"
    large = "0123456789abcdef" * 65536
    counted = kubectl("exec", "-i", "box", "--", "wc", "-c", stdin=large)
    assert int(counted) == len(large)


def test_exec_carries_much_output_whole(kubectl: Kubectl) -> None:
    assert len(kubectl("exec", "box", "--", "head", "-c", "8000000", "/dev/zero")) == 8_000_000


def test_exec_says_why_it_cannot(kubectl: Kubectl, node: Node) -> None:
    assert "no-such-command" in kubectl.run("exec", "box", "--", "no-such-command").stderr
    _once(node, "ended", "exit 0")
    done = kubectl.run("exec", "ended", "--", "true")
    assert done.returncode == 1
    assert "completed pod" in done.stderr


def test_exec_in_a_terminal_has_its_size_and_follows_it(kubectl: Kubectl) -> None:
    with _Terminal(kubectl, "exec", "-it", "box", "--", "sh", rows=30, columns=90) as terminal:
        terminal.type("stty size\n")
        terminal.expect(b"30 90")
        terminal.resize(41, 123)
        terminal.type("while [ \"$(stty size)\" != '41 123' ]; do sleep 0.05; done; echo re''sized\n")
        terminal.expect(b"resized")
        terminal.type("exit 5\n")
        assert terminal.wait() == 5


def test_exec_over_spdy(kubectl: Kubectl, spdy: None) -> None:
    done = kubectl.run("exec", "-i", "box", "--", "sh", "-c", "cat; echo err >&2; exit 9", stdin="hi\n")
    assert (done.stdout, done.returncode) == ("hi\n", 9)
    assert done.stderr.splitlines()[0] == "err"
    with _Terminal(kubectl, "exec", "-it", "box", "--", "sh", rows=33, columns=77) as terminal:
        terminal.type("stty size\n")
        terminal.expect(b"33 77")
        terminal.type("exit 3\n")
        assert terminal.wait() == 3


def test_a_process_ends_when_its_client_vanishes(kubectl: Kubectl, node: Node) -> None:
    pid_file = node.root / "pid"
    pid_file.unlink(missing_ok=True)
    script = f"echo $$ > {pid_file}; exec sleep 1000"
    with _started(kubectl, "exec", "-i", "box", "--", "sh", "-c", script) as process:
        until(lambda: pid_file.exists() and pid_file.read_text().strip() != "")
        process.kill()
        process.wait(WAIT_S)
        until(lambda: not psutil.pid_exists(int(pid_file.read_text())))


# -- attach


def test_attach_reads_and_writes_a_container(node: Node, kubectl: Kubectl) -> None:
    _delete(node, "echo")
    node.run_pod("echo", "while read line; do echo got $line; done", stdin=True, stdinOnce=True)
    with _started(kubectl, "attach", "-i", "echo", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got one\n"
        process.stdin.close()
        assert process.wait(WAIT_S) == 0
    node.until(lambda: _is_over(node, "echo"))


# -- cp


def test_cp_both_ways(kubectl: Kubectl, node: Node) -> None:
    with tempfile.TemporaryDirectory(prefix="sampan-cp-") as there:
        source = Path(there, "source")
        (source / "deeper").mkdir(parents=True)
        content = os.urandom(3_000_000)
        (source / "deeper" / "file").write_bytes(content)
        kubectl("cp", str(source), f"box:{there}/inside")
        assert Path(there, "inside", "deeper", "file").read_bytes() == content
        kubectl("cp", f"box:{there}/inside/deeper/file", f"{there}/back")
        assert Path(there, "back").read_bytes() == content


# -- port-forward


def test_port_forward_carries_several_connections(kubectl: Kubectl, echo: int) -> None:
    _check_forwarding(kubectl, echo)


def test_port_forward_over_spdy(kubectl: Kubectl, echo: int, spdy: None) -> None:
    _check_forwarding(kubectl, echo)


def test_port_forward_says_when_nothing_listens(kubectl: Kubectl) -> None:
    with _forwarding(kubectl, free_port()) as (port, process):
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
            assert connection.recv(1) == b""
        assert process.stderr is not None
        assert b"error forwarding port" in _read_until(process.stderr.fileno(), b"error forwarding port")


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that echoes each connection up to its end, and then says how much it was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            count = 0
            with connection:
                while data := connection.recv(65536):
                    count += len(data)
                    connection.sendall(data)
                connection.sendall(b"<%d>" % count)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)


def _check_forwarding(kubectl: Kubectl, echo: int) -> None:
    payload = os.urandom(700_000)

    def talk(port: int, results: list[bool]) -> None:
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
            sender = threading.Thread(target=lambda: _send_all(connection, payload))
            sender.start()
            received = bytearray()
            while data := connection.recv(65536):
                received += data
            sender.join(WAIT_S)
            results.append(received == payload + b"<%d>" % len(payload))

    with _forwarding(kubectl, echo) as (port, _):
        results: list[bool] = []
        talks = [threading.Thread(target=talk, args=(port, results)) for _ in range(6)]
        for each in talks:
            each.start()
        for each in talks:
            each.join(WAIT_S)
        assert results == [True] * 6


def _send_all(connection: socket.socket, payload: bytes) -> None:
    connection.sendall(payload)
    connection.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def _forwarding(kubectl: Kubectl, remote: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with _started(kubectl, "port-forward", "box", f":{remote}", stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert "Forwarding from 127.0.0.1:" in line
        yield int(line.split("127.0.0.1:")[1].split(" ")[0]), process


def _read_until(fd: int, wanted: bytes) -> bytes:
    deadline = time.monotonic() + WAIT_S
    found = b""
    while wanted not in found:
        left = deadline - time.monotonic()
        assert left > 0, f"{wanted!r} did not come; there is {found!r}"
        if not select.select([fd], [], [], left)[0]:
            continue
        try:
            data = os.read(fd, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            data = b""
        assert data, f"it ended without {wanted!r}: {found!r}"
        found += data
    return found


# -- simulated nodes


def test_simulated_nodes_have_logs_and_exec() -> None:
    with Cluster() as cluster:
        kubectl = Kubectl(cluster.kubeconfig)
        kubectl("run", "web", "--image=nginx", "--restart=Never")
        cluster.wait_until(lambda: cluster.client.get(api.Pod, "web", "default").status.phase == "Running")
        assert kubectl("logs", "web") == "simulated container web\n"
        assert kubectl("exec", "web", "--", "echo", "hi") == "simulated: echo hi\n"
        assert "nothing listens" not in kubectl("get", "pods")


# -- helpers


class _Terminal:
    """kubectl on a terminal of its own."""

    def __init__(self, kubectl: Kubectl, *arguments: str, rows: int, columns: int) -> None:
        self._master, slave = pty.openpty()
        self._size(slave, rows, columns)
        self._slave = slave
        self._process = subprocess.Popen(
            [kubectl.binary, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=kubectl.environment,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> _Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self._slave)

    @staticmethod
    def _size(fd: int, rows: int, columns: int) -> None:
        ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        self._size(self._master, rows, columns)
        self._process.send_signal(signal.SIGWINCH)

    def expect(self, wanted: bytes) -> bytes:
        return _read_until(self._master, wanted)

    def wait(self) -> int:
        return self._process.wait(WAIT_S)


@contextlib.contextmanager
def _started(kubectl: Kubectl, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [kubectl.binary, *arguments],
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": sys.stderr, **streams},
        env=kubectl.environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _once(node: Node, name: str, script: str) -> None:
    """A pod that has run to its end."""
    _delete(node, name)
    node.run_pod(name, script)
    node.until(lambda: _is_over(node, name))


def _delete(node: Node, name: str) -> None:
    if any(pod.metadata.name == name for pod in node.cluster.client.list(api.Pod, "default")):
        node.cluster.client.delete(api.Pod, name, "default", grace_s=0)
        node.until(lambda: all(p.metadata.name != name for p in node.cluster.client.list(api.Pod, "default")))


def _is_over(node: Node, name: str) -> bool:
    state = node.state(name)
    return state is not None and state.terminated is not None


def _is_running(node: Node, name: str) -> bool:
    state = node.state(name)
    return state is not None and state.running is not None


def _restarts(node: Node, name: str) -> int:
    statuses = node.cluster.client.get(api.Pod, name, "default").status.containerStatuses
    return statuses[0].restartCount if statuses else 0
