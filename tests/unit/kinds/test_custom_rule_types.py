from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.custom import rules
from sampan.kinds.custom.ruletypes import RuleType
from sampan.kinds.custom.structural import Node

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "x": {"type": "integer"},
        "text": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "either": {"x-kubernetes-int-or-string": True},
        "two-words": {"type": "boolean"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"y": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True},
    },
}


def said(rule: str, *, optional: bool = False, root: bool = True) -> str:
    return rules.compile_error(rule, RuleType(SCHEMA, root=root), optional_old_self=optional)


@pytest.mark.parametrize(
    "rule",
    [
        "self.x > 1 && self.text != ''",
        "self.at < timestamp('2030-01-01T00:00:00Z')",
        "self.either == 1 || self.either == '1'",
        "self.two__dash__words",
        "self.list.all(each, each.y.startsWith('a'))",
        "self.map['a'] > 1 && self.map.a > 1 && self.map.all(name, name != '')",
        "self.template.metadata.name != self.metadata.generateName && self.kind == self.template.kind",
        "!has(oldSelf.x) || oldSelf.x <= self.x",
    ],
)
def test_rules_may_ask_for_what_there_is(rule: str) -> None:
    assert said(rule) == ""


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("self.z == 100", "undefined field 'z'"),
        ("self.list.all(each, each.z == '')", "undefined field 'z'"),
        ("has(self.metadata.labels)", "undefined field 'labels'"),
        ("oldSelf.z == self.x", "undefined field 'z'"),
        ("self.x > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("self.text.y == ''", "type 'string' does not support field selection"),
    ],
)
def test_rules_about_what_is_not_there_are_refused_in_the_words_of_cel_go(rule: str, fault: str) -> None:
    assert said(rule).startswith("compilation failed: ERROR: <input>:1:")
    assert fault in said(rule)


def test_fields_of_an_inner_object_have_no_kind_of_their_own() -> None:
    assert said("self.kind == ''") == ""
    assert "undefined field 'kind'" in said("self.kind == ''", root=False)


def test_a_rule_that_costs_more_than_one_call_may_says_so() -> None:
    rule = "self.list.all(a, self.list.all(b, a == b))"
    schema = {**SCHEMA, "x-kubernetes-validations": [{"rule": rule}]}
    (error,) = rules.rule_errors({"list": [{"y": "same"}] * 800}, NAMELESS, Node(schema))
    assert error.detail == (
        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to "
        f"call cost exceeds limit for rule: {rule}"
    )


class _Nameless:
    name = generateName = ""


NAMELESS = _Nameless()
