"""Field paths and field errors, worded as k8s.io/apimachinery/pkg/util/validation/field words them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from functools import lru_cache
from typing import Any, Final

import msgspec

REQUIRED: Final = "FieldValueRequired"
INVALID: Final = "FieldValueInvalid"
NOT_SUPPORTED: Final = "FieldValueNotSupported"
DUPLICATE: Final = "FieldValueDuplicate"
NOT_FOUND: Final = "FieldValueNotFound"
FORBIDDEN: Final = "FieldValueForbidden"
TOO_LONG: Final = "FieldValueTooLong"
TOO_MANY: Final = "FieldValueTooMany"
TYPE_INVALID: Final = "FieldValueTypeInvalid"
INTERNAL: Final = "InternalError"

_WORDS: Final = {
    REQUIRED: "Required value",
    INVALID: "Invalid value",
    NOT_SUPPORTED: "Unsupported value",
    DUPLICATE: "Duplicate value",
    NOT_FOUND: "Not found",
    FORBIDDEN: "Forbidden",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    TYPE_INVALID: "Invalid value",
    INTERNAL: "Internal error",
}
# In place of a value that a message leaves out.
OMITTED: Final = msgspec.UNSET
# Paths that are kept to be handed out again.
_PATHS: Final = 8192
_ESCAPES: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(32), 127)},
    **{ord(c): f"\\{name}" for c, name in zip('\a\b\f\n\r\t\v"\\', 'abfnrtv"\\', strict=True)},
}
_WITHOUT_VALUE: Final = frozenset({REQUIRED, FORBIDDEN, TOO_LONG, INTERNAL})


class Path:
    """Where a field stands: `Path("spec")["containers"][0]["name"]` reads `spec.containers[0].name`."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def child(self, name: str) -> Path:
        return _below(self._text, name)

    def index(self, position: int) -> Path:
        return _below(self._text, position)

    def key(self, key: str) -> Path:
        return Path(f"{self._text}[{key}]")

    def __getitem__(self, step: str | int) -> Path:
        return _below(self._text, step)

    def __str__(self) -> str:
        return self._text


@lru_cache(maxsize=_PATHS)
def _below(text: str, step: str | int) -> Path:
    # Validation names the same few paths for every object, and nearly always in vain.
    if isinstance(step, int):
        return Path(f"{text}[{step}]")
    return Path(f"{text}.{step}" if text else step)


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with one field."""

    type: str
    field: str
    bad_value: Any = None
    detail: str = ""

    def body(self) -> str:
        """The message without the field, as Status causes carry it."""
        words = _WORDS[self.type]
        text = (
            words
            if self.type in _WITHOUT_VALUE or self.bad_value is OMITTED
            else f"{words}: {_shown(self.bad_value)}"
        )
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body()}"


def required(path: Path, detail: str = "") -> FieldError:
    return FieldError(REQUIRED, str(path), "", detail)


def invalid(path: Path, value: Any, detail: str) -> FieldError:
    return FieldError(INVALID, str(path), value, detail)


def duplicate(path: Path, value: Any) -> FieldError:
    return FieldError(DUPLICATE, str(path), value)


def forbidden(path: Path, detail: str) -> FieldError:
    return FieldError(FORBIDDEN, str(path), "", detail)


def not_found(path: Path, value: Any) -> FieldError:
    return FieldError(NOT_FOUND, str(path), value)


def not_supported(path: Path, value: Any, supported: Iterable[str]) -> FieldError:
    """The supported values in the order given; sorted where they are a set, as Go lists sets."""
    if isinstance(supported, Set):
        supported = sorted(supported)
    values = ", ".join(json.dumps(v) for v in supported)
    return FieldError(NOT_SUPPORTED, str(path), value, f"supported values: {values}")


def too_long(path: Path, limit: int, unit: str = "bytes") -> FieldError:
    return FieldError(TOO_LONG, str(path), "", f"may not be more than {limit} {unit}")


def too_many(path: Path, actual: int, limit: int) -> FieldError:
    return FieldError(TOO_MANY, str(path), actual, f"must have at most {limit} items")


def _shown(value: Any) -> str:
    if isinstance(value, (msgspec.Struct, dict, list)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return quoted(str(value))


def quoted(text: str) -> str:
    """A string as Go quotes it."""
    if not text.isprintable() or '"' in text or "\\" in text:
        text = text.translate(_ESCAPES)
    return f'"{text}"'
