"""Taints of devices: which a DeviceTaintRule puts where, and what tolerates them. Pure."""

from __future__ import annotations

from typing import Final

from sampan.schema import api

NO_EXECUTE: Final = "NoExecute"


def selects(rule: api.DeviceTaintRule, driver: str, pool: str, device: str) -> bool:
    """Whether the rule's taint is on the device. A rule without a selector selects none, an empty one all."""
    chosen = rule.spec.deviceSelector
    return (
        chosen is not None
        and chosen.driver in (None, driver)
        and chosen.pool in (None, pool)
        and chosen.device in (None, device)
    )


def tolerates(toleration: api.DeviceToleration, taint: api.DeviceTaint) -> bool:
    """Whether the toleration is for the taint, whatever its time."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return (toleration.value or "") == (taint.value or "")
