"""Processes that are forks of this one: they begin with everything it has loaded, and share its memory.

A fork must find nobody else at work in the process: it is for processes with one thread, that have loaded
nothing which keeps threads of its own (grpc, the linear algebra of numpy).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn

import setproctitle

_PR_SET_PDEATHSIG: Final = 1
# What the parent handles in its own way, and a child must not.
_HANDLED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
_FIRST_OTHER_FD: Final = 3

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Child:
    """A fork, as asyncio's Process shows a program."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        """The exit status; negative for the signal that ended it."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError where it has ended."""
        if self._ended.done():
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def look(self) -> bool:
        """Whether it has ended; called when some child has."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        self._ended.set_result(os.waitstatus_to_exitcode(status))
        return True


class Children:
    """The forks of this process. Made within its event loop, which SIGCHLD wakes when one of them ends."""

    def __init__(self) -> None:
        self._alive: list[Child] = []
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._look)

    def fork(self, main: Callable[[], int], title: Sequence[str], log: int) -> Child:
        """Run `main` in a fork with `log` as its output and nothing else open; `title` is its command line.

        It dies with this process. Raises OSError where the machine takes no more processes.
        """
        parent = os.getpid()
        sys.stderr.flush()
        # A signal that came before the child has let go of the parent's handlers would be told to the parent.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                _become(main, title, log, parent, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        child = Child(pid)
        self._alive.append(child)
        self._look()  # it may have ended before it was listed
        return child

    def _look(self) -> None:
        self._alive = [child for child in self._alive if not child.look()]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; all that may be done between fork and exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _become(
    main: Callable[[], int], title: Sequence[str], log: int, parent: int, mask: Iterable[int]
) -> NoReturn:
    """What the child does; what is above on its stack belongs to the parent and is never returned to."""
    status = 1
    try:
        _leave_parent(log, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        setproctitle.setproctitle(" ".join(title))
        status = main()
    except SystemExit as told:
        status = told.code if isinstance(told.code, int) else 1
    except BaseException as problem:
        traceback.print_exception(problem)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _leave_parent(log: int, parent: int) -> None:
    die_with_parent()
    if os.getppid() != parent:  # it ended before the kernel was told to end its children with it
        os._exit(1)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in _HANDLED - {signal.SIGINT}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(log, 1)
    os.dup2(log, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(_FIRST_OTHER_FD, os.sysconf("SC_OPEN_MAX"))
