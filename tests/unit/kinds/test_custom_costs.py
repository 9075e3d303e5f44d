"""What validation rules may cost at most: the estimate that a definition is refused for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sampan.kinds.custom import costs, sizes
from sampan.machinery.field import Path
from tests.shared import ABSENT, SHARED

CORPUS = SHARED / "corpus" / "crds"
TEXT = {"type": "string"}
SHORT = {"type": "string", "maxLength": 10}
WHOLE = sizes.MAX_REQUEST_BYTES - 2


def rule(text: str, **schema: Any) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": text}], **schema}


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "length", "least"),
    [
        (TEXT, WHOLE, 2),
        (SHORT, 40, 2),
        ({"type": "string", "enum": ["a", "abc"]}, 3, 2),
        ({"type": "string", "format": "byte", "maxLength": 10}, 10, 2),
        ({"type": "string", "format": "date-time"}, 22, 22),
        ({"type": "integer"}, 0, 1),
        ({"type": "boolean"}, 0, 4),
        ({"type": "array", "items": TEXT, "maxItems": 7}, 7, 2),
        ({"type": "array", "items": TEXT}, WHOLE // 3, 2),
        ({"type": "object", "additionalProperties": TEXT}, WHOLE // 8, 2),
        ({"type": "object", "additionalProperties": TEXT, "maxProperties": 3}, 3, 2),
        ({**obj(name=TEXT, more=TEXT), "required": ["name"]}, 0, 2 + len("name") + 2 + 4),
        ({**obj(name={**TEXT, "default": "x"}), "required": ["name"]}, 0, 2),
        ({"x-kubernetes-int-or-string": True}, 0, 1),
    ],
)
def test_sizes(schema: dict[str, Any], length: int, least: int) -> None:
    shape = sizes.shape_of(schema)
    assert (shape.length, shape.bytes_min) == (length, least)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("self.number > 1", 2),  # two names; numbers have no length
        ("has(self.name)", 1),
        ("self.name == 'abc'", 3),  # the shorter of the two is looked at
        ("self.name == self.other", 4 + 4),
        ("self.name.startsWith('abc')", 3),
        ("self.name.contains('0123456789')", 2 + 4),
        ("self.name.matches('01234567')", 2 + 5 * 2),
        ("self.name + 'ab' == 'x'", 2 + 5 + 1),
        ("self.number == 1 || self.number == 2", 4),
        ("self.number == 1 ? true : self.name == 'abc'", 2 + 3),
        ("self.list.size() < 3", 2 + 1),
        ("'a' in self.list", 2 + 5),
        ("self.list.all(x, x == 'a')", 2 + 5 * (2 + 2 + 1) + 1),
        ("self.list.all(x, self.list.all(y, x == y))", 2 + 5 * (2 + 1 + 2 + 5 * (2 + 1 + 2 + 4) + 1) + 1),
        ("self.list.map(x, x.size()).sum() > 1", 2 + 10 + 5 * (1 + 1 + 10 + 2) + 1 + 5),
        ("self.map.all(k, self.map[k] == 'a')", 2 + 3 * (2 + 1 + 4 + 1) + 1),
        ("self.map['a'] == 'b'", 2 + 1 + 1),
        ("[1, 2, 3].exists(i, i == self.number)", 10 + 3 * (2 + 1 + 1 + 2 + 1) + 1),
        ("self.?name.orValue('') == 'abc'", 1 + 1 + 1 + 1),
        ("oldSelf.name == self.name", 4 + 4),
    ],
)
def test_costs(text: str, cost: int) -> None:
    whole = obj(
        number={"type": "integer"},
        name=SHORT,
        other=SHORT,
        list={"type": "array", "maxItems": 5, "items": SHORT},
        map={
            "type": "object",
            "maxProperties": 3,
            "additionalProperties": {"type": "string", "maxLength": 1},
        },
    )
    (found,) = costs._schema_costs({**whole, **rule(text)}, Path("s"), 1)
    assert found.cost == cost


SEARCHED = "self.contains('something long to look for')"
HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and "
    "strings are declared)"
)


@pytest.mark.parametrize(
    ("schema", "errors"),
    [
        (obj(a={**TEXT, **rule(SEARCHED)}), []),
        (
            obj(list={"type": "array", "items": {**TEXT, **rule(SEARCHED)}}),
            [("s.properties[list].items.x-kubernetes-validations[0].rule", "more than 100x")],
        ),
        (obj(list={"type": "array", "maxItems": 100, "items": {**SHORT, **rule(SEARCHED)}}), []),
        (
            obj(list={"type": "array", "items": obj(a={**SHORT, **rule(SEARCHED)})}),
            [("s.properties[list].items.properties[a].x-kubernetes-validations[0].rule", "1.363149x")],
        ),
        (
            {**obj(list={"type": "array", "items": TEXT}),
             **rule("self.list.all(a, self.list.all(b, a == b))")},
            [("s.x-kubernetes-validations[0].rule", "more than 100x")],
        ),
        (
            {**obj(list={"type": "array", "maxItems": 9, "items": SHORT}),
             **rule("self.list.all(a, a == 'b')")},
            [],
        ),
    ],
)  # fmt: skip
def test_what_is_refused(schema: dict[str, Any], errors: list[tuple[str, str]]) -> None:
    found = [
        error
        for error in costs.schema_errors(schema, Path("s"))
        if "estimated rule cost exceeds" in error.detail
    ]
    assert [(error.field, error.detail) for error in found] == [
        (path, f"estimated rule cost exceeds budget by factor of {factor} {HINT}") for path, factor in errors
    ]
    assert all(error.type == "FieldValueForbidden" for error in found)


def test_rules_together_may_cost_too_much() -> None:
    rules = [{"rule": f"self.list.all(a, a != {n})"} for n in range(40)]
    whole = {**obj(list={"type": "array", "items": {"type": "integer"}}), "x-kubernetes-validations": rules}
    found = costs.schema_errors(whole, Path("s"))
    assert [error.detail for error in found[:4]] == [
        "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    ] * 4
    (total,) = found[4:]
    assert total.field == "s"
    assert total.detail.startswith(
        "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by "
    )


@pytest.mark.skipif(not CORPUS.exists(), reason=f"{CORPUS} {ABSENT}")
def test_published_definitions_cost_little_enough() -> None:
    counted = 0
    for path in sorted(CORPUS.glob("*/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] == "CustomResourceDefinition":
                for version in document["spec"]["versions"]:
                    counted += 1
                    assert costs.schema_errors(version["schema"]["openAPIV3Schema"], Path("s")) == []
    assert counted > 15
