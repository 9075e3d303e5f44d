"""The language: operators, macros, types, errors, limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.machinery import cel

TYPES = {"object": "dyn", "numbers": "list<int>", "labels": "map<string, string>"}
OBJECT: dict[str, Any] = {
    "a": 1,
    "half": 0.5,
    "name": "web",
    "list": [1, 2, 3],
    "nothing": None,
    "deep": {"x": {"y": 1}, "z": {"y": 2}},
    "foo-bar": 3,
    "namespace": "prod",
    "slash/ed": 4,
}
VARIABLES = {"object": OBJECT, "numbers": [3, 1, 2], "labels": {"app": "web"}}


def evaluate(expression: str, **more: Any) -> Any:
    return cel.compile(expression, TYPES).evaluate({**VARIABLES, **more})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("7 / -2", -3),
        ("-7 % 3", -1),
        ("1u + 2u", 3),
        ("1.0 / 0.0", float("inf")),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("object.a == 1.0", True),
        ("object.a < 1.5", True),
        ("1 < 1.5 && 2u > 1", True),
        ("object.nothing == null", True),
        ("[1, 2] == [1, 2]", True),
        ("{'a': [1]} == {'a': [1]}", True),
        ("dyn(true) == dyn(1)", False),
        ("dyn([true]) == dyn([1])", False),
        ("true ? 'yes' : 'no'", "yes"),
        ("object.name in ['web', 'db']", True),
        ("'app' in labels", True),
        ("2 in object.list", True),
        ("labels['app']", "web"),
        ("labels.app", "web"),
        ("object.list[1]", 2),
        ("object.list[1.0]", 2),
        ("has(object.name) && !has(object.nope)", True),
        ("object.foo__dash__bar + object.slash__slash__ed", 7),
        ("object.__namespace__", "prod"),
        ("object.`foo-bar`", 3),
        ("type(object.a) == int && type(object.half) == double", True),
        ("type(null) == null_type && type([]) == list && type({}) == map", True),
        ("b'abc' == bytes('abc')", True),
        ("size('héllo')", 5),
        ("numbers.all(n, n > 0)", True),
        ("numbers.exists(n, n == 2)", True),
        ("numbers.exists_one(n, n > 2)", True),
        ("numbers.map(n, n * 2)", [6, 2, 4]),
        ("numbers.map(n, n > 1, n * 2)", [6, 4]),
        ("numbers.filter(n, n > 1)", [3, 2]),
        ("labels.map(k, k)", ["app"]),
        ("numbers.all(i, n, i < 3 && n > 0)", True),
        ("numbers.exists(i, n, i == n)", True),
        ("numbers.existsOne(i, n, n == i + 3)", True),
        ("object.deep.transformMap(k, v, v.y)", {"x": 1, "z": 2}),
        ("object.deep.transformMap(k, v, k == 'z', v.y)", {"z": 2}),
        ("object.deep.transformList(k, v, k)", ["x", "z"]),
        ("labels.transformMapEntry(k, v, {v: k})", {"web": "app"}),
        ("numbers.map(n, numbers.filter(m, m < n).size())", [2, 0, 1]),
        ("object.?nope.orValue(5)", 5),
        ("object.?a.orValue(5)", 1),
        ("object[?'nope'].hasValue()", False),
        ("object.?deep.?x.?y.value()", 1),
        ("object.?deep.x.y.orValue(0)", 1),
        ("has(object.?nope.x)", False),
        ("object.?nope.or(object.?a).value()", 1),
        ("optional.ofNonZeroValue('').hasValue()", False),
        ("optional.of(1).optMap(x, x + 1).value()", 2),
        ("optional.of(1).optFlatMap(x, optional.none()).hasValue()", False),
        ("{'a': 1, ?'b': object.?nope}", {"a": 1}),
        ("[?object.?nope, 1]", [1]),
        ("cel.bind(x, 5, x + x)", 10),
        ("numbers.all(n, object.list.exists(n, n == 3)) && numbers.map(n, n)[0] == 3", True),
        # One side that decides hides the error of the other, on either side.
        ("object.nope == 1 || true", True),
        ("false && object.nope == 1", False),
        ("object.nope && false", False),
        ("dyn(['a', 1]).exists(x, x == 1 || x.startsWith('b'))", True),
        ("dyn(['a', 1]).all(x, x > 5)", False),
    ],
)
def test_values(expression: str, value: Any) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("object.nope", "no such key: nope"),
        ("object.a.b", "no such overload"),
        ("object.list[3]", "index out of bounds: 3"),
        ("labels['x']", "no such key: x"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1u - 2u", "unsigned integer overflow"),
        ("object.a + 'x'", "no such overload"),
        ("object.a.startsWith('x')", "no such overload"),
        ("object.a && true", "no such overload"),
        ("object.list.all(x, x.y == 1)", "no such overload"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("optional.none().value()", "optional.none() dereference"),
        ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
        ("object.nope == 1 || object.also", "no such key: nope"),
    ],
)
def test_errors(expression: str, message: str) -> None:
    with pytest.raises(cel.CelError) as caught:
        evaluate(expression)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "nope + 1",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n"
            " | nope + 1\n | ^",
        ),
        (
            "object.a > 1 && 'x'",
            "compilation failed: ERROR: <input>:1:14: found no matching overload for '_&&_' applied to "
            "'(bool, string)'\n | object.a > 1 && 'x'\n | .............^",
        ),
        (
            "object.a > 1 && params.limits.max > 2",
            "ERROR: <input>:1:17: undeclared reference to 'params' (in container '')\n"
            " | object.a > 1 && params.limits.max > 2\n | ................^",
        ),
        ("1 + ", "Syntax error: mismatched input '<EOF>'"),
        ("object.foo()", "undeclared reference to 'foo' (in container '')"),
        ("1 == 1.0", "found no matching overload for '_==_' applied to '(int, double)'"),
        ("['a'].sum()", "found no matching overload for 'sum' applied to '(list(string))'"),
        ("(" * 100 + "1" + ")" * 100, "expression recursion limit exceeded"),
        ("1" + " " * 40_000, "expression code point size exceeds limit"),
        ("has(object)", "has() argument must be a field selection"),
    ],
)
def test_what_is_no_expression(expression: str, message: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile(expression, TYPES)
    assert str(caught.value).startswith("compilation failed: ERROR: <input>:")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "kind"),
    [("1 > 0", "bool"), ("'a'", "string"), ("object.a", "dyn"), ("['a']", "list<string>"), ("1u", "uint")],
)
def test_result_types(expression: str, kind: str) -> None:
    assert cel.compile(expression, TYPES).result_type == kind


@pytest.mark.parametrize(
    "expression",
    [
        "big.all(a, big.all(b, big.all(c, a + b + c >= 0)))",
        "big.map(a, big.map(b, a * b)).size() > 0",
        # Each turn doubles the text.
        "[text]" + ".map(x, x + x)" * 20 + " == []",
        "big.map(x, text.replace('a', text)).size() > 0",
        "big.all(x, big == big)",
    ],
)
def test_an_expression_ends_at_its_limit(expression: str) -> None:
    program = cel.compile(expression, {"big": "dyn", "text": "dyn"})
    with pytest.raises(cel.CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate(big=list(range(3000)), text="a" * 1000, cost_limit=100_000)


def test_costs_are_told() -> None:
    program = cel.compile("object.all(x, x > 0)", {"object": "dyn"})
    (_, few), (_, many) = program.measured({"object": [1]}), program.measured({"object": [1] * 100})
    assert 0 < few < many < 1000


def test_a_bad_pattern_of_backtracking_costs_nothing() -> None:
    program = cel.compile("text.matches('(a+)+$')", {"text": "string"})
    assert program.evaluate(text="a" * 5000 + "b") is False


def test_deep_input_is_an_error() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(cel.CelError, match="too deeply nested"):
        cel.compile("object == object", {"object": "dyn"}).evaluate(object=deep)


def test_python_values_go_in() -> None:
    program = cel.compile(
        "at + after > at && pair[1] == 2", {"at": "timestamp", "after": "duration", "pair": "dyn"}
    )
    assert program.evaluate(at=datetime(2026, 1, 1, tzinfo=UTC), after=timedelta(seconds=1), pair=(1, 2))


def test_programs_are_remembered() -> None:
    assert cel.compile("1 + 1", TYPES) is cel.compile("1 + 1", dict(reversed(TYPES.items())))


class Variables(cel.Lazy):
    def __init__(self) -> None:
        self.asked: list[str] = []

    def has(self, name: str) -> bool:
        return name == "x"

    def get(self, name: str) -> Any:
        self.asked.append(name)
        return 5


def test_lazy_fields_are_asked_for_when_they_are_needed() -> None:
    variables = Variables()
    assert (
        cel.compile("false && variables.x > 1", {"variables": "dyn"}).evaluate(variables=variables) is False
    )
    assert variables.asked == []
    assert cel.compile("has(variables.x) && variables.x > 1", {"variables": "dyn"}).evaluate(
        variables=variables
    )
    assert variables.asked == ["x"]


def test_unchecked_expressions_construct_objects() -> None:
    program = cel.compile("Object{spec: Object.spec{replicas: optional.of(3).value()}}", checked=False)
    made = program.evaluate()
    assert made == {"spec": {"replicas": 3}}
    assert (made.type_name, made["spec"].type_name) == ("Object", "Object.spec")
