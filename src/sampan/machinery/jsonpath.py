"""JSONPath as client-go's util/jsonpath has it, without templates: what printer columns and selections use.

`.status.conditions[?(@.type=="Ready")].status`, `.spec.ports[*].port`, `.metadata.labels['a/b']`, `..name`,
`[0]`, `[-1]`, `[1:3]`, `[a,b]`. Braces around the whole and a leading `$` may stand or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

Value: TypeAlias = Any
Step: TypeAlias = Callable[[list[Value]], list[Value]]

_CACHE_SIZE: Final = 1024
_NAME: Final = re.compile(r"(?:\\.|[^\s.\[\]{}()'\",:$@*])+")
_INDEX: Final = re.compile(r"-?\d+")
_SLICE: Final = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?")
_COMPARISON: Final = re.compile(r"(.*?)\s*(==|!=|<=|>=|<|>)\s*(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


class JsonPathError(ValueError):
    """A path that cannot be understood; the text says where."""


class JsonPath:
    """A parsed path. Immutable."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str, steps: tuple[Step, ...]) -> None:
        self.text = text
        self._steps = steps

    def find(self, document: Value) -> list[Value]:
        """Every value the path leads to; what is absent leads nowhere."""
        found = [document]
        for step in self._steps:
            found = step(found)
        return found

    def first(self, document: Value) -> Value | None:
        """The first value the path leads to, or None."""
        found = self.find(document)
        return found[0] if found else None

    def shown(self, document: Value) -> str:
        """What the path leads to as kubectl prints it: texts plain, the rest as JSON, spaces between."""
        return " ".join(map(_shown, self.find(document)))

    def __repr__(self) -> str:
        return f"JsonPath({self.text!r})"


