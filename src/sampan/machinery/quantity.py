"""Resource quantities: `100m`, `1.5Gi`, `1e3`, and the one canonical way to write each.

Follows k8s.io/apimachinery/pkg/api/resource: three notations (binary, decimal, exponent), values kept
exactly, written back in the notation they came in with the largest suffix that leaves a whole number,
and rounded up to a billionth.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Final

_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_BY_POWER: Final = {power: suffix for suffix, power in _DECIMAL.items()}
_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([KMGTPE]i)|([eE][+-]?\d+)|([numkMGTPE]?))")
_NANO: Final = Decimal(1).scaleb(-9)
# The apimachinery type holds at most 2^63-1 in either notation and caps what is larger.
_MAX: Final = Decimal(2**63 - 1)
_MAX_TEXT_LENGTH: Final = 64
_CACHE_SIZE: Final = 16384


class Quantity:
    """An exact amount with its canonical text. Immutable; equal when the amounts are equal."""

    __slots__ = ("text", "value")

    text: str
    value: Decimal

    def __init__(self, text: str | int | float) -> None:
        """Raises ValueError where `text` is not a quantity."""
        value, canonical = _parse(text if isinstance(text, str) else repr(text))
        object.__setattr__(self, "text", canonical)
        object.__setattr__(self, "value", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Quantity is immutable; make a new one")

    def __copy__(self) -> Quantity:
        return self

    def __deepcopy__(self, memo: object) -> Quantity:
        return self

    def __reduce__(self) -> tuple[type[Quantity], tuple[str]]:
        return (Quantity, (self.text,))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Quantity({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: Quantity) -> bool:
        return self.value < other.value

    def __le__(self, other: Quantity) -> bool:
        return self.value <= other.value

    def milli(self) -> int:
        """The amount in thousandths, rounded up (how CPU is counted)."""
        return int((self.value * 1000).to_integral_value(ROUND_CEILING))

    def whole(self) -> int:
        """The amount in whole units, rounded up (how bytes and pods are counted)."""
        return int(self.value.to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=_CACHE_SIZE)
def quantity(text: str | int | float) -> Quantity:
    """The shared `Quantity` for `text`. Raises ValueError where it is not one."""
    return Quantity(text)


def _parse(text: str) -> tuple[Decimal, str]:
    form = _FORM.fullmatch(text) if len(text) <= _MAX_TEXT_LENGTH else None
    if form is None:
        raise ValueError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    digits, binary, exponent, decimal = form.groups()
    if exponent is not None and abs(int(exponent[1:])) > 30:
        raise ValueError("unable to parse quantity's suffix")
    amount = Decimal(digits)
    if binary is not None:
        amount *= 1 << _BINARY[binary]
    elif exponent is not None:
        amount = amount.scaleb(int(exponent[1:]))
    else:
        amount = amount.scaleb(_DECIMAL[decimal])
    amount = _bounded(amount)
    if binary is not None:
        return amount, _write_binary(amount)
    return amount, _write_decimal(amount, as_exponent=exponent is not None)


def _bounded(amount: Decimal) -> Decimal:
    size = min(abs(amount), _MAX)
    finest = size.as_tuple().exponent
    assert isinstance(finest, int)
    rounded = size.quantize(_NANO, ROUND_CEILING) if finest < -9 else size
    return -rounded if amount < 0 else rounded


def binary(amount: int) -> str:
    """An amount of bytes in the notation of powers of two: `100Mi`, or digits where none divides it."""
    return _write_binary(Decimal(amount))


def _write_binary(amount: Decimal) -> str:
    # Below 1Ki, or with a fraction of a byte, the binary notation falls back to the decimal one.
    if abs(amount) < 1024 or amount != amount.to_integral_value():
        return _write_decimal(amount, as_exponent=False)
    whole = int(amount)
    for suffix, bits in reversed(_BINARY.items()):
        if whole % (1 << bits) == 0:
            return f"{whole >> bits}{suffix}"
    return str(whole)


def _write_decimal(amount: Decimal, *, as_exponent: bool) -> str:
    if amount == 0:
        return "0"
    _, digits, power = amount.normalize().as_tuple()
    assert isinstance(power, int)
    whole = int("".join(map(str, digits)))
    step = power % 3
    whole *= 10**step
    power -= step
    while power > 18:
        whole *= 1000
        power -= 3
    sign = "-" if amount < 0 else ""
    if as_exponent:
        return f"{sign}{whole}e{power}" if power else f"{sign}{whole}"
    return f"{sign}{whole}{_DECIMAL_BY_POWER[power]}"
