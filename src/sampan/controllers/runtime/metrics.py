"""The work queues of a manager in Prometheus' text format, under the names that Kubernetes gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sampan.client.queue import DURATION_BUCKETS_S, Durations, WorkQueue

_HELP: Final = {
    "workqueue_depth": ("gauge", "Keys that wait to be worked on."),
    "workqueue_adds_total": ("counter", "Keys that were added."),
    "workqueue_retries_total": ("counter", "Keys that were put off after a failure."),
    "workqueue_queue_duration_seconds": ("histogram", "How long keys waited."),
    "workqueue_work_duration_seconds": ("histogram", "How long keys were worked on."),
    "workqueue_unfinished_work_seconds": ("gauge", "For how long all keys under way have been worked on."),
    "workqueue_longest_running_processor_seconds": ("gauge", "The same of the key that takes longest."),
}


def render(queues: Mapping[str, WorkQueue[Any]]) -> str:
    """All queues by their controllers' names."""
    return "\n".join(line for name in _HELP for line in _family(name, queues)) + "\n"


def _family(name: str, queues: Mapping[str, WorkQueue[Any]]) -> Iterator[str]:
    kind, text = _HELP[name]
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for queue_name, queue in sorted(queues.items()):
        yield from _samples(name, f'name="{queue_name}"', queue)


def _samples(name: str, label: str, queue: WorkQueue[Any]) -> Iterable[str]:
    counts, running_s = queue.counts, queue.running_s()
    match name:
        case "workqueue_depth":
            return [f"{name}{{{label}}} {len(queue)}"]
        case "workqueue_adds_total":
            return [f"{name}{{{label}}} {counts.adds}"]
        case "workqueue_retries_total":
            return [f"{name}{{{label}}} {counts.retries}"]
        case "workqueue_queue_duration_seconds":
            return _histogram(name, label, counts.queued)
        case "workqueue_work_duration_seconds":
            return _histogram(name, label, counts.worked)
        case "workqueue_unfinished_work_seconds":
            return [f"{name}{{{label}}} {sum(running_s):g}"]
        case _:
            return [f"{name}{{{label}}} {max(running_s, default=0.0):g}"]


def _histogram(name: str, label: str, durations: Durations) -> Iterator[str]:
    count = 0
    for bound_s, found in zip((*DURATION_BUCKETS_S, None), durations.buckets, strict=True):
        count += found
        bound = "+Inf" if bound_s is None else f"{bound_s:g}"
        yield f'{name}_bucket{{{label},le="{bound}"}} {count}'
    yield f"{name}_sum{{{label}}} {durations.total_s:g}"
    yield f"{name}_count{{{label}}} {count}"
