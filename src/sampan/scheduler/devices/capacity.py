"""What a request takes of a device's capacity, and how that is rounded and refused by its policy. Pure.

A device that allows several allocations is shared by capacity: each allocation takes a part of every capacity
that the device has, the whole of one that has no policy and is not asked for. For any device, a request must
find what it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sampan.machinery.quantity import Quantity, binary, quantity
from sampan.schema import api

# What is taken of each capacity, by its name in full (`driver/name`).
Shares = Mapping[str, Decimal]


class CapacityConflict(Exception):
    """A request that names one capacity twice; the text says which."""


def full_name(name: str, driver: str) -> str:
    """A capacity's name with its domain: the driver's where none is given."""
    return name if "/" in name else f"{driver}/{name}"


def capacities(device: api.Device, driver: str) -> dict[str, tuple[str, api.DeviceCapacity]]:
    """What the device has, by full name: the name it is published by, and the amount with its policy."""
    found: dict[str, tuple[str, api.DeviceCapacity]] = {}
    for name, held in device.capacity.items():
        full = full_name(name, driver)
        if full not in found or "/" in name:  # a name that is written out in full goes before a short one
            found[full] = (name, held)
    return found


def taken_by(
    device: api.Device, driver: str, wanted: api.CapacityRequirements | None
) -> dict[str, Quantity] | None:
    """What an allocation takes of each capacity, by full name; None where the device does not have it.

    Raises CapacityConflict.
    """
    if wanted is None and not device.capacity:
        return {}
    held = capacities(device, driver)
    asked: dict[str, Quantity] = {}
    for name, amount in wanted.requests.items() if wanted is not None else ():
        full = full_name(name, driver)
        if full not in held:
            return None
        if full in asked:
            short = full.partition("/")[2]
            raise CapacityConflict(f'capacity "{short}" requested both as "{full}" and as "{short}"')
        asked[full] = amount
    taken: dict[str, Quantity] = {}
    for full, (_, capacity) in held.items():
        amount = _rounded(asked.get(full), capacity)
        total = capacity.value or quantity("0")
        if amount.value < 0 or total < amount or _is_refused(amount, capacity.requestPolicy):
            return None
        taken[full] = amount
    return taken


def _rounded(asked: Quantity | None, capacity: api.DeviceCapacity) -> Quantity:
    """The amount that is taken: what is asked for, or the default, raised to the next valid amount."""
    policy = capacity.requestPolicy
    if asked is None:
        default: Any = policy.default if policy is not None else None
        return default if default is not None else capacity.value or quantity("0")
    if policy is None:
        return asked
    allowed = policy.validRange
    if allowed is not None and allowed.min is not None:
        if asked < allowed.min:
            return allowed.min
        return _stepped(asked, allowed.min, allowed.step) if allowed.step is not None else asked
    return next((valid for valid in policy.validValues if asked <= valid), asked)


def _stepped(asked: Quantity, least: Quantity, step: Quantity) -> Quantity:
    over = asked.value - least.value
    steps = over // step.value + (1 if over % step.value else 0)
    return written(least.value + steps * step.value, step)


def _is_refused(amount: Quantity, policy: api.CapacityRequestPolicy | None) -> bool:
    if policy is None or amount == policy.default:
        return False
    if policy.validRange is not None:
        most, step = policy.validRange.max, policy.validRange.step
        least = policy.validRange.min.value if policy.validRange.min is not None else Decimal(0)
        if most is not None and most < amount:
            return True
        return step is not None and (amount.value - least) % step.value != 0
    return bool(policy.validValues) and amount not in policy.validValues


def written(amount: Decimal, like: Quantity) -> Quantity:
    """The amount in the notation of another one."""
    if like.text.endswith("i") and amount == amount.to_integral_value():
        return quantity(binary(int(amount)))
    return quantity(f"{amount:f}")


def leaves_room(device: api.Device, driver: str, used: Shares, more: Mapping[str, Quantity]) -> bool:
    """Whether the device has this much left, beside what others use of it."""
    for full, (_, capacity) in capacities(device, driver).items():
        total = capacity.value.value if capacity.value is not None else Decimal(0)
        mine = more[full].value if full in more else Decimal(0)
        if used.get(full, Decimal(0)) + mine > total:
            return False
    return True


def published_names(device: api.Device, driver: str, taken: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """The amounts by the names that the device publishes, as an allocation tells them."""
    held = capacities(device, driver)
    return {held[full][0]: amount for full, amount in taken.items()}
