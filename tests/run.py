"""Runs every test: those that disturb nobody side by side, then those with real containers, one by one.

The closing lines of both runs are printed again at the end, so that neither hides behind the other.
"""

from __future__ import annotations

import os
import subprocess
import sys

SIDE_BY_SIDE = "not containers"
ALONE = "containers"


def run(title: str, *options: str) -> tuple[int, str]:
    """pytest's exit status and its closing line; what it prints is seen while it runs."""
    sys.stdout.write(f"\n== {title}\n")
    sys.stdout.flush()
    argv = [sys.executable, "-m", "pytest", *options]
    last = ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            last = line.strip(" =\n") or last
    return process.returncode, f"{title}: {last}"


def main() -> int:
    workers = str(min(os.cpu_count() or 1, 8))
    side_by_side = run(
        f"tests without containers, {workers} at a time",
        *("-m", SIDE_BY_SIDE, "-n", workers, "--dist", "worksteal"),
    )
    alone = run("tests with containers", "-m", ALONE)
    sys.stdout.write(f"\n{side_by_side[1]}\n{alone[1]}\n")
    return side_by_side[0] or alone[0]


if __name__ == "__main__":
    sys.exit(main())
