"""What single probe results add up to: thresholds, and which probes ought to run. Pure."""

from __future__ import annotations

from typing import Final

from sampan.node.model import (
    ContainerRecord,
    ProbeKind,
    Role,
    Tally,
)
from sampan.node.runtimes.runtime import State
from sampan.schema import api

DEFAULT_PERIOD_S: Final = 10
DEFAULT_TIMEOUT_S: Final = 1
DEFAULT_FAILURES: Final = 3


def probe_of(container: api.Container, kind: ProbeKind) -> api.Probe | None:
    """The container's probe of this kind, if it has one."""
    if kind is ProbeKind.LIVENESS:
        return container.livenessProbe
    if kind is ProbeKind.READINESS:
        return container.readinessProbe
    return container.startupProbe


def tally(before: Tally, ok: bool, probe: api.Probe) -> Tally:
    """Count one result. `healthy` changes only when successThreshold or failureThreshold is reached."""
    if ok:
        successes = before.successes + 1
        reached = successes >= (probe.successThreshold or 1)
        return Tally(successes, 0, True if reached else before.healthy)
    failures = before.failures + 1
    reached = failures >= (probe.failureThreshold or DEFAULT_FAILURES)
    return Tally(0, failures, False if reached else before.healthy)


def wanted(record: ContainerRecord, container: api.Container, ending: bool) -> frozenset[ProbeKind]:
    """Which probes run now: startup alone until it succeeds, then the others; no restarts while ending."""
    instance = record.current
    if instance is None or instance.state is not State.RUNNING or not record.hook_done:
        return frozenset()
    if record.role not in (Role.MAIN, Role.SIDECAR):
        return frozenset()
    kinds = set()
    if container.startupProbe is not None and not record.started:
        if not ending:
            kinds.add(ProbeKind.STARTUP)
        return frozenset(kinds)
    if container.livenessProbe is not None and not ending and record.stop_by is None:
        kinds.add(ProbeKind.LIVENESS)
    if container.readinessProbe is not None:
        kinds.add(ProbeKind.READINESS)
    return frozenset(kinds)