@lru_cache(maxsize=_CACHE_SIZE)
def parse(text: str) -> JsonPath:
    """The path that `text` writes. Raises JsonPathError."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    return JsonPath(text, tuple(_Parser(inner, text).steps()))


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class _Parser:
    def __init__(self, text: str, whole: str) -> None:
        self._text = text
        self._whole = whole
        self._at = 1 if text[:1] in ("$", "@") else 0

    def steps(self) -> Iterator[Step]:
        # kubectl lets the first dot be left out.
        if self._at == 0 and self._text and self._text[0] not in ".[":
            yield _named(self._name())
        while self._at < len(self._text):
            yield self._step()

    def _step(self) -> Step:
        if self._text.startswith("..", self._at):
            self._at += 2
            return self._recursive()
        if self._text[self._at] == ".":
            self._at += 1
            return self._after_dot()
        if self._text[self._at] == "[":
            return _bracketed(self._bracket(), self._whole)
        raise self._error(f"unexpected {self._text[self._at]!r}")

    def _recursive(self) -> Step:
        following = self._text[self._at : self._at + 1]
        if following == "[":
            return _descended(_bracketed(self._bracket(), self._whole))
        if following == "*":
            self._at += 1
            return _descended(_all)
        return _descended(_named(self._name()))

    def _after_dot(self) -> Step:
        following = self._text[self._at : self._at + 1]
        if following == "*":
            self._at += 1
            return _all
        if following in ("", "["):
            return list  # a trailing dot, or one before a bracket, stands for the value itself
        return _named(self._name())

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise self._error("a name is missing")
        self._at = match.end()
        return re.sub(r"\\(.)", r"\1", match[0])

    def _bracket(self) -> str:
        """What stands in the brackets that begin here; brackets within quotes or filters belong to it."""
        start, depth, quote = self._at + 1, 0, ""
        for position in range(self._at, len(self._text)):
            char = self._text[position]
            if quote:
                if char == quote and self._text[position - 1] != "\\":
                    quote = ""
            elif char in "'\"":
                quote = char
            elif char == "[":
                depth += 1
            elif char == "]":
                depth -= 1
                if depth == 0:
                    self._at = position + 1
                    return self._text[start:position].strip()
        raise self._error("unterminated array")

    def _error(self, what: str) -> JsonPathError:
        return JsonPathError(f"JSONPath {self._whole!r}: {what} at position {self._at}")


def _bracketed(inside: str, whole: str) -> Step:
    if inside == "*":
        return _all
    if inside.startswith("?(") and inside.endswith(")"):
        return _filtered(_condition(inside[2:-1].strip(), whole))
    if (match := _SLICE.fullmatch(inside)) is not None:
        low, high, stride = (int(part) if part else None for part in match.groups())
        if stride is not None and stride <= 0:
            raise JsonPathError(f"JSONPath {whole!r}: step must be > 0")
        return _sliced(slice(low, high, stride))
    return _union([_single(part, whole) for part in _parts(inside)])


def _parts(inside: str) -> list[str]:
    return [part.strip() for part in re.findall(r"'(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\"|[^,]+", inside)]


def _single(part: str, whole: str) -> Step:
    if _INDEX.fullmatch(part):
        return _indexed(int(part))
    if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"":
        return _named(_unquoted(part))
    if _NAME.fullmatch(part):
        return _named(part)
    raise JsonPathError(f"JSONPath {whole!r}: invalid array index {part}")


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _named(name: str) -> Step:
    def step(values: list[Value]) -> list[Value]:
        return [value[name] for value in values if isinstance(value, dict) and name in value]

    return step


def _indexed(index: int) -> Step:
    def step(values: list[Value]) -> list[Value]:
        return [v[index] for v in values if isinstance(v, list) and -len(v) <= index < len(v)]

    return step


def _sliced(bounds: slice) -> Step:
    def step(values: list[Value]) -> list[Value]:
        return [item for value in values if isinstance(value, list) for item in value[bounds]]

    return step


def _union(steps: list[Step]) -> Step:
    def step(values: list[Value]) -> list[Value]:
        return [found for one in steps for found in one(values)]

    return steps[0] if len(steps) == 1 else step


def _all(values: list[Value]) -> list[Value]:
    return [item for value in values for item in _items(value)]


def _items(value: Value) -> list[Value]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _descended(then: Step) -> Step:
    def everything(value: Value) -> Iterator[Value]:
        yield value
        for item in _items(value):
            yield from everything(item)

    def step(values: list[Value]) -> list[Value]:
        return then([found for value in values for found in everything(value)])

    return step


def _filtered(holds: Callable[[Value], bool]) -> Step:
    def step(values: list[Value]) -> list[Value]:
        return [item for value in values if isinstance(value, list) for item in value if holds(item)]

    return step


def _condition(text: str, whole: str) -> Callable[[Value], bool]:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        path = _operand(text, whole)
        return lambda item: bool(path(item))
    left, right = _operand(match[1], whole), _operand(match[3], whole)
    compare = _COMPARE[match[2]]

    def holds(item: Value) -> bool:
        found, wanted = left(item), right(item)
        return bool(found) and bool(wanted) and compare(found[0], wanted[0])

    return holds


def _operand(text: str, whole: str) -> Callable[[Value], list[Value]]:
    if text.startswith(("@", "$")):
        return JsonPath(text, tuple(_Parser(text, whole).steps())).find
    literal = _literal(text, whole)
    return lambda _item: [literal]


def _literal(text: str, whole: str) -> Value:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return _unquoted(text)
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    raise JsonPathError(f"JSONPath {whole!r}: unrecognized value {text!r} in a filter")


def _same_kind(left: Value, right: Value) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool)
    if isinstance(left, (int, float)):
        return isinstance(right, (int, float))
    return isinstance(left, str) and isinstance(right, str)


_COMPARE: Final[dict[str, Callable[[Value, Value], bool]]] = {
    "==": lambda left, right: _same_kind(left, right) and left == right,
    "!=": lambda left, right: not (_same_kind(left, right) and left == right),
    "<": lambda left, right: _same_kind(left, right) and left < right,
    ">": lambda left, right: _same_kind(left, right) and left > right,
    "<=": lambda left, right: _same_kind(left, right) and left <= right,
    ">=": lambda left, right: _same_kind(left, right) and left >= right,
}
