"""One whole cluster for the tests of this folder: real pods, created and observed through the API."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.pods.cluster import Cluster


@pytest.fixture(scope="package")
def running() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        cluster = Cluster(Path(folder) / "d")
        try:
            cluster.up()
            yield cluster
            log = (cluster.root / "logs" / "node-1.log").read_text()
            assert "Traceback" not in log and "unexpected" not in log, log
        finally:
            cluster.down()


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """The cluster; what a test made in it is deleted after the test."""
    yield running
    running.clean()
