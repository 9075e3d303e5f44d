"""How the server's seats are divided among priority levels: nominal limits, lending and borrowing. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

# A level's demand is forgotten by this much at each adjustment (every 10 s): half of it in 5 minutes.
_SMOOTHING: Final = 0.977
_BISECTIONS: Final = 60


class Shares(msgspec.Struct, frozen=True):
    """What a PriorityLevelConfiguration says of its seats. `borrowing` None: all that others lend."""

    shares: int
    lendable_percent: int = 0
    borrowing_percent: int | None = None
    exempt: bool = False


class Bounds(msgspec.Struct, frozen=True):
    """The seats of a level: what is its own, and between what the present number moves."""

    nominal: int
    lowest: int
    highest: int


class Demand(msgspec.Struct, frozen=True):
    """How many seats a level has wanted: the most in the last period, and smoothed over many."""

    high: float = 0.0
    smooth: float = 0.0


class DemandMeter:
    """Integrates a number of seats over time."""

    __slots__ = ("_area", "_began_s", "_high", "_squares", "_value", "_value_at_s")

    def __init__(self, now_s: float) -> None:
        self._value = self._high = 0
        self._began_s = self._value_at_s = now_s
        self._area = self._squares = 0.0

    def add(self, seats: int, now_s: float) -> None:
        """Seats come to be wanted, or (negative) are wanted no more."""
        value, span_s = self._value, now_s - self._value_at_s
        self._area += value * span_s
        self._squares += value * value * span_s
        self._value_at_s = now_s
        self._value = value = value + seats
        if value > self._high:
            self._high = value

    def period(self, before: Demand, now_s: float) -> Demand:
        """The demand with the period up to now taken in; begins a new period."""
        self.add(0, now_s)
        span_s = now_s - self._began_s
        high = float(self._high)
        envelope = high
        if span_s > 0:
            mean = self._area / span_s
            deviation = math.sqrt(max(0.0, self._squares / span_s - mean * mean))
            envelope = min(high, mean + deviation)
        self._restart(now_s)
        return Demand(high, max(envelope, _SMOOTHING * before.smooth + (1 - _SMOOTHING) * envelope))

    def _restart(self, now_s: float) -> None:
        self._began_s = self._value_at_s = now_s
        self._area = self._squares = 0.0
        self._high = self._value


def bounds(levels: Mapping[str, Shares], total: int) -> dict[str, Bounds]:
    """The bounds of each level where the server has `total` seats."""
    every = sum(level.shares for level in levels.values())
    found = {}
    for name, level in levels.items():
        nominal = math.ceil(total * level.shares / every) if every else 0
        lendable = math.floor(nominal * level.lendable_percent / 100 + 0.5)
        if level.exempt or level.borrowing_percent is None:
            highest = total
        else:
            highest = nominal + math.floor(nominal * level.borrowing_percent / 100 + 0.5)
        found[name] = Bounds(nominal, nominal - lendable, max(nominal, highest))
    return found


def divide(
    levels: Mapping[str, Shares], limits: Mapping[str, Bounds], demands: Mapping[str, Demand], total: int
) -> dict[str, int]:
    """The seats of each level until the next adjustment.

    A level keeps what it uses of its nominal seats; what the others do not use is shared in proportion to
    what each has wanted lately.
    """
    least: dict[str, float] = {}
    wanted: dict[str, float] = {}
    left = float(total)
    for name, level in levels.items():
        limit, demand = limits[name], demands.get(name, Demand())
        low = max(float(limit.lowest), min(float(limit.nominal), demand.high))
        least[name] = low
        wanted[name] = max(low, min(float(limit.highest), demand.smooth))
        if level.exempt:  # it takes what it takes; what it takes others cannot have
            left -= wanted[name]
    given = {name: wanted[name] for name, level in levels.items() if level.exempt}
    limited = [name for name, level in levels.items() if not level.exempt]
    left = max(0.0, left)

    def at(factor: float) -> dict[str, float]:
        return {
            name: min(float(limits[name].highest), max(least[name], factor * wanted[name]))
            for name in limited
        }

    if sum(least[name] for name in limited) >= left:
        given |= {name: least[name] for name in limited}
    else:
        low, high = 0.0, 1.0
        while sum(at(high).values()) < left and high < 2.0**_BISECTIONS:
            high *= 2
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if sum(at(middle).values()) > left:
                high = middle
            else:
                low = middle
        given |= at(low)
    return {name: math.floor(seats + 0.5) for name, seats in given.items()}
