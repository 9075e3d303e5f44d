"""The process runtime: no containers, so no root is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.node.runtimes.process.runtime import ProcessRuntime
from tests.node.runtime_conformance import (
    CommandConformance,
    ImageConformance,
    LifecycleConformance,
    NetworkConformance,
    Subject,
)

LISTENER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall(b"pong\\n")
    connection.close()
"""


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    state = tmp_path / "state"
    yield Subject(open=lambda: ProcessRuntime(state), image="host", logs=tmp_path / "logs", scratch=tmp_path)


class TestLifecycle(LifecycleConformance):
    pass


class TestImages(ImageConformance):
    pass


class TestCommands(CommandConformance):
    pass


class TestNetwork(NetworkConformance):
    def listener(self, port: int, pod_ip: str) -> tuple[str, ...]:
        return (sys.executable, "-c", LISTENER, pod_ip, str(port))
