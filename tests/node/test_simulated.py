"""The simulated runtime, held to the part of the suite that needs no programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.node.runtimes.simulated import SimulatedRuntime
from tests.node.runtime_conformance import LifecycleConformance, Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    runtime = SimulatedRuntime(SystemClock(), RandomIds())
    return Subject(open=lambda: runtime, image="web:1", logs=tmp_path / "logs", scratch=tmp_path)


class TestLifecycle(LifecycleConformance):
    pass
