"""A live server for other people's clients: a whole cluster in this process, over HTTPS on loopback."""

from __future__ import annotations

import gc
import itertools
import warnings
from collections.abc import Iterator

import pytest

from sampan.schema import api
from sampan.testing.cluster import Cluster

_numbers = itertools.count()


@pytest.fixture(scope="module")
def live() -> Iterator[Cluster]:
    """A cluster with two simulated nodes and the machine's own clock."""
    with Cluster(nodes=2, simulated_clock=False) as cluster:
        yield cluster
    with warnings.catch_warnings():
        # Some clients have no way to close their connections, and leave both ends to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def own(live: Cluster) -> Iterator[str]:
    """A namespace of the test's own, complete with its service account."""
    name = f"own-{next(_numbers)}"
    live.client.create(api.Namespace(metadata=api.ObjectMeta(name=name)))
    live.wait_until(lambda: bool(live.client.list(api.ServiceAccount, name)))
    yield name
    live.client.delete(api.Namespace, name)
