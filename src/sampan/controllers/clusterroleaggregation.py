"""ClusterRoles with an aggregationRule hold the rules of the ClusterRoles that it selects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Plan, Update
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.machinery import selectors
from sampan.schema import api


class View(msgspec.Struct, frozen=True):
    """A role that is the sum of others, and those others by their names."""

    role: api.ClusterRole
    parts: tuple[api.ClusterRole, ...]


def gather(caches: Caches, key: Key) -> View | None:
    cache = caches.of(api.ClusterRole)
    role = cache.get("", key.name)
    if role is None or role.aggregationRule is None:
        return None
    chosen = [selectors.from_label_selector(each) for each in role.aggregationRule.clusterRoleSelectors]
    parts = [
        other
        for other in cache.items()
        if other.metadata.name != key.name and any(each.matches(other.metadata.labels) for each in chosen)
    ]
    return View(role, tuple(sorted(parts, key=lambda part: part.metadata.name or "")))


def plan(view: View, now: datetime) -> Plan:
    """Write the sum where it is another one; a rule that several parts have is in it once."""
    rules: list[api.PolicyRule] = []
    for part in view.parts:
        rules += [rule for rule in part.rules if rule not in rules]
    if len(rules) == len(view.role.rules) and all(rule in view.role.rules for rule in rules):
        return Plan()
    return Plan((Update(msgspec.structs.replace(view.role, rules=rules)),))


def _sums(caches: Caches, _changed: Any) -> Iterable[Key]:
    """Any role may be a part of any sum."""
    for role in caches.of(api.ClusterRole).items():
        if role.aggregationRule is not None:
            yield Key("", role.metadata.name or "")


CONTROLLER: Final = Controller(
    name="clusterrole-aggregation-controller",
    kind=api.ClusterRole,
    watches=(mapped(api.ClusterRole, _sums),),
    gather=gather,
    plan=plan,
)
