from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.base.errors import SampanError
from sampan.cluster import asked, config, credentials, lifecycle, main, preflight, readiness
from sampan.cluster.config import Layout, Settings
from sampan.cluster.preflight import Finding
from sampan.cluster.restarts import Death, PartState


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SampanError, match=rf"Port {port} on 127\.0\.0\.1 cannot be used .* --port"):
            asked.demand_port(port)
    asked.demand_port(port)


def test_a_part_that_never_stays_up_is_hopeless(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.run.mkdir()
    deaths = [Death("2030", "exited with status 1: no", 0)] * 3
    states = [
        PartState(name="apiserver", state="waiting", deaths=deaths),
        PartState(name="manager", state="waiting", deaths=deaths[:2]),
        PartState(name="node-1", state="running", deaths=deaths),
    ]
    (layout.run / "parts.json").write_bytes(msgspec.json.encode(states))
    assert list(readiness.hopeless(layout)) == [
        "The apiserver does not stay up: it exited with status 1: no."
    ]


def test_stopping_what_does_not_run(tmp_path: Path) -> None:
    assert lifecycle.stop(Layout(tmp_path)) is False
    assert lifecycle.is_up(Layout(tmp_path)) is False


def test_what_is_missing_is_named_with_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [
        Finding("runc", False, "not found", "runc"),
        Finding("nft", False, "not found", "nftables"),
        Finding("cgroups", False, "not mounted", mend="mount -t cgroup2 none /sys/fs/cgroup"),
    ]
    monkeypatch.setattr(preflight, "findings", lambda runtime: [Finding("root", True, ""), *missing])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(SampanError) as caught:
        preflight.demand("containerd")
    assert str(caught.value) == (
        "This machine lacks runc, nft, cgroups. To mend it: `apt-get install -y nftables runc`; "
        "mount -t cgroup2 none /sys/fs/cgroup."
    )
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert preflight.mend_command(missing) == "sudo apt-get install -y nftables runc"
    assert preflight.best_runtime() == "process"


@pytest.mark.parametrize("runtime", ["process", "simulated"])
def test_without_containers_nothing_is_needed(runtime: str) -> None:
    preflight.demand(runtime)


def test_credentials_that_cannot_be_written_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor is started first, and ends again; a fresh data directory goes."""
    layout = Layout(tmp_path / "d")
    settings = Settings(id="ab12", runtime="simulated")
    config.save(layout, settings)
    started: list[subprocess.Popen[bytes]] = []
    real_popen = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real_popen(*arguments, **options))
        return started[-1]

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(credentials, "ensure", full)
    with pytest.raises(SampanError, match="No space left on device; make room"):
        lifecycle.start(layout, settings, detached=True, fresh=True)
    assert [process.poll() is not None for process in started] == [True]
    assert not layout.root.exists()


def test_a_part_does_not_begin_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "CREDENTIALS_WAIT_S", 0.0)
    layout = Layout(tmp_path)
    with pytest.raises(SampanError, match="were not made whole: the start was broken off"):
        main.wait_for_credentials(layout)
    layout.run.mkdir()
    layout.credentials_made.touch()
    main.wait_for_credentials(layout)
