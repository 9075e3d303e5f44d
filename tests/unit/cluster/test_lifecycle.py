from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from sampan.base.errors import SampanError
from sampan.cluster import lifecycle, preflight
from sampan.cluster.config import Layout
from sampan.cluster.preflight import Finding
from sampan.cluster.restarts import Death, PartState


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SampanError, match=rf"Port {port} on 127\.0\.0\.1 cannot be used .* --port"):
            lifecycle.demand_port(port)
    lifecycle.demand_port(port)


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
    assert list(lifecycle.hopeless(layout)) == [
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
