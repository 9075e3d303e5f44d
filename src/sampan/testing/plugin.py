"""The pytest plugin: a `sampan_cluster` fixture for each test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sampan.testing.cluster import Cluster


@pytest.fixture
def sampan_cluster() -> Iterator[Cluster]:
    """A running in-process cluster with one simulated node and a clock that the test moves."""
    from sampan.testing.cluster import Cluster  # late: most tests of most projects do not need it

    with Cluster() as cluster:
        yield cluster
