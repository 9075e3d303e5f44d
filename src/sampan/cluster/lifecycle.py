"""Starting and ending a cluster's processes on this machine: what `sampan up` and `sampan down` do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Final

from sampan.base.errors import SampanError
from sampan.cluster import config
from sampan.cluster.config import Layout, Settings
from sampan.cluster.running import Lock

DOWN_WAIT_S: Final = 60.0
_POLL_S: Final = 0.02


def is_up(layout: Layout) -> bool:
    """Whether a supervisor runs for this data directory."""
    return Lock.holder(layout.run) != 0


def start(
    layout: Layout, settings: Settings, *, detached: bool, fresh: bool = False
) -> subprocess.Popen[bytes]:
    """Start the supervisor, which starts the parts, and make what is missing of the credentials meanwhile.

    Raises SampanError where the directory cannot be written; a `fresh` one is removed again.
    """
    try:
        layout.run.mkdir(parents=True, exist_ok=True)
        layout.logs.mkdir(parents=True, exist_ok=True)
        for stale in (layout.run / "parts.json", layout.credentials_made):
            stale.unlink(missing_ok=True)
        with (layout.logs / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                supervise_argv(layout),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=detached,
                cwd="/",
            )
        _make_credentials(layout, settings, process)
    except OSError as problem:
        if fresh:
            shutil.rmtree(layout.root, ignore_errors=True)
        raise unwritable(layout, problem) from problem
    return process


def _make_credentials(layout: Layout, settings: Settings, supervisor: subprocess.Popen[bytes]) -> None:
    """Make them while the parts load. Raises OSError, SampanError, and then has ended what was started."""
    from sampan.cluster import credentials

    try:
        credentials.ensure(layout, settings, now())
        layout.credentials_made.touch()
    except (OSError, SampanError):
        from sampan.cluster.teardown import teardown

        supervisor.terminate()
        supervisor.wait()
        teardown(layout, settings)
        raise


def unwritable(layout: Layout, problem: OSError) -> SampanError:
    """Why the data directory cannot be written, with the mend."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        mend = "make room on its disk, or choose another --data-dir"
    else:
        mend = "choose another --data-dir, or mend its owner"
    return SampanError(f"Cannot write to {layout.root}: {problem.strerror}; {mend}.")


def wait_for_supervisor(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    """Return once the supervisor has started a part. Raises SampanError with its last words where it ends."""
    while not (layout.run / "parts.json").exists():
        if process.poll() is not None:
            words = (layout.logs / "supervisor.log").read_text(errors="replace").strip().splitlines()
            raise SampanError(words[-1] if words else f"The supervisor of {layout.root} ended at once.")
        time.sleep(_POLL_S)


def supervise_argv(layout: Layout) -> list[str]:
    return [sys.executable, "-m", "sampan.cluster.main", "supervise", str(layout.root)]


def stop(layout: Layout) -> bool:
    """End the cluster and everything it made on the machine; False where none was running.

    Raises SampanError where it does not end in time.
    """
    pid = Lock.holder(layout.run)
    return end(layout, config.load(layout) if pid == 0 else None)


def end(layout: Layout, settings: Settings | None) -> bool:
    """As `stop`; what a cluster that is not running left behind is found by `settings`."""
    pid = Lock.holder(layout.run)
    if pid == 0:
        if settings is not None:
            from sampan.cluster.teardown import teardown

            teardown(layout, settings)
        return False
    with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
        os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + DOWN_WAIT_S
    while Lock.holder(layout.run) == pid:
        if time.monotonic() > deadline_s:
            raise SampanError(
                f"The supervisor (process {pid}) did not end within {DOWN_WAIT_S:.0f} s; see "
                f"{layout.logs}/supervisor.log, then run `sampan down` again."
            )
        time.sleep(_POLL_S)
    return True


def now() -> datetime:
    return datetime.now(UTC)
