"""How long the in-process Cluster takes until it can be used: the median of ten, and of the first one."""

from __future__ import annotations

import statistics
import time

began_s = time.perf_counter()
from sampan.testing import Cluster  # noqa: E402  (its import is part of the figure)

RUNS = 10


def main() -> None:
    imported_s = time.perf_counter() - began_s
    times = []
    for _ in range(RUNS):
        start_s = time.perf_counter()
        with Cluster():
            times.append(time.perf_counter() - start_s)
    print(f"import: {imported_s:.3f} s; first Cluster ready after {times[0]:.3f} s")
    print(f"Cluster ready: median {statistics.median(times):.3f} s (asked 0.4 s), {max(times):.3f} s at most")


if __name__ == "__main__":
    main()
