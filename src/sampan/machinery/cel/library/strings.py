"""CEL's extended string functions, version 2: those that Kubernetes has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.machinery.cel.library.standard import double_text
from sampan.machinery.cel.values import (
    CelError,
    Duration,
    Timestamp,
    TypeValue,
    Uint,
    equal,
    type_name,
)

# The longest text that one call makes.
MAX_TEXT_LENGTH: Final = 10_000_000
_ESCAPED: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_LOWER: Final = {ord(c): ord(c) + 32 for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_UPPER: Final = {lower: upper for upper, lower in _LOWER.items()}


def _text(value: Any) -> str:
    if type(value) is not str:
        raise CelError("no such overload")
    return value


def _char_at(text: Any, at: int) -> str:
    if not 0 <= at <= len(_text(text)):
        raise CelError(f"index out of range: {at}")
    return str(text[at : at + 1])


def index_of(value: Any, part: Any, offset: int | None = None) -> int:
    """Where a text or list first has `part`, or -1."""
    if type(value) is list:
        return next((at for at, each in enumerate(value) if equal(each, part)), -1)
    start = 0 if offset is None else offset
    if _text(part) == "":
        return start
    if not 0 <= start <= len(_text(value)):
        raise CelError(f"index out of range: {start}")
    return int(_text(value).find(part, start))


def last_index_of(value: Any, part: Any, offset: int | None = None) -> int:
    """Where a text or list last has `part`, or -1."""
    if type(value) is list:
        return next((at for at in range(len(value) - 1, -1, -1) if equal(value[at], part)), -1)
    _text(part)
    if offset is None:
        return int(_text(value).rfind(part))
    if not 0 <= offset <= len(_text(value)):
        raise CelError(f"index out of range: {offset}")
    return int(value.rfind(part, 0, offset + len(part)))


def _join(parts: Any, separator: str = "") -> str:
    if type(parts) is not list:
        raise CelError("no such overload")
    return _bounded(separator.join(map(_text, parts)))


def _replace(text: Any, old: str, new: str, limit: int = -1) -> str:
    count = _text(text).count(old) if limit < 0 else min(limit, text.count(old))
    if len(text) + count * max(len(new) - len(old), 0) > MAX_TEXT_LENGTH:
        raise CelError("operation cancelled: actual cost limit exceeded")
    return str(text.replace(old, new, limit))


def _split(text: Any, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator == "":
        letters = list(_text(text))
        return letters if limit < 0 or len(letters) <= limit else [*letters[: limit - 1], text[limit - 1 :]]
    return list(_text(text).split(separator, -1 if limit < 0 else limit - 1))


def _substring(text: Any, start: int, end: int | None = None) -> str:
    length = len(_text(text))
    stop = length if end is None else end
    if end is not None and start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    for at in (start, stop):
        if not 0 <= at <= length:
            raise CelError(f"index out of range: {at}")
    return str(text[start:stop])


def _quote(text: Any) -> str:
    return '"' + "".join(_ESCAPED.get(char, char) for char in _text(text)) + '"'


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT_LENGTH:
        raise CelError("operation cancelled: actual cost limit exceeded")
    return text


# -- format ----------------------------------------------------------------------------------------------


def _format(template: Any, values: list[Any]) -> str:
    """`'%s has %d'.format([...])`. Raises CelError where clause and value do not fit."""
    made: list[str] = []
    at = used = 0
    text = _text(template)
    while at < len(text):
        mark = text.find("%", at)
        if mark < 0:
            made.append(text[at:])
            break
        made.append(text[at:mark])
        at = mark + 1
        if text[at : at + 1] == "%":
            made.append("%")
            at += 1
            continue
        precision, at = _precision(text, at)
        if used >= len(values):
            raise CelError(f"index {used} out of range")
        clause = text[at : at + 1]
        made.append(_clause(clause, precision, values[used]))
        used += 1
        at += 1
    return _bounded("".join(made))


def _precision(text: str, at: int) -> tuple[int | None, int]:
    if text[at : at + 1] != ".":
        return None, at
    end = at + 1
    while end < len(text) and text[end].isdigit():
        end += 1
    if end == at + 1 or end - at > 4:
        raise CelError("could not parse formatting clause: unable to find end of precision specifier")
    return int(text[at + 1 : end]), end


def _clause(clause: str, precision: int | None, value: Any) -> str:
    kind = type(value)
    if clause == "s":
        return shown(value)
    if clause == "d":
        if kind is int or kind is Uint:
            return str(int(value))
        if (kind is float and value in (float("inf"), float("-inf"))) or value != value:
            return _special(value)
    if clause in ("f", "e") and kind in (float, int, Uint):
        if kind is float and (value != value or value in (float("inf"), float("-inf"))):
            return _special(value)
        return f"{float(value):.{6 if precision is None else precision}{clause}}"
    if clause == "b" and kind in (int, Uint, bool):
        return f"{int(value):b}"
    if clause == "o" and kind in (int, Uint):
        return f"{int(value):o}"
    if clause in ("x", "X"):
        if kind in (int, Uint):
            return f"{int(value):{clause}}"
        if kind is str or kind is bytes:
            digits = (value.encode() if kind is str else value).hex()
            return digits.upper() if clause == "X" else str(digits)
    if clause not in "sdfeboxX" or not clause:
        raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')
    what = {"d": "decimal", "f": "fixed-point", "e": "scientific", "b": "binary", "o": "octal"}.get(
        clause, "hex"
    )
    raise CelError(f"error during formatting: {what} clause cannot be used on {type_name(value)}")


def _special(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def shown(value: Any) -> str:
    """A value as `%s` writes it."""
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return _special(value) if value - value != 0 else double_text(value)
    if kind is bytes:
        return bytes(value).decode(errors="replace")
    if kind is list:
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, dict):
        entries = sorted((shown(key), shown(each)) for key, each in value.items())
        return "{" + ", ".join(f"{key}: {each}" for key, each in entries) + "}"
    if kind in (int, Uint):
        return str(int(value))
    if kind in (Timestamp, Duration):
        return str(value)
    if kind is TypeValue:
        return str(value.name)
    raise CelError(
        f"error during formatting: string clause can only be used on strings, bools, bytes, ints, "
        f"doubles, maps, lists, types, durations, and timestamps, was given {type_name(value)}"
    )


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "charAt": _char_at,
    "indexOf": index_of,
    "lastIndexOf": last_index_of,
    "join": _join,
    "lowerAscii": lambda text: _text(text).translate(_LOWER),
    "upperAscii": lambda text: _text(text).translate(_UPPER),
    "replace": _replace,
    "split": _split,
    "substring": _substring,
    "trim": lambda text: _text(text).strip(),
    "strings.quote": _quote,
    "format": _format,
}
DECLARATIONS: Final = (
    "string.charAt(int) string",
    *(
        f"string.{name}({args}) int"
        for name in ("indexOf", "lastIndexOf")
        for args in ("string", "string, int")
    ),
    "list<string>.join() string",
    "list<string>.join(string) string",
    *(f"string.{name}() string" for name in ("lowerAscii", "upperAscii", "trim")),
    "string.replace(string, string) string",
    "string.replace(string, string, int) string",
    "string.split(string) list<string>",
    "string.split(string, int) list<string>",
    "string.substring(int) string",
    "string.substring(int, int) string",
    "strings.quote(string) string",
    "string.format(list<dyn>) string",
)
