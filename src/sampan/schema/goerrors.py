"""What Go's encoding/json says of text that is no JSON, or JSON that is no object."""

from __future__ import annotations

import json
from typing import Any, Final

from sampan.machinery.field import quoted

_TRUNCATED: Final = "unexpected end of JSON input"
# By the beginning of what Python's decoder says.
_WORDS: Final = (
    ("Expecting value", "looking for beginning of value"),
    ("Expecting property name", "looking for beginning of object key string"),
    ("Illegal trailing comma", "looking for beginning of object key string"),
    ("Expecting ':'", "after object key"),
    ("Extra data", "after top-level value"),
    ("Invalid control character", "in string literal"),
    ("Invalid \\", "in string escape code"),
)
_TYPE_META: Final = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
_SUMMARY_BYTES: Final = 30


def syntax(data: bytes) -> str:
    """Why `data` is no JSON."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "invalid UTF-8 in string"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        at = error.pos
        if error.msg.startswith("Unterminated") or not text[at:].strip():
            return _TRUNCATED
        return f"invalid character {_character(text[at])} {_place(error.msg, text, at)}"
    except RecursionError:
        return "exceeded max depth"
    return "invalid JSON"


def not_typed(value: Any) -> str:
    """Why JSON that is no object has no kind."""
    kinds = ((bool, "bool"), (str, "string"), (list, "array"))
    found = next((name for kind, name in kinds if isinstance(value, kind)), "number")
    return f"json: cannot unmarshal {found} into Go value of type {_TYPE_META}"


def summary(data: bytes) -> str:
    """The beginning of a body, as kube-apiserver quotes what it cannot read."""
    if not data:
        return "<empty>"
    more = " ..." if len(data) > _SUMMARY_BYTES else ""
    head = data[:_SUMMARY_BYTES]
    return (head.decode(errors="replace") if data[:1] == b"{" else head.hex()) + more


def _place(message: str, text: str, at: int) -> str:
    for begins, words in _WORDS:
        if message.startswith(begins):
            return words
    # "Expecting ',' delimiter": within a list or an object.
    return "after array element" if _in_list(text[:at]) else "after object key:value pair"


def _in_list(before: str) -> bool:
    """Whether the innermost bracket that is open at the end of `before` is a list's, strings aside."""
    opened: list[str] = []
    in_text = escaped = False
    for character in before:
        if in_text:
            in_text = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_text = True
        elif character in "[{":
            opened.append(character)
        elif character in "]}" and opened:
            opened.pop()
    return bool(opened) and opened[-1] == "["


def _character(found: str) -> str:
    return {"'": r"'\''", '"': "'\"'"}.get(found) or f"'{quoted(found)[1:-1]}'"
