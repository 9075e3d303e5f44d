"""When a container that has exited runs again, and after how long: kubelet's restart rules."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sampan.node.model import ContainerRecord, Retry, Role
from sampan.node.turn import has_exited, is_running
from sampan.schema import api

FIRST_BACKOFF_S: Final = 10.0
MOST_BACKOFF_S: Final = 300.0
# A container that ran this long is trusted again: its next crash restarts at once.
BACKOFF_RESET_S: Final = 600.0


def should_restart(container: api.Container, role: Role, pod_policy: str, exit_code: int) -> bool:
    """Whether a container of this role runs again after it exited with `exit_code`.

    A sidecar always does; an init container does until it succeeds; restartPolicyRules come before the
    container's own policy, and that before the pod's.
    """
    if role is Role.EPHEMERAL:
        return False
    if role is Role.SIDECAR:
        return True
    for rule in container.restartPolicyRules:
        if rule.action.startswith("Restart") and _matches(rule, exit_code):
            return True
    policy = container.restartPolicy or pod_policy
    if role is Role.INIT:
        return exit_code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _matches(rule: api.ContainerRestartRule, exit_code: int) -> bool:
    codes = rule.exitCodes
    if codes is None:
        return False
    return (exit_code in codes.values) == (codes.operator == "In")


def restart_due(record: ContainerRecord) -> datetime | None:
    """When the exited container may start again; None when it may at once."""
    exited = record.current
    if exited is None or exited.finished_at is None or not record.backoff_s or record.backoff_at is None:
        return None
    if record.stale or record.force_restart:
        return None
    if _is_stale(record, exited.finished_at):
        return None
    return exited.finished_at + timedelta(seconds=record.backoff_s)


def next_backoff_s(record: ContainerRecord) -> float:
    """The delay that the next crash will wait, once this restart is made."""
    exited = record.current
    if not record.backoff_s or (exited and exited.finished_at and _is_stale(record, exited.finished_at)):
        return FIRST_BACKOFF_S
    return min(record.backoff_s * 2, MOST_BACKOFF_S)


def _is_stale(record: ContainerRecord, exited_at: datetime) -> bool:
    return record.backoff_at is not None and exited_at - record.backoff_at > timedelta(
        seconds=BACKOFF_RESET_S
    )


def next_pull_retry(before: Retry | None, now: datetime) -> Retry:
    """The next try after a failed pull: 10 s, doubling up to 300 s."""
    count = before.count + 1 if before else 1
    delay_s = min(FIRST_BACKOFF_S * 2 ** min(count - 1, 10), MOST_BACKOFF_S)
    return Retry(count, now + timedelta(seconds=delay_s))


def will_run_again(record: ContainerRecord, container: api.Container | None, pod_policy: str) -> bool:
    """Whether a container whose instance has exited has another run to come."""
    if container is None or record.current is None:
        return False
    if record.force_restart or (record.stale and record.role is Role.INIT):
        return True
    return should_restart(container, record.role, pod_policy, record.current.exit_code)


def is_over(record: ContainerRecord, container: api.Container | None, pod_policy: str) -> bool:
    """Whether the container has exited for good."""
    return has_exited(record) and not will_run_again(record, container, pod_policy)


def init_done(record: ContainerRecord) -> bool:
    """Whether the next init container may start: this one succeeded, or is a sidecar that has started."""
    if record.stale:
        return False
    if record.role is Role.SIDECAR:
        return is_running(record) and record.started
    return has_exited(record) and record.current is not None and record.current.exit_code == 0
