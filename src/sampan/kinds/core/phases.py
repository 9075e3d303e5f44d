"""When a pod is over: the two phases that no pod leaves again."""

from __future__ import annotations

from typing import Final

from sampan.schema import api

FINISHED: Final = frozenset({"Succeeded", "Failed"})


def is_finished(pod: api.Pod) -> bool:
    """No container of it will ever run again, and it takes no room any more."""
    return pod.status.phase in FINISHED
