"""Field selectors: `metadata.name=a,status.phase!=Running`, as k8s.io/apimachinery/pkg/fields reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from sampan.machinery.selectors import SelectorError

_ESCAPED: Final = frozenset("\\,=")
_SPECIAL: Final = re.compile(r"[\\,=]")
_CACHE_SIZE: Final = 4096


class FieldTerm(msgspec.Struct, frozen=True):
    """`field=value`, or `field!=value` where it is negated."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{escape(self.value)}"


class FieldSelector:
    """A conjunction of terms on fields. An absent field counts as the empty text."""

    __slots__ = ("terms",)

    def __init__(self, terms: Iterable[FieldTerm] = ()) -> None:
        self.terms = tuple(terms)

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether every term holds."""
        return self.matches_with(lambda name: fields.get(name, ""))

    def matches_with(self, get: Callable[[str], str]) -> bool:
        """Whether every term holds, asking `get` only for the fields that are named."""
        return all((get(term.field) == term.value) != term.negated for term in self.terms)

    @property
    def empty(self) -> bool:
        """Whether the selector selects everything."""
        return not self.terms

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that the selector asks for."""
        return tuple(dict.fromkeys(term.field for term in self.terms))

    def exact_value(self, field: str) -> str | None:
        """The one value that the selector demands for `field`, if it does."""
        for term in self.terms:
            if term.field == field and not term.negated:
                return term.value
        return None

    def without(self, field: str) -> FieldSelector:
        """The selector without its terms on `field`: what is left to check once an index answered those."""
        return FieldSelector(term for term in self.terms if term.field != field)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))

    def __repr__(self) -> str:
        return f"FieldSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSelector) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)


EVERYTHING: Final = FieldSelector()


@lru_cache(maxsize=_CACHE_SIZE)
def parse(text: str) -> FieldSelector:
    """The selector that `text` writes, its terms sorted. Raises SelectorError in Kubernetes' words."""
    terms: list[FieldTerm] = []
    for part in sorted(_split(text)):
        if part:
            terms.append(_term(part, text))
    return FieldSelector(terms)


def escape(value: str) -> str:
    """`value` as it must be written in a selector."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], value)


def unescape(value: str) -> str:
    """The value that `value` writes. Raises SelectorError for a wrong or missing escape."""
    if not _SPECIAL.search(value):
        return value
    plain: list[str] = []
    chars = iter(value)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "")
            if escaped not in _ESCAPED:
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            plain.append(escaped)
        elif char in ",=":
            # Go prints the rune as a number here.
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            plain.append(char)
    return "".join(plain)


def _split(text: str) -> Iterator[str]:
    start = 0
    in_escape = False
    for position, char in enumerate(text):
        if in_escape:
            in_escape = False
        elif char == "\\":
            in_escape = True
        elif char == ",":
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _term(part: str, whole: str) -> FieldTerm:
    for position in range(len(part)):
        for operator in ("!=", "==", "="):
            if part.startswith(operator, position):
                value = unescape(part[position + len(operator) :])
                return FieldTerm(part[:position], value, operator == "!=")
    raise SelectorError(f"invalid selector: '{whole}'; can't understand '{part}'")
