"""Label selectors: parsed, written and matched as k8s.io/apimachinery/pkg/labels does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

EQUALS: Final = "="
DOUBLE_EQUALS: Final = "=="
NOT_EQUALS: Final = "!="
IN: Final = "in"
NOT_IN: Final = "notin"
EXISTS: Final = "exists"
DOES_NOT_EXIST: Final = "!"
GREATER_THAN: Final = "gt"
LESS_THAN: Final = "lt"

_POSITIVE: Final = frozenset({IN, EQUALS, DOUBLE_EQUALS})
_NEGATIVE: Final = frozenset({NOT_IN, NOT_EQUALS})
_BINARY: Final = (IN, NOT_IN, EQUALS, DOUBLE_EQUALS, NOT_EQUALS, GREATER_THAN, LESS_THAN)
_OPERATOR_OF_TOKEN: Final = {
    "in": IN,
    "notin": NOT_IN,
    "=": EQUALS,
    "==": DOUBLE_EQUALS,
    "!=": NOT_EQUALS,
    ">": GREATER_THAN,
    "<": LESS_THAN,
}
_WRITTEN: Final = {
    EQUALS: "=",
    DOUBLE_EQUALS: "==",
    NOT_EQUALS: "!=",
    GREATER_THAN: ">",
    LESS_THAN: "<",
}
_OF_EXPRESSION: Final = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}
_SYMBOLS: Final = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">"})
_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^=!(),<> \t\r\n\0]+))")
_INT64: Final = re.compile(r"[+-]?[0-9]+")
_CACHE_SIZE: Final = 4096


class SelectorError(ValueError):
    """A selector that cannot be understood; the text is the one Kubernetes gives."""


class Requirement(msgspec.Struct, frozen=True):
    """One term of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` fulfil the term; an absent key fulfils `!=`, `notin` and `!`."""
        value = labels.get(self.key)
        if self.operator in _POSITIVE:
            return value is not None and value in self.values
        if self.operator in _NEGATIVE:
            return value is None or value not in self.values
        if self.operator == EXISTS:
            return value is not None
        if self.operator == DOES_NOT_EXIST:
            return value is None
        return _compares(self.operator, value, self.values[0])

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == DOES_NOT_EXIST:
            return f"!{self.key}"
        values = ",".join(sorted(self.values))
        if self.operator in (IN, NOT_IN):
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{_WRITTEN[self.operator]}{values}"


class Selector:
    """A conjunction of requirements on labels. Immutable and hashable by its meaning."""

    __slots__ = ("_equal", "_rest", "requirements", "selects_nothing")

    def __init__(self, requirements: Iterable[Requirement] = (), *, selects_nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.selects_nothing = selects_nothing
        # Nearly all selectors are equalities; a look-up and a comparison each is the fastest way.
        self._equal = tuple((r.key, r.values[0]) for r in self.requirements if _is_equality(r))
        self._rest = tuple(r for r in self.requirements if not _is_equality(r))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every requirement holds for `labels`."""
        if self.selects_nothing:
            return False
        for key, value in self._equal:
            if labels.get(key) != value:
                return False
        return all(requirement.matches(labels) for requirement in self._rest)

    @property
    def empty(self) -> bool:
        """Whether the selector selects everything."""
        return not self.requirements and not self.selects_nothing

    def exact_value(self, key: str) -> str | None:
        """The one value that the selector demands for `key`, if it does."""
        for requirement in self.requirements:
            if requirement.key == key:
                return requirement.values[0] if _is_equality(requirement) else None
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return "NOTHING" if self.selects_nothing else f"Selector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Selector)
            and self.requirements == other.requirements
            and self.selects_nothing == other.selects_nothing
        )

    def __hash__(self) -> int:
        return hash((self.requirements, self.selects_nothing))


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(selects_nothing=True)


def requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """A checked `Requirement`. Raises SelectorError with all that is wrong with it."""
    path = Path("values")
    errors = _key_errors(key, "key")
    errors += _operator_errors(operator, values, path)
    for position, value in enumerate(values):
        messages = names.label_value(value)
        if messages:
            errors.append(field.invalid(path.index(position).key(key), value, "; ".join(messages)))
    if errors:
        raise SelectorError(_aggregate(errors))
    return Requirement(key, operator, tuple(values))


@lru_cache(maxsize=_CACHE_SIZE)
def parse(text: str) -> Selector:
    """The label selector that `text` writes: `a=b,c!=d,e in (f,g),!h`.

    Raises SelectorError with the wording of labels.Parse.
    """
    return Selector(_Parser(text).requirements())


def from_labels(labels: Mapping[str, str]) -> Selector:
    """The selector for exactly these labels; none select everything. Nothing is checked."""
    return Selector(Requirement(key, EQUALS, (value,)) for key, value in labels.items())


def from_label_selector(selector: Any) -> Selector:
    """A metav1.LabelSelector (struct or dict) as a `Selector`: None selects nothing, an empty one everything.

    Raises SelectorError for what LabelSelectorAsSelector refuses.
    """
    if selector is None:
        return NOTHING
    labels = _get(selector, "matchLabels") or {}
    expressions = _get(selector, "matchExpressions") or ()
    if not labels and not expressions:
        return EVERYTHING
    if not expressions:
        return _of_labels(tuple(labels.items()))
    terms = [requirement(key, EQUALS, (value,)) for key, value in labels.items()]
    for expression in expressions:
        operator = _OF_EXPRESSION.get(_get(expression, "operator"))
        if operator is None:
            shown = json.dumps(_get(expression, "operator") or "")
            raise SelectorError(f"{shown} is not a valid label selector operator")
        terms.append(requirement(_get(expression, "key"), operator, tuple(_get(expression, "values") or ())))
    return Selector(terms)


@lru_cache(maxsize=_CACHE_SIZE)
def _of_labels(labels: tuple[tuple[str, str], ...]) -> Selector:
    return Selector(requirement(key, EQUALS, (value,)) for key, value in labels)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name)


def _is_equality(term: Requirement) -> bool:
    return term.operator in _POSITIVE and len(term.values) == 1


def _compares(operator: str, value: str | None, bound: str) -> bool:
    if value is None or not _INT64.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        return False
    return int(value) > int(bound) if operator == GREATER_THAN else int(value) < int(bound)


def _key_errors(key: str, at: str) -> list[FieldError]:
    messages = names.qualified_name(key)
    return [field.invalid(Path(at), key, "; ".join(messages))] if messages else []


def _operator_errors(operator: str, values: Sequence[str], path: Path) -> list[FieldError]:
    shown = list(values)
    if operator in (IN, NOT_IN):
        if not values:
            detail = "for 'in', 'notin' operators, values set can't be empty"
            return [field.invalid(path, shown, detail)]
    elif operator in (EQUALS, DOUBLE_EQUALS, NOT_EQUALS):
        if len(values) != 1:
            return [field.invalid(path, shown, "exact-match compatibility requires one single value")]
    elif operator in (EXISTS, DOES_NOT_EXIST):
        if values:
            return [field.invalid(path, shown, "values set must be empty for exists and does not exist")]
    elif operator in (GREATER_THAN, LESS_THAN):
        return _bound_errors(shown, path)
    else:
        return [field.not_supported(Path("operator"), operator, (*_BINARY, EXISTS, DOES_NOT_EXIST))]
    return []


def _bound_errors(values: list[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(values) != 1:
        detail = "for 'Gt', 'Lt' operators, exactly one value is required"
        errors.append(field.invalid(path, values, detail))
    for position, value in enumerate(values):
        if not _INT64.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
            detail = "for 'Gt', 'Lt' operators, the value must be an integer"
            errors.append(field.invalid(path.index(position), value, detail))
    return errors


def _aggregate(errors: Sequence[FieldError]) -> str:
    texts = list(dict.fromkeys(map(str, errors)))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


class _Parser:
    """labels.Parser: every text it refuses, it refuses with the same words."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def requirements(self) -> Iterator[Requirement]:
        while True:
            token = self._peek()
            if token == "":
                return
            if token in _SYMBOLS and token != "!":
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                yield self._requirement()
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            after = self._next()
            if after == "":
                return
            if after != ",":
                raise SelectorError(f"found '{after}', expected: ',' or 'end of string'")
            following = self._peek()
            if following == "" or (following in _SYMBOLS and following != "!"):
                raise SelectorError(f"found '{following}', expected: identifier after ','")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._at += 1
        key = self._next()
        if key == "" or key in _SYMBOLS:
            raise SelectorError(f"found '{key}', expected: identifier")
        # The parser has no path for a key, and Go prints the missing path.
        errors = _key_errors(key, "<nil>")
        if errors:
            raise SelectorError(_aggregate(errors))
        if negated:
            # `!key` goes on to look for an end; what follows is refused by the caller.
            return requirement(key, DOES_NOT_EXIST, ())
        if self._peek() in ("", ","):
            return requirement(key, EXISTS, ())
        operator = _OPERATOR_OF_TOKEN.get(token := self._next())
        if operator is None:
            raise SelectorError(f"found '{token}', expected: {', '.join(_BINARY)}")
        values = self._value_set() if operator in (IN, NOT_IN) else {self._exact_value()}
        return requirement(key, operator, sorted(values))

    def _exact_value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._next()
        if value in _SYMBOLS:
            raise SelectorError(f"found '{value}', expected: identifier")
        return value

    def _value_set(self) -> set[str]:
        token = self._next()
        if token != "(":
            raise SelectorError(f"found '{token}' expected: '('")
        first = self._peek()
        if first == ")":
            self._at += 1
            return {""}
        if first == "" or (first in _SYMBOLS and first != ","):
            raise SelectorError(f"found '{first}', expected: ',', ')' or identifier")
        values = self._value_list()
        self._at += 1  # the closing parenthesis, which the list stops before
        return values

    def _value_list(self) -> set[str]:
        values: set[str] = set()
        while True:
            token = self._next()
            following = self._peek()
            if token == ",":
                if not values:
                    values.add("")
                if following == ")":
                    return values | {""}
                if following == ",":
                    values.add("")
            elif token == "" or token in _SYMBOLS:
                raise SelectorError(f"found '{token}', expected: ',', or identifier")
            else:
                values.add(token)
                if following == ")":
                    return values
                if following != ",":
                    raise SelectorError(f"found '{following}', expected: ',' or ')'")


def _tokens(text: str) -> Iterator[str]:
    text = text.partition("\0")[0]  # Go's lexer takes a zero byte for the end
    at = 0
    while match := _TOKEN.match(text, at):
        yield match[1] or match[2]
        at = match.end()
