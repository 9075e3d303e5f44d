"""A program that a keeper starts, with pipes or a terminal."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from contextlib import suppress

from sampan.node.runtimes.process import records
from sampan.node.runtimes.process.records import Plan

# As the kernel has them on x86 and ARM; the termios module knows neither.
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_ptmx = -1


def hold_terminals() -> None:
    """Keep a way to new terminals. Call before mounts change /dev: the kernel looks for pts beside ptmx."""
    global _ptmx
    with suppress(OSError):
        _ptmx = os.open("/dev/ptmx", os.O_PATH | os.O_CLOEXEC)


class Child:
    """A started program with our ends of its standard streams."""

    def __init__(self, plan: Plan, argv: tuple[str, ...], *, tty: bool, stdin: bool) -> None:
        self.exit_code: int | None = None
        self.tty = tty
        failed_read, failed_write = os.pipe2(os.O_CLOEXEC)
        ours, theirs = _terminal() if tty else _pipes(stdin)
        self.pid = os.fork()
        if self.pid == 0:
            _become(plan, argv, theirs, failed_write, tty)
        os.close(failed_write)
        for descriptor in set(theirs):
            os.close(descriptor)
        self.input, self.outputs = ours
        with os.fdopen(failed_read, "rb") as failed:
            self.failure = failed.read().decode(errors="replace")
        if self.failure:
            os.waitpid(self.pid, 0)
            self.close()

    def close_input(self) -> None:
        """A terminal's input ends with its end-of-file character, as nothing can be closed on one side."""
        if self.tty:
            with suppress(OSError):
                os.write(self.input, b"\x04")
        elif self.input >= 0:
            os.close(self.input)
            self.input = -1

    def resize(self, columns: int, rows: int) -> None:
        if self.tty:
            with suppress(OSError):
                fcntl.ioctl(self.outputs[1], termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def close(self) -> None:
        for descriptor in {self.input, *self.outputs.values()} - {-1}:
            with suppress(OSError):
                os.close(descriptor)
        self.input, self.outputs = -1, {}


Ends = tuple[tuple[int, dict[int, int]], tuple[int, int, int]]


def _pipes(stdin: bool) -> Ends:
    if stdin:
        in_read, in_write = os.pipe2(os.O_CLOEXEC)
    else:
        in_read, in_write = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    return (in_write, {1: out_read, 2: err_read}), (in_read, out_write, err_write)


def _terminal() -> Ends:
    path = f"/proc/self/fd/{_ptmx}" if _ptmx >= 0 else "/dev/ptmx"
    ours = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(ours, _TIOCSPTLCK, struct.pack("i", 0))
        theirs = fcntl.ioctl(ours, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        os.close(ours)
        raise
    return (ours, {1: ours}), (theirs, theirs, theirs)


def _become(plan: Plan, argv: tuple[str, ...], theirs: tuple[int, int, int], failed: int, tty: bool) -> None:
    """In the child: turn into the program, or say why not."""
    try:
        os.setsid()
        for target, descriptor in enumerate(theirs):
            os.dup2(descriptor, target)
        if tty:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if plan.gid is not None or plan.uid is not None:
            os.setgroups(plan.groups)
            os.setgid(plan.gid if plan.gid is not None else os.getegid())
            os.setuid(plan.uid if plan.uid is not None else os.geteuid())
        os.chdir(plan.cwd or "/")
        environment = dict(plan.env)
        if tty:
            environment.setdefault("TERM", "xterm")
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(failed, f"{argv[0]}: {error.strerror}".encode())
    finally:
        os._exit(records.NOT_FOUND_CODE)
