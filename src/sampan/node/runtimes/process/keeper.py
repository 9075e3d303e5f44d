"""The keeper of one container: its parent, log writer and doorman, which outlives the agent.

It starts the program, copies its output to the log and to whoever is attached, runs what is exec'd beside it,
and leaves the exit code on disk. One process, one thread, standard library only: it must be small, as there
is one for each container.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path

from sampan.node.runtimes.process import mounts, records, wire
from sampan.node.runtimes.process.child import Child, hold_terminals
from sampan.node.runtimes.process.client import Client
from sampan.node.runtimes.process.crilog import LogWriter
from sampan.node.runtimes.process.kin import children, kill_session, now, start_ticks
from sampan.node.runtimes.process.records import Plan
from sampan.node.runtimes.process.wire import Hello

_READ_BYTES = 64 * 1024
# What waits for a client that reads too slowly. Beyond it an exec'd program has to wait, as with any pipe;
# one who is merely attached is let go, because the container must not wait for a spectator.
_MAX_UNSENT_BYTES = 4 << 20
# Input that waits for a program which does not read; beyond it the client has to wait.
_MAX_UNWRITTEN_BYTES = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36
_DRAIN_S = 1.0
_BACKLOG = 16


class Keeper:
    """The loop: every descriptor has a callback."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self._directory = directory
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._main: Child | None = None
        self._clients: list[Client] = []
        self._open_outputs: dict[int, Child] = {}
        self._unwritten: dict[int, bytearray] = {}
        self._paused: set[Child] = set()  # outputs that their client is too slow for
        self._closing: set[Child] = set()  # inputs that end once all of it is written
        self._log = LogWriter("")
        self._has_ended = False

    # -- start

    def start(self) -> str:
        """Start the container; returns what went wrong, or nothing."""
        self._log = LogWriter(self._plan.log_path)
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # By a path relative to our directory: the whole path may be longer than a socket's name can be.
        os.chdir(self._directory)
        control.bind(records.CONTROL)
        control.listen(_BACKLOG)
        control.setblocking(False)
        hold_terminals()
        if self._plan.binds:
            root = self._directory / "root"
            root.mkdir(exist_ok=True)
            try:
                mounts.enter((mounts.Bind(*bind) for bind in self._plan.binds), root)
            except OSError as error:
                return f"its volumes cannot be mounted: {error}"
        self._watch_children()
        self._main = Child(self._plan, self._plan.argv, tty=self._plan.tty, stdin=self._plan.stdin)
        if self._main.failure:
            return self._main.failure
        self._adopt(self._main)
        self._selector.register(control, selectors.EVENT_READ, lambda: self._accept(control))
        return ""

    @property
    def main_pid(self) -> int:
        return self._main.pid if self._main is not None else 0

    def _watch_children(self) -> None:
        """Signals wake the loop through a pipe; orphans of the container become our children."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(read, selectors.EVENT_READ, lambda: self._reap(read))

    def _adopt(self, child: Child) -> None:
        for descriptor in child.outputs.values():
            os.set_blocking(descriptor, False)
            self._open_outputs[descriptor] = child
            self._watch(child, descriptor)
        if child.input >= 0:
            os.set_blocking(child.input, False)

    def _watch(self, child: Child, descriptor: int) -> None:
        """Watch a program's descriptor for what is wanted of it now; a terminal's serves both ways."""
        if descriptor < 0:
            return
        events = 0
        if descriptor in self._open_outputs and child not in self._paused:
            events |= selectors.EVENT_READ
        if self._unwritten.get(descriptor):
            events |= selectors.EVENT_WRITE
        watched = descriptor in self._selector.get_map()
        if events and watched:
            self._selector.modify(descriptor, events, lambda: self._on_child(child, descriptor))
        elif events:
            self._selector.register(descriptor, events, lambda: self._on_child(child, descriptor))
        elif watched:
            self._selector.unregister(descriptor)

    def _on_child(self, child: Child, descriptor: int) -> None:
        if self._unwritten.get(descriptor):
            self._write_input(child)
        stream = next((stream for stream, output in child.outputs.items() if output == descriptor), 0)
        if stream and descriptor in self._open_outputs and child not in self._paused:
            self._on_output(child, stream, descriptor)

    # -- the loop

    def run(self) -> None:
        """Until the container has ended and everyone has been told."""
        while not self._is_over():
            timeout = _DRAIN_S if self._has_ended or self._any_child_ended() else None
            events = self._selector.select(timeout)
            for key, _ in events:
                key.data()
            if not events and timeout is not None:
                self._stop_draining()

    def _any_child_ended(self) -> bool:
        return any(child.exit_code is not None for child in self._open_outputs.values())

    def _stop_draining(self) -> None:
        """A background process may hold an output open after the program's end; it is not waited for."""
        for descriptor, child in list(self._open_outputs.items()):
            if child.exit_code is not None:
                self._drop_output(descriptor)
        for client in list(self._clients):
            if client.finished:
                self._let_go(client)

    def _is_over(self) -> bool:
        main = self._main
        if main is None or main.exit_code is None or main in self._open_outputs.values():
            return False
        if not self._has_ended:
            self._end()
        return not self._clients

    def _end(self) -> None:
        """The container has ended: what it left is killed, its end is recorded, then told."""
        assert self._main is not None
        self._has_ended = True
        self._log.finish(now())
        for client in self._clients:
            if client.owns_child and client.child is not None and client.child.exit_code is None:
                kill_session(client.child.pid)
        kill_session(self._main.pid)
        for pid in children():
            with suppress(OSError):
                kill_session(os.getsid(pid))
        records.write_json(
            self._directory / records.EXITED, {"exit_code": self._main.exit_code, "finished_at": now()}
        )
        for client in self._clients:
            if not client.owns_child:
                self._finish(client, 0)

    def _reap(self, wakeup: int) -> None:
        with suppress(BlockingIOError):
            os.read(wakeup, _READ_BYTES)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._ended(pid, 128 - code if code < 0 else code)

    def _ended(self, pid: int, code: int) -> None:
        if self._main is not None and pid == self._main.pid:
            self._main.exit_code = code
        for client in self._clients:
            if client.owns_child and client.child is not None and client.child.pid == pid:
                client.child.exit_code = code
                self._finish_if_done(client)

    # -- output

    def _on_output(self, child: Child, stream: int, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a terminal whose programs have all gone
            data = b""
        if not data:
            self._drop_output(descriptor)
            return
        if child is self._main:
            self._log.write(stream, data, now())
        for client in list(self._clients):
            if client.child is child:
                self._queue(client, wire.frame(stream, data))

    def _drop_output(self, descriptor: int) -> None:
        child = self._open_outputs.pop(descriptor)
        self._watch(child, descriptor)
        for client in list(self._clients):
            if client.owns_child and client.child is child:
                self._finish_if_done(client)

    # -- clients

    def _accept(self, control: socket.socket) -> None:
        with suppress(BlockingIOError):
            connection, _ = control.accept()
            connection.setblocking(False)
            client = Client(connection)
            self._clients.append(client)
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._on_client(client))

    def _on_client(self, client: Client) -> None:
        self._send(client)
        if client not in self._clients:
            return
        try:
            data = client.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            frames = client.decoder.feed(data)
        except ValueError:
            data, frames = b"", []
        if not data:
            self._let_go(client)
            return
        for kind, payload in frames:
            self._obey(client, kind, payload)

    def _obey(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == wire.HELLO:
            self._greet(client, wire.read_hello(payload))
        elif client.child is None:
            return
        elif kind == wire.STDIN:
            self._give_input(client.child, payload)
        elif kind == wire.CLOSE_STDIN:
            # An attached client's end is the container's only where it was made to be read once.
            if client.owns_child or self._plan.stdin_once:
                self._close_input(client.child)
        elif kind == wire.RESIZE:
            client.child.resize(*struct.unpack("!HH", payload))

    def _greet(self, client: Client, hello: Hello) -> None:
        if not hello.command:
            client.child = self._main
            self._queue(client, wire.frame(wire.STARTED))
            return
        try:
            child = Child(self._plan, hello.command, tty=hello.tty, stdin=hello.stdin)
            failure = child.failure
        except OSError as error:  # no terminal, process or descriptor is left
            failure = str(error)
        if failure:
            self._queue(client, wire.frame(wire.FAILED, failure.encode()))
            client.finished = True
            self._send(client)
            return
        client.child, client.owns_child = child, True
        self._adopt(child)
        self._queue(client, wire.frame(wire.STARTED))

    def _give_input(self, child: Child, data: bytes) -> None:
        if child.input < 0 or not data:
            return
        waiting = self._unwritten.setdefault(child.input, bytearray())
        waiting += data
        self._write_input(child)
        if len(waiting) >= _MAX_UNWRITTEN_BYTES:
            for client in self._clients:
                if client.child is child:
                    self._watch_client(client)

    def _write_input(self, child: Child) -> None:
        waiting = self._unwritten.get(child.input)
        if not waiting:
            return
        was_full = len(waiting) >= _MAX_UNWRITTEN_BYTES
        try:
            del waiting[: os.write(child.input, waiting)]
        except BlockingIOError:
            pass
        except OSError:
            waiting.clear()
        self._watch(child, child.input)
        if was_full and len(waiting) < _MAX_UNWRITTEN_BYTES:
            for client in self._clients:
                if client.child is child:
                    self._watch_client(client)
        if not waiting and child in self._closing:
            self._closing.discard(child)
            self._close_input(child)

    def _close_input(self, child: Child) -> None:
        if self._unwritten.get(child.input):
            self._closing.add(child)
            return
        if child.input >= 0:
            self._unwritten.pop(child.input, None)
            child.close_input()

    def _queue(self, client: Client, data: bytes) -> None:
        if client.finished:
            return
        client.unsent += data
        self._send(client)
        if len(client.unsent) <= _MAX_UNSENT_BYTES or client not in self._clients:
            return
        if client.owns_child and client.child is not None:
            self._pause(client.child, True)
        else:
            self._let_go(client)

    def _pause(self, child: Child, paused: bool) -> None:
        if paused:
            self._paused.add(child)
        else:
            self._paused.discard(child)
        for descriptor in child.outputs.values():
            self._watch(child, descriptor)

    def _send(self, client: Client) -> None:
        try:
            while client.unsent:
                del client.unsent[: client.connection.send(client.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._let_go(client)
            return
        if client.finished and not client.unsent:
            self._let_go(client)
            return
        if client.child in self._paused and not client.unsent and client.child is not None:
            self._pause(client.child, False)
        self._watch_client(client)

    def _watch_client(self, client: Client) -> None:
        events = selectors.EVENT_WRITE if client.unsent else 0
        child = client.child
        if child is None or len(self._unwritten.get(child.input, b"")) < _MAX_UNWRITTEN_BYTES:
            events |= selectors.EVENT_READ
        watched = client.connection in self._selector.get_map()
        if events and watched:
            self._selector.modify(client.connection, events, lambda: self._on_client(client))
        elif events:
            self._selector.register(client.connection, events, lambda: self._on_client(client))
        elif watched:
            self._selector.unregister(client.connection)

    def _finish_if_done(self, client: Client) -> None:
        child = client.child
        if child is not None and child.exit_code is not None and child not in self._open_outputs.values():
            self._finish(client, child.exit_code)

    def _finish(self, client: Client, code: int) -> None:
        self._queue(client, wire.frame(wire.EXIT, struct.pack("!I", code)))
        if client in self._clients:
            client.finished = True
            self._send(client)

    def _let_go(self, client: Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        if client.connection in self._selector.get_map():
            self._selector.unregister(client.connection)
        client.connection.close()
        child = client.child
        if client.owns_child and child is not None:
            if child.exit_code is None:
                kill_session(child.pid)
            for descriptor in [each for each, owner in self._open_outputs.items() if owner is child]:
                self._drop_output(descriptor)
            self._unwritten.pop(child.input, None)
            self._watch(child, child.input)
            self._paused.discard(child)
            self._closing.discard(child)
            child.close()


def main(directory: Path) -> None:
    """Detach from the agent, start the container, tell the agent by our standard output, and keep it."""
    # Event loops such as uvloop's leave a child more of their descriptors than its own standard streams:
    # one that we kept would hide from the agent that we have answered.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if os.fork() > 0:
        os._exit(0)
    keeper = Keeper(directory, records.read_plan(directory))
    try:
        failure = keeper.start()
    except OSError as error:
        failure = str(error)
    if failure:
        _answer(failure)
        return
    records.write_json(directory / records.KEEPER, {"pid": os.getpid(), "start_ticks": start_ticks()})
    records.write_json(directory / records.STARTED, {"pid": keeper.main_pid, "started_at": now()})
    _answer("")
    keeper.run()


def _answer(text: str) -> None:
    with suppress(OSError):
        os.write(1, text.encode())
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
