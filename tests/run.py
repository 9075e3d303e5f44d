"""Runs every test: those that leave each other alone side by side, then those with containers one by one.

The closing lines of both runs are printed again at the end, so that neither hides behind the other.
"""

from __future__ import annotations

import os
import subprocess
import sys

# They share the machine's network and its containers, or want it to themselves.
ONE_BY_ONE = ("tests/node", "tests/clients/test_guestbook.py", "tests/docs")
WORKERS_MOST = 8


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
    workers = str(min(os.cpu_count() or 1, WORKERS_MOST))
    ignored = [f"--ignore={path}" for path in ONE_BY_ONE]
    in_process, others = (
        run(f"{workers} side by side", "-n", workers, "--dist", "worksteal", *ignored),
        run("one by one", *ONE_BY_ONE),
    )
    sys.stdout.write(f"\n{in_process[1]}\n{others[1]}\n")
    return in_process[0] or others[0]


if __name__ == "__main__":
    sys.exit(main())
