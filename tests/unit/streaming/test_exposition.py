"""What a node tells Prometheus, line by line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sampan.node.streaming import exposition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = 1767225600000


def amounts(cpu_ns: int, memory: int) -> dict[str, Any]:
    return {"cpu": {"usageCoreNanoSeconds": cpu_ns}, "memory": {"workingSetBytes": memory}}


SUMMARY = {
    "node": {"nodeName": "n1", **amounts(90_500_000_000, 4096)},
    "pods": [
        {
            "podRef": {"namespace": "shop", "name": "web"},
            "containers": [{"name": "main", "startTime": NOW, **amounts(1_250_000_000, 1024)}],
            **amounts(1_250_000_000, 1024),
        }
    ],
}


def samples(text: str) -> set[str]:
    return {line for line in text.splitlines() if not line.startswith("#")}


def test_resource_metrics_are_those_that_metrics_server_reads() -> None:
    where = 'container="main",namespace="shop",pod="web"'
    assert samples(exposition.resource(SUMMARY, NOW)) == {
        f"container_cpu_usage_seconds_total{{{where}}} 1.25 {STAMP}",
        f"container_memory_working_set_bytes{{{where}}} 1024 {STAMP}",
        f"container_start_time_seconds{{{where}}} 1767225600 {STAMP}",
        f"node_cpu_usage_seconds_total 90.5 {STAMP}",
        f"node_memory_working_set_bytes 4096 {STAMP}",
        f'pod_cpu_usage_seconds_total{{namespace="shop",pod="web"}} 1.25 {STAMP}',
        f'pod_memory_working_set_bytes{{namespace="shop",pod="web"}} 1024 {STAMP}',
        "resource_scrape_error 0",
    }


def test_a_server_of_many_nodes_speaks_of_no_machine() -> None:
    text = exposition.resource({"node": {"nodeName": ""}, "pods": []}, NOW)
    assert samples(text) == {"resource_scrape_error 0"}
    assert exposition.cadvisor({"node": {}, "pods": []}, NOW) == ""


def test_the_agent_counts_what_runs() -> None:
    text = exposition.agent('n"1', SUMMARY, {"process_cpu_seconds_total": 1.5, "process_open_fds": 7})
    assert samples(text) == {
        'kubelet_node_name{node="n\\"1"} 1',
        "kubelet_running_pods 1",
        'kubelet_running_containers{container_state="running"} 1',
        "process_cpu_seconds_total 1.5",
        "process_open_fds 7",
    }
    assert "# TYPE process_cpu_seconds_total counter" in text
    assert "# TYPE process_open_fds gauge" in text
