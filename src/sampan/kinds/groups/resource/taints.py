"""Taints of devices: which a DeviceTaintRule puts where. Pure."""

from __future__ import annotations

from sampan.schema import api


def selects(rule: api.DeviceTaintRule, driver: str, pool: str, device: str) -> bool:
    """Whether the rule's taint is on the device. A rule without a selector selects none, an empty one all."""
    chosen = rule.spec.deviceSelector
    return (
        chosen is not None
        and chosen.driver in (None, driver)
        and chosen.pool in (None, pool)
        and chosen.device in (None, device)
    )
