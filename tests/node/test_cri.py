"""The CRI runtime on a private containerd."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.node.images import builtin
from sampan.node.runtimes.cri.runtime import CriRuntime
from tests.node.conftest import Node
from tests.node.runtime_conformance import (
    CommandConformance,
    LifecycleConformance,
    NetworkConformance,
    Subject,
)

pytestmark = pytest.mark.containers


@pytest.fixture
def subject(node: Node, tmp_path: Path) -> Subject:
    def open_runtime() -> CriRuntime:
        return CriRuntime(node.process.socket_path, cgroup_parent=node.cgroup_parent)

    return Subject(open=open_runtime, image=builtin.BUSYBOX, logs=tmp_path / "logs", scratch=tmp_path)


class TestLifecycle(LifecycleConformance):
    pass


class TestCommands(CommandConformance):
    pass


class TestNetwork(NetworkConformance):
    def listener(self, port: int, pod_ip: str) -> tuple[str, ...]:
        return ("nc", "-ll", "-p", str(port), "-e", "/bin/sh", "-c", "read x; echo pong")
