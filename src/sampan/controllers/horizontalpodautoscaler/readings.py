"""What an autoscaler knows about its target and its metrics: values, as the survey read them.

Amounts are in thousandths throughout, so that a CPU and a queue length are counted alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec


class PodReading(msgspec.Struct, frozen=True):
    """One pod's usage: measured over `window_s` up to `at`; None where the metric tells no time."""

    amount_m: int
    at: datetime | None = None
    window_s: float = 0.0


class Reading(msgspec.Struct, frozen=True):
    """What was measured for one MetricSpec: per pod, or one amount for all; or why there is nothing."""

    pods: Mapping[str, PodReading] = {}
    amount_m: int | None = None
    error: str = ""


class Target(msgspec.Struct, frozen=True):
    """The scale subresource of what is scaled; `replicas` is what is asked for, `current` what there is."""

    api_version: str = ""
    kind: str = ""
    uid: str = ""
    replicas: int = 0
    current: int = 0
    selector: str = ""
    error: str = ""
