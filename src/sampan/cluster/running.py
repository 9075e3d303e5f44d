"""What runs for a data directory, as its commands see it: the supervisor's lock and its list of parts.

Commands import this at once, so it imports nothing that takes time to load.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import SampanError
from sampan.cluster.restarts import PartState

# struct flock of 64-bit Linux: type, whence, start, length, pid. The lock belongs to the open file, so that
# it ends with the process and with nothing else.
_FLOCK: Final = struct.Struct("hhqqi4x")
_WHOLE_FILE: Final = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_PID_DIGITS: Final = 20
_PID_POLL_S: Final = 0.001


class Lock:
    """One supervisor a data directory: a lock that the kernel lets go of however the holder ends."""

    def __init__(self, run: Path) -> None:
        self._path = run / "supervisor.pid"
        self._fd = -1

    def take(self) -> None:
        """Raises SampanError where another supervisor runs."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except OSError:
            os.close(self._fd)
            raise SampanError(
                "A cluster with this data directory is already running "
                f"(supervisor {self.holder(self._path.parent)}). "
                "Use `sampan status`, or `sampan down` first."
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, str(os.getpid()).encode())

    @staticmethod
    def holder(run: Path) -> int:
        """The pid of the running supervisor; 0 where none runs. Asks the kernel, and takes nothing."""
        try:
            fd = os.open(run / "supervisor.pid", os.O_RDWR)
        except OSError:
            return 0
        try:
            while _is_locked(fd):
                pid = int(os.pread(fd, _PID_DIGITS, 0) or 0)
                if Path(f"/proc/{pid}").exists() and pid:
                    return pid
                # It has just taken the lock, and the pid is still its predecessor's.
                time.sleep(_PID_POLL_S)
            return 0
        finally:
            os.close(fd)


def _is_locked(fd: int) -> bool:
    answer: bytes = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def read_states(run: Path) -> list[PartState]:
    """What the supervisor last wrote about its parts."""
    try:
        return msgspec.json.decode((run / "parts.json").read_bytes(), type=list[PartState])
    except (OSError, msgspec.DecodeError):
        return []


def started_ago_s(state: PartState, now: datetime) -> float:
    """How long a part has been running."""
    return (now - datetime.fromisoformat(state.started_at)).total_seconds() if state.started_at else 0.0
