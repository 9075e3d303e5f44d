"""The evaluator against cel-cpp's own, over expressions that both have: values, and whether there is one."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.machinery import cel
from sampan.machinery.cel.values import Duration, Timestamp

EXPRESSIONS = (Path(__file__).parent / "expressions.txt").read_text().splitlines()
VARIABLES = {"i": "int", "j": "int", "d": "double", "s": "string", "b": "bool", "l": "list<int>", "o": "dyn"}
VALUES: dict[str, Any] = {
    "i": 7,
    "j": -3,
    "d": 1.5,
    "s": "héllo wörld",
    "b": True,
    "l": [3, 1, 2],
    "o": {"a": 1, "n": None, "m": {"x": [1, 2.5, "y"]}, "t": "text"},
}


@pytest.fixture(scope="module")
def reference() -> Any:
    return _reference()


def _reference() -> Any:
    from cel_expr_python import cel as library

    extensions = "".join(
        f"- name: {name}\n" for name in ("optional", "two-var-comprehensions", "strings", "sets", "bindings")
    )
    config = library.NewEnvConfigFromYaml(f"extensions:\n{extensions}")
    kinds = {
        "int": library.Type.INT,
        "double": library.Type.DOUBLE,
        "string": library.Type.STRING,
        "bool": library.Type.BOOL,
        "list<int>": library.Type.List(library.Type.INT),
        "dyn": library.Type.DYN,
    }
    return library.NewEnv(config=config, variables={name: kinds[kind] for name, kind in VARIABLES.items()})


def theirs(environment: Any, expression: str) -> tuple[str, Any]:
    try:
        program = environment.compile(expression)
    except RuntimeError:
        return "refused", None
    try:
        value = program.eval(data=VALUES)
    except RuntimeError:
        return "error", None
    if value.type().name() == "*error*" or value.type().name() == "ERROR":
        return "error", None
    return "value", plain(value.plain_value())


def ours(expression: str) -> tuple[str, Any]:
    try:
        program = cel.compile(expression, VARIABLES)
    except cel.CompileError:
        return "refused", None
    try:
        return "value", plain(program.evaluate(VALUES))
    except cel.CelError:
        return "error", None


def plain(value: Any) -> Any:
    """A value of either as something that Python compares with its type."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, Timestamp):
        return value.utc() + timedelta(microseconds=value.ns % 1_000_000_000 // 1000)
    if isinstance(value, Duration):
        return value.ns / 1e9
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_same_value(reference: Any, expression: str) -> None:
    expected = theirs(reference, expression)
    found = ours(expression)
    assert found == expected, expression
    if found[0] == "value":
        assert type(found[1]) is type(expected[1])


_numbers = st.sampled_from(["i", "j", "1", "2", "0", "size(s)", "o.a", "l[0]"])
_truths = st.sampled_from(["b", "true", "i > j", "s == 'x'", "o.a == 1", "has(o.m)", "l.exists(e, e == i)"])


Texts: TypeAlias = st.SearchStrategy[str]


def _grown(ints: Texts, bools: Texts) -> tuple[Texts, Texts]:
    """Numbers and truths that are made of these, or are these."""

    def joined(parts: Texts, operators: list[str]) -> Texts:
        return st.tuples(parts, st.sampled_from(operators), parts).map(lambda t: f"({t[0]} {t[1]} {t[2]})")

    choices = st.tuples(bools, ints, ints).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})")
    sums = ints.map(lambda e: f"[1, 2].map(x, x + {e})[0]")
    alls = ints.map(lambda e: f"[1, 2, {e}].all(e, e > 0 || {e} == e)")
    return (
        st.one_of(ints, joined(ints, [*"+-*/%"]), choices, sums),
        st.one_of(
            bools,
            joined(ints, ["<", "<=", "==", "!="]),
            joined(bools, ["&&", "||"]),
            bools.map(lambda e: f"!{e}"),
            alls,
        ),
    )


_expressions = st.one_of(*_grown(*_grown(*_grown(_numbers, _truths))))


@settings(deadline=None, max_examples=150)
@given(_expressions)
def test_made_up_expressions_have_the_same_value(made: str) -> None:
    assert ours(made) == theirs(_cached(), made)


_kept: list[Any] = []


def _cached() -> Any:
    if not _kept:
        _kept.append(_reference())
    return _kept[0]
