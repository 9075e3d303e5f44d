"""When a part that died is started again: at once, then with growing delays. Pure."""

from __future__ import annotations

import signal
from typing import Final

import msgspec

FIRST_DELAY_S: Final = 0.2
MAX_DELAY_S: Final = 30.0
# A part that has run this long is taken to be well; its next death starts from the first delay again.
WELL_AFTER_S: Final = 60.0
KEPT_DEATHS: Final = 20


class Death(msgspec.Struct, frozen=True):
    """Why and when a part ended."""

    at: str
    why: str
    ran_s: float


class PartState(msgspec.Struct, kw_only=True):
    """What the supervisor knows of one part; written to parts.json for `sampan status`."""

    name: str
    pid: int = 0
    state: str = "starting"  # starting, running, waiting, stopped
    restarts: int = 0
    started_at: str = ""
    delay_s: float = 0.0
    deaths: list[Death] = msgspec.field(default_factory=list)


def after_death(state: PartState, death: Death) -> float:
    """Record a death; returns the seconds to wait before the next start."""
    previous_s = 0.0 if death.ran_s >= WELL_AFTER_S else state.delay_s
    state.delay_s = min(previous_s * 2 if previous_s else FIRST_DELAY_S, MAX_DELAY_S)
    state.deaths = [*state.deaths, death][-KEPT_DEATHS:]
    state.restarts += 1
    state.state = "waiting"
    state.pid = 0
    return state.delay_s


def reason(exit_status: int, last_line: str) -> str:
    """One sentence of why a process ended. `exit_status` as subprocess has it: negative for signals."""
    if exit_status < 0:
        try:
            text = f"killed by {signal.Signals(-exit_status).name}"
        except ValueError:
            text = f"killed by signal {-exit_status}"
    else:
        text = f"exited with status {exit_status}"
    return f"{text}: {last_line}" if last_line else text
