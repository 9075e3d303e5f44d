"""What kubelet tells Prometheus (`/metrics`, `/metrics/resource`, `/metrics/cadvisor`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]
Sample = tuple[Labels, float]

_CPU: Final = "Cumulative cpu time in core-seconds"
_MEMORY: Final = "Current working set in bytes"
_NS: Final = 1e9


def resource(summary: Mapping[str, Any], now: datetime) -> str:
    """`/metrics/resource`, which metrics-server reads. Samples carry the time they were taken at."""
    pods, node = summary["pods"], summary["node"]
    of_containers = list(_containers(pods))
    of_node: list[tuple[dict[str, str], Mapping[str, Any]]] = [] if "cpu" not in node else [({}, node)]
    of_pods = [(_pod_labels(pod), pod) for pod in pods]
    text = ""
    for what, found in (("container", of_containers), ("node", of_node), ("pod", of_pods)):
        text += _family(f"{what}_cpu_usage_seconds_total", "counter", _CPU, _cpu(found), now)
        text += _family(f"{what}_memory_working_set_bytes", "gauge", _MEMORY, _memory(found), now)
    text += _family(
        "container_start_time_seconds",
        "gauge",
        "Start time since unix epoch in seconds",
        [(labels, one["startTime"].timestamp()) for labels, one in of_containers if one.get("startTime")],
        now,
    )
    return text + _family(
        "resource_scrape_error", "gauge", "1 if the usage could not be read, else 0", [({}, 0)]
    )


def cadvisor(summary: Mapping[str, Any], now: datetime) -> str:
    """`/metrics/cadvisor`: the containers' usage by the names that dashboards know."""
    found = list(_containers(summary["pods"]))
    text = _family("container_cpu_usage_seconds_total", "counter", _CPU, _cpu(found), now)
    return text + _family("container_memory_working_set_bytes", "gauge", _MEMORY, _memory(found), now)


def agent(node: str, summary: Mapping[str, Any], process: Mapping[str, float]) -> str:
    """`/metrics`: the agent itself. `process` is what its own process uses, by the metrics' names."""
    containers = sum(len(pod["containers"]) for pod in summary["pods"])
    text = _family(
        "kubelet_node_name", "gauge", "The node's name; the count is always 1", [({"node": node}, 1)]
    )
    text += _family("kubelet_running_pods", "gauge", "Number of pods that run", [({}, len(summary["pods"]))])
    text += _family(
        "kubelet_running_containers",
        "gauge",
        "Number of containers that run",
        [({"container_state": "running"}, containers)],
    )
    for name, value in sorted(process.items()):
        kind = "counter" if name.endswith("_total") else "gauge"
        text += _family(name, kind, "Of the agent's process", [({}, value)])
    return text


def _containers(pods: Iterable[Mapping[str, Any]]) -> Iterable[tuple[dict[str, str], Mapping[str, Any]]]:
    for pod in pods:
        for one in pod["containers"]:
            yield {"container": one["name"], **_pod_labels(pod)}, one


def _pod_labels(pod: Mapping[str, Any]) -> dict[str, str]:
    return {"namespace": pod["podRef"]["namespace"], "pod": pod["podRef"]["name"]}


def _cpu(found: Iterable[tuple[dict[str, str], Mapping[str, Any]]]) -> list[Sample]:
    return [(labels, one["cpu"]["usageCoreNanoSeconds"] / _NS) for labels, one in found]


def _memory(found: Iterable[tuple[dict[str, str], Mapping[str, Any]]]) -> list[Sample]:
    return [(labels, one["memory"]["workingSetBytes"]) for labels, one in found]


def _family(name: str, kind: str, words: str, samples: Iterable[Sample], at: datetime | None = None) -> str:
    """A metric with its samples; nothing where it has none."""
    stamp = f" {int(at.timestamp() * 1000)}" if at is not None else ""
    lines = [f"{name}{_labels(labels)} {_number(value)}{stamp}" for labels, value in samples]
    return "\n".join([f"# HELP {name} {words}", f"# TYPE {name} {kind}", *lines, ""]) if lines else ""


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(labels.items())) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
