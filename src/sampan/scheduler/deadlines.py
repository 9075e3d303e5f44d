"""The order of pods by deadline, for profiles that enable DeadlineSort. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sampan.schema import api

# An RFC 3339 time by which the pod wants to be done.
DEADLINE: Final = "scheduling.sampan.dev/deadline"
NO_DEADLINE: Final = float("inf")


def rank_of(pod: api.Pod) -> float:
    """The deadline in seconds since 1970: the annotation's, else creation plus activeDeadlineSeconds.

    A pod without either comes last among those of its priority; an annotation that is no time is ignored.
    """
    given = pod.metadata.annotations.get(DEADLINE)
    if given:
        try:
            read = datetime.fromisoformat(given.replace("Z", "+00:00"))
            return read.replace(tzinfo=read.tzinfo or UTC).timestamp()
        except (ValueError, OverflowError):
            pass
    created, lasts_s = pod.metadata.creationTimestamp, pod.spec.activeDeadlineSeconds
    if created is None or lasts_s is None:
        return NO_DEADLINE
    return created.timestamp() + lasts_s
