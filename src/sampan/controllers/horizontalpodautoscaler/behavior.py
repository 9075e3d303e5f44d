"""What is made of a recommendation: stabilised, slowed down, kept within bounds. Pure.

Follows pkg/controller/podautoscaler/horizontal.go: with `spec.behavior` its windows and policies hold, and
without it the older rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

DOWNSCALE_STABILIZATION_S: Final = 300
UP_LIMIT_FACTOR: Final = 2.0
UP_LIMIT_LEAST: Final = 4

WITHIN: Final = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_MANY: Final = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW: Final = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
UP_LIMIT: Final = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
)
DOWN_LIMIT: Final = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
STEADY: Final = ("ReadyForNewScale", "recommended size matches current size")
DOWN_STABILIZED: Final = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
UP_STABILIZED: Final = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)

Words = tuple[str, str]


class Sample(msgspec.Struct, frozen=True):
    """A recommendation, or a change of scale, and when it was."""

    at: datetime
    replicas: int


class Kept(msgspec.Struct, frozen=True):
    """What an autoscaler remembers between looks; `selector` is that of its target."""

    recommendations: tuple[Sample, ...] = ()
    ups: tuple[Sample, ...] = ()
    downs: tuple[Sample, ...] = ()
    selector: str = ""


class Normalized(msgspec.Struct, frozen=True):
    """The replicas to set, why the recommendation was held back, and why it was limited."""

    replicas: int
    able: Words
    limited: Words
    is_limited: bool


def normalize(hpa: Any, current: int, wanted: int, kept: Kept, now: datetime) -> Normalized:
    """From what the metrics want to what is set."""
    least, most = hpa.spec.minReplicas if hpa.spec.minReplicas is not None else 1, hpa.spec.maxReplicas
    behavior = hpa.spec.behavior
    if behavior is None:
        stable = max([wanted, *_within(kept.recommendations, DOWNSCALE_STABILIZATION_S, now)])
        able = STEADY if stable == wanted else DOWN_STABILIZED
        replicas, words = _bounded(current, stable, least, most)
        return Normalized(replicas, able, words, replicas != stable)
    stable = _stabilized(behavior, current, wanted, kept, now)
    able = STEADY
    if stable != wanted:
        able = UP_STABILIZED if wanted >= current else DOWN_STABILIZED
    replicas, words = _paced(behavior, current, stable, least, most, kept, now)
    return Normalized(replicas, able, words, replicas != stable)


def remember(hpa: Any, kept: Kept, wanted: int, before: int, after: int, now: datetime) -> Kept:
    """What is kept after a look at which the metrics wanted `wanted`: nothing longer than it matters."""
    behavior = hpa.spec.behavior
    window_s = DOWNSCALE_STABILIZATION_S
    ups, downs = kept.ups, kept.downs
    if behavior is not None:
        window_s = max(_window_s(behavior.scaleUp, 0), _window_s(behavior.scaleDown, window_s))
        if after > before:
            ups = (*ups, Sample(now, after - before))
        elif after < before:
            downs = (*downs, Sample(now, before - after))
        longest_s = max(
            (p.periodSeconds for r in (behavior.scaleUp, behavior.scaleDown) if r for p in r.policies),
            default=0,
        )
        ups, downs = _recent(ups, longest_s, now), _recent(downs, longest_s, now)
    samples = (*_recent(kept.recommendations, window_s, now), Sample(now, wanted))
    return msgspec.structs.replace(kept, recommendations=samples, ups=ups, downs=downs)


def _recent(samples: Sequence[Sample], within_s: float, now: datetime) -> tuple[Sample, ...]:
    return tuple(one for one in samples if one.at > now - timedelta(seconds=within_s))


def _within(samples: Sequence[Sample], within_s: float, now: datetime) -> list[int]:
    return [one.replicas for one in _recent(samples, within_s, now)]


def _window_s(rules: Any, default_s: int) -> int:
    if rules is None or rules.stabilizationWindowSeconds is None:
        return default_s
    return int(rules.stabilizationWindowSeconds)


def _bounded(current: int, wanted: int, least: int, most: int) -> tuple[int, Words]:
    limit = int(max(UP_LIMIT_FACTOR * current, UP_LIMIT_LEAST))
    highest, words = (limit, UP_LIMIT) if most > limit else (most, TOO_MANY)
    if wanted < least:
        return least, TOO_FEW
    return (highest, words) if wanted > highest else (wanted, WITHIN)


def _stabilized(behavior: Any, current: int, wanted: int, kept: Kept, now: datetime) -> int:
    up_s = _window_s(behavior.scaleUp, 0)
    down_s = _window_s(behavior.scaleDown, DOWNSCALE_STABILIZATION_S)
    up = min([wanted, *_within(kept.recommendations, up_s, now)])
    down = max([wanted, *_within(kept.recommendations, down_s, now)])
    return min(max(current, up), down)


def _paced(
    behavior: Any, current: int, stable: int, least: int, most: int, kept: Kept, now: datetime
) -> tuple[int, Words]:
    if stable > current:
        limit = max(_up_limit(behavior.scaleUp, current, kept, now), current)
        highest, words = (limit, UP_LIMIT) if most > limit else (most, TOO_MANY)
        if stable > highest:
            return highest, words
    elif stable < current:
        limit = min(_down_limit(behavior.scaleDown, current, kept, now), current)
        lowest, words = (limit, DOWN_LIMIT) if least < limit else (least, TOO_FEW)
        if stable < lowest:
            return lowest, words
    return stable, WITHIN


def _start(policy: Any, current: int, kept: Kept, now: datetime) -> int:
    """How many replicas there were when the policy's period began."""
    added = sum(_within(kept.ups, policy.periodSeconds, now))
    removed = sum(_within(kept.downs, policy.periodSeconds, now))
    return current - added + removed


def _up_limit(rules: Any, current: int, kept: Kept, now: datetime) -> int:
    if rules.selectPolicy == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules.policies:
        start = _start(policy, current, kept, now)
        share = math.ceil(start * (1 + policy.value / 100))
        limits.append(start + policy.value if policy.type == "Pods" else share)
    return min(limits) if rules.selectPolicy == "Min" else max(limits)


def _down_limit(rules: Any, current: int, kept: Kept, now: datetime) -> int:
    if rules.selectPolicy == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules.policies:
        start = _start(policy, current, kept, now)
        share = int(start * (1 - policy.value / 100))
        limits.append(start - policy.value if policy.type == "Pods" else share)
    return max(limits) if rules.selectPolicy == "Min" else min(limits)
