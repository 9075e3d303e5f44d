"""What drivers say of the health of devices: how long it holds, and how pods show it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.kinds.core.allocated_validation import HEALTHY, MOST_MESSAGE_BYTES, UNHEALTHY, UNKNOWN, title
from sampan.node.drivers.claimplan import Device, Prepared, claim_names, devices_of
from sampan.node.drivers.deviceplan import Held
from sampan.schema import api

# How long a report holds where the driver does not say so, as with kubelet.
DEFAULT_TIMEOUT_S: Final = 30
# Devices of one driver whose health is kept; of further ones nothing is known.
MOST_DEVICES: Final = 16384

DeviceKey = tuple[str, str]  # pool and name


class Health(msgspec.Struct, frozen=True):
    """What a driver reported of one device, and when the agent heard of it."""

    pool: str
    device: str
    health: str
    at: datetime
    timeout_s: int = DEFAULT_TIMEOUT_S
    message: str = ""

    @property
    def key(self) -> DeviceKey:
        return self.pool, self.device

    @property
    def until(self) -> datetime:
        """From then on the health is unknown again, unless the driver reports anew."""
        return self.at + timedelta(seconds=self.timeout_s)

    def says_as(self, other: Health) -> bool:
        """Whether another report says the same, leaving aside when."""
        return msgspec.structs.replace(other, at=self.at) == self


Known = Mapping[str, Mapping[DeviceKey, Health]]  # by driver


def report(
    pool: str, device: str, health: str, now: datetime, *, timeout_s: int = 0, message: str = ""
) -> Health:
    """A device's part of a report; a timeout of zero or less stands for kubelet's."""
    return Health(
        pool, device, health, now, timeout_s if timeout_s > 0 else DEFAULT_TIMEOUT_S, _short(message)
    )


def _short(message: str) -> str:
    """As much of the message as a pod's status may hold, which is counted in bytes."""
    encoded = message.encode()
    if len(encoded) <= MOST_MESSAGE_BYTES:
        return message
    return encoded[: MOST_MESSAGE_BYTES - 3].decode(errors="ignore") + "..."


def learned(
    before: Mapping[DeviceKey, Health], reports: Iterable[Health], now: datetime
) -> tuple[dict[DeviceKey, Health], bool]:
    """What is known of a driver's devices after a report, and whether that is other than before.

    What the report does not name stays until its time is over.
    """
    known: dict[DeviceKey, Health] = dict(before)
    named: set[DeviceKey] = set()
    changed = False
    for each in reports:
        named.add(each.key)
        if each.key not in known and len(known) >= MOST_DEVICES:
            continue
        last = known.get(each.key)
        changed = changed or last is None or last.until <= now or not each.says_as(last)
        known[each.key] = each
    gone = [key for key, each in known.items() if key not in named and each.until <= now]
    for key in gone:
        del known[key]
    return known, changed or bool(gone)


def next_end(known: Known, after: datetime) -> datetime | None:
    """When the next report ceases to hold; None where none does after that time."""
    ends = (each.until for devices in known.values() for each in devices.values())
    return min((end for end in ends if end > after), default=None)


def plugin_statuses(
    held: Iterable[Held], devices: Mapping[str, Mapping[str, bool]]
) -> dict[str, tuple[api.ResourceStatus, ...]]:
    """By container, the devices of device plugins that a pod has, from what plugins listed last.

    As with kubelet, a device that its plugin does not list counts as healthy.
    """
    found: dict[str, list[api.ResourceStatus]] = {}
    for each in sorted(held, key=lambda h: (h.container, h.resource)):
        listed = devices.get(each.resource, {})
        states = [
            api.ResourceHealth(resourceID=name, health=HEALTHY if listed.get(name, True) else UNHEALTHY)
            for name in sorted(each.devices)
        ]
        found.setdefault(each.container, []).append(api.ResourceStatus(name=each.resource, resources=states))
    return {name: tuple(statuses) for name, statuses in found.items()}


def claim_statuses(
    pod: api.Pod, prepared: Iterable[Prepared], known: Known, now: datetime
) -> dict[str, tuple[api.ResourceStatus, ...]]:
    """By container, the devices of the claims that its resources name, as far as they are prepared."""
    names = claim_names(pod)
    by_name = {each.name: each for each in prepared}
    found = {}
    for container in pod.spec.containers:
        mine: dict[str, api.ResourceStatus] = {}
        for used in container.resources.claims if container.resources is not None else ():
            claim = by_name.get(names.get(used.name, ""))
            if claim is None:
                continue
            name = title(used)
            states: dict[str, api.ResourceHealth] = {}
            for driver, device in devices_of(claim, used.request or ""):
                state = _state(driver, device, known, now)
                states.setdefault(state.resourceID, state)
            if states:
                mine[name] = api.ResourceStatus(name=name, resources=list(states.values()))
        if mine:
            found[container.name] = tuple(mine.values())
    return found


def _state(driver: str, device: Device, known: Known, now: datetime) -> api.ResourceHealth:
    identity = device.cdi[0] if device.cdi else f"{driver}/{device.pool}/{device.name}"
    health = known.get(driver, {}).get((device.pool, device.name))
    if health is None or health.until <= now:
        return api.ResourceHealth(resourceID=identity, health=UNKNOWN)
    return api.ResourceHealth(resourceID=identity, health=health.health, message=health.message or None)
