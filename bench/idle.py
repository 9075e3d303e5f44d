"""Memory and CPU of an idle cluster. Usage: idle.py [DATA_DIR].

Two figures for memory: RSS counts what processes share once for each of them; PSS divides it among them, so
that the sum of PSS is what the machine would have free without the cluster.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

from sampan.cluster import config
from sampan.cluster.config import Layout

SECONDS = 30


def main() -> None:
    layout = Layout(Path(sys.argv[1]) if len(sys.argv) > 1 else config.default_root())
    ours = [p for p in psutil.process_iter(["cmdline"]) if _is_ours(p, layout.root)]
    if not ours:
        sys.exit(f"No process of a cluster in {layout.root} is running.")
    before = {p.pid: sum(p.cpu_times()[:2]) for p in ours}
    time.sleep(SECONDS)
    rss_total = pss_total = cpu_total = 0.0
    for process in ours:
        memory = process.memory_full_info()
        rss_mb, pss_mb = memory.rss / 1e6, memory.pss / 1e6
        cpu = (sum(process.cpu_times()[:2]) - before[process.pid]) / SECONDS * 100
        rss_total, pss_total, cpu_total = rss_total + rss_mb, pss_total + pss_mb, cpu_total + cpu
        print(f"PSS {pss_mb:6.1f} MB  RSS {rss_mb:6.1f} MB  CPU {cpu:5.2f} %  {_name(process)}")
    asked = "asked: 350 MB, 2 % of one core"
    print(f"PSS {pss_total:6.1f} MB  RSS {rss_total:6.1f} MB  CPU {cpu_total:5.2f} %  together ({asked})")


def _is_ours(process: psutil.Process, root: Path) -> bool:
    line = " ".join(process.info["cmdline"] or ())
    if "sampan.cluster.main" in line:
        return str(root) in line
    return "-m sampan.network.dns" in line and _in_cluster(process.pid, root)


def _in_cluster(pid: int, root: Path) -> bool:
    """Whether a pod's process is of this cluster: its cgroup bears the cluster's id."""
    settings = config.load(Layout(root))
    return settings is not None and f"sampan-{settings.id}" in Path(f"/proc/{pid}/cgroup").read_text()


def _name(process: psutil.Process) -> str:
    return " ".join(process.cmdline()[2:5])


if __name__ == "__main__":
    main()
