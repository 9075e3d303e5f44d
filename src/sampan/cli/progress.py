"""Progress for people: a line a step, with a spinner and its time. Plain lines where nobody watches."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


class Steps:
    """Shows one step after the other on stderr; stdout stays for results."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._began_s = time.monotonic()

    @contextlib.contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Show `doing` while the body runs, and `done` with its seconds after it."""
        began_s = time.monotonic()
        if self._live:
            from rich.console import Console

            console = Console(stderr=True, highlight=False)
            with console.status(f"{doing} …", spinner="dots"):
                yield
            console.print(f"[green]✓[/green] {done} [dim]{time.monotonic() - began_s:.1f} s[/dim]")
        else:
            yield
            sys.stderr.write(f"{done} ({time.monotonic() - began_s:.1f} s)\n")

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._began_s
