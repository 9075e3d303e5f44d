from __future__ import annotations

from datetime import UTC, datetime

from sampan.client.effects import Update
from sampan.controllers.clusterroleaggregation import View, plan
from sampan.schema import api

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _role(name: str, *resources: str) -> api.ClusterRole:
    rules = [api.PolicyRule(apiGroups=[""], resources=[r], verbs=["get"]) for r in resources]
    return api.ClusterRole(metadata=api.ObjectMeta(name=name), rules=rules)


def test_a_sum_holds_each_rule_once_and_is_then_content() -> None:
    total = _role("sum", "stale")
    parts = (_role("a", "pods", "nodes"), _role("b", "nodes", "secrets"))
    (effect,) = plan(View(total, parts), NOW).effects
    assert isinstance(effect, Update)
    assert [rule.resources for rule in effect.obj.rules] == [["pods"], ["nodes"], ["secrets"]]
    assert plan(View(effect.obj, parts), NOW).effects == ()


def test_a_sum_of_nothing_is_empty() -> None:
    (effect,) = plan(View(_role("sum", "pods"), ()), NOW).effects
    assert isinstance(effect, Update)
    assert effect.obj.rules == []
