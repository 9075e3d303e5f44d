"""Devices that take a while: what a claim's devices must report before its pod is bound. Pure."""

from __future__ import annotations

from sampan.kinds.groups.resource.claims import results_of
from sampan.schema import api


def waits(allocation: api.AllocationResult | None) -> bool:
    """Whether any of the devices has binding conditions."""
    devices = allocation.devices if allocation is not None else None
    return devices is not None and any(result.bindingConditions for result in devices.results)


def is_ready(claim: api.ResourceClaim) -> bool:
    """Whether every device that has binding conditions reports all of them."""
    return all(
        condition in _reported(claim, result)
        for result in results_of(claim)
        for condition in result.bindingConditions
    )


def failure(claim: api.ResourceClaim) -> str:
    """What a device reports that it must not; "" for nothing."""
    for result in results_of(claim):
        if not result.bindingConditions:
            continue
        reported = _reported(claim, result)
        for condition in result.bindingFailureConditions:
            if condition in reported:
                device = f"{result.driver}/{result.pool}/{result.device}"
                detail = f": {reported[condition]}" if reported[condition] else ""
                return f"claim {claim.metadata.name}: device {device} reports {condition}{detail}"
    return ""


def _reported(claim: api.ResourceClaim, result: api.DeviceRequestAllocationResult) -> dict[str, str]:
    """The conditions that the device's driver says are true, with their messages."""
    for device in claim.status.devices:
        same = (device.driver, device.pool, device.device) == (result.driver, result.pool, result.device)
        if same and device.shareID == result.shareID:
            return {c.type: c.message for c in device.conditions if c.status == "True"}
    return {}
