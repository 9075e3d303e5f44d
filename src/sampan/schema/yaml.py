"""YAML bodies as JSON, read as sigs.k8s.io/yaml reads them.

Scalars follow YAML 1.1 as goyaml has it: `y`, `yes` and `on` are true, `0777` is octal, and nothing is a
timestamp. Only the first document counts. Documents are built from libyaml's events on a stack of our own:
its composer follows nesting with the C stack, which a body could overflow.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import yaml as pyyaml

# As goyaml: aliases may repeat, but not make a document many times its size.
MAX_EXPANSION: Final = 10
SMALL_DOCUMENT_NODES: Final = 10_000
# Each node costs microseconds on the server's only thread; the largest manifests have some thousands.
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 500

_TAG: Final = "tag:yaml.org,2002:"
_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER: Final = re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# From here on, Go's JSON writes floats with an exponent.
_WRITTEN_WITH_EXPONENT: Final = 1e21
MAX_REPEATS: Final = 100
_UNSET: Final = object()
_MERGE: Final = object()


def yaml_to_json(data: bytes) -> bytes:
    """The first document of `data` as JSON. Raises ValueError, worded as goyaml where it matters.

    A body that is JSON already is given back as it is.
    """
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            msgspec.json.decode(data, type=msgspec.Raw)
            return data
        except (msgspec.DecodeError, RecursionError):
            pass  # YAML's flow style looks alike
    return msgspec.json.encode(load(data))


def yaml_to_value(data: bytes) -> tuple[bytes, Any]:
    """The first document of `data` as JSON, and its value. Raises ValueError as the two steps would."""
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return data, msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            pass  # what is wrong with it, or that it is YAML, is found out below
    made = yaml_to_json(data)
    return made, msgspec.json.decode(made)


def load(data: bytes) -> Any:
    """The first document of `data` as plain values. Raises ValueError."""
    return load_with_repeats(data)[0]


def load_with_repeats(data: bytes) -> tuple[Any, list[str]]:
    """The first document, and the keys that a map of it has more than once, as goyaml tells of them."""
    builder = _Builder()
    try:
        return builder.build(pyyaml.parse(data, Loader=pyyaml.CSafeLoader)), builder.repeats
    except pyyaml.YAMLError as error:
        raise ValueError(f"yaml: {_told(error)}") from None


def _told(error: pyyaml.YAMLError) -> str:
    if "nesting depth" in str(error):  # libyaml's own limit, which its newer builds reach before ours
        return "exceeded max depth"
    if isinstance(error, pyyaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


class _Open:
    """A list or map that is not complete yet."""

    __slots__ = ("anchor", "key", "merged", "size", "value")

    def __init__(self, value: list[Any] | dict[str, Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: Any = _UNSET
        self.merged: dict[str, Any] = {}
        self.size = 1


class _Builder:
    """Builds the value of one document. Sizes count what aliases stand for as often as they stand there."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._expanded = 0
        self._result: Any = None
        # `line 4: key "x" already set in map`; the last value wins all the same.
        self.repeats: list[str] = []

    def build(self, events: Iterator[Any]) -> Any:
        for event in events:
            if isinstance(event, pyyaml.DocumentEndEvent):
                break
            self._take(event)
        return self._result

    def _take(self, event: Any) -> None:
        if isinstance(event, pyyaml.ScalarEvent):
            self._count(1, 1)
            value = _MERGE if self._is_merge(event) else _scalar(event)
            self._complete(value, event.anchor, 1, event)
        elif isinstance(event, pyyaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, (pyyaml.SequenceStartEvent, pyyaml.MappingStartEvent)):
            self._start([] if isinstance(event, pyyaml.SequenceStartEvent) else {}, event)
        elif isinstance(event, (pyyaml.SequenceEndEvent, pyyaml.MappingEndEvent)):
            done = self._open.pop()
            if done.merged and isinstance(done.value, dict):
                done.value = {**done.merged, **done.value}
            self._complete(done.value, done.anchor, done.size, event)

    def _is_merge(self, event: Any) -> bool:
        holder = self._open[-1] if self._open else None
        return (
            holder is not None
            and isinstance(holder.value, dict)
            and holder.key is _UNSET
            and event.value == "<<"
            and event.implicit[0]
        )

    def _start(self, value: list[Any] | dict[str, Any], event: Any) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise ValueError("yaml: exceeded max depth")
        self._count(1, 1)
        self._anchors.pop(event.anchor, None)  # until it is complete, it cannot be referred to
        self._open.append(_Open(value, event.anchor))

    def _alias(self, event: Any) -> None:
        if any(opened.anchor == event.anchor for opened in self._open):
            raise ValueError(f"yaml: anchor '{event.anchor}' value contains itself")
        if event.anchor not in self._anchors:
            raise ValueError(f"yaml: unknown anchor '{event.anchor}' referenced")
        value, size = self._anchors[event.anchor]
        self._count(1, size)
        self._complete(value, None, size, event)

    def _count(self, nodes: int, expanded: int) -> None:
        self._nodes += nodes
        self._expanded += expanded
        if self._nodes > MAX_NODES:
            raise ValueError(f"yaml: document has more than {MAX_NODES} nodes; send it as JSON")
        if self._expanded > max(SMALL_DOCUMENT_NODES, MAX_EXPANSION * self._nodes):
            raise ValueError("yaml: document contains excessive aliasing")

    def _complete(self, value: Any, anchor: str | None, size: int, event: Any) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self._result = value
            return
        holder = self._open[-1]
        holder.size += size
        if isinstance(holder.value, list):
            holder.value.append(value)
        elif holder.key is _UNSET:
            holder.key = value if value is _MERGE else _key(value, event)
        else:
            if holder.key is _MERGE:
                # Of several, the first to name a key wins; the mapping's own keys win over all.
                holder.merged = {**_merged(value), **holder.merged}
            else:
                if holder.key in holder.value and len(self.repeats) < MAX_REPEATS:
                    line = event.start_mark.line + 1
                    self.repeats.append(f'line {line}: key "{holder.key}" already set in map')
                holder.value[holder.key] = value
            holder.key = _UNSET


def _merged(value: Any) -> dict[str, Any]:
    maps = value if isinstance(value, list) else [value]
    merged: dict[str, Any] = {}
    for item in maps:
        if not isinstance(item, dict):
            raise ValueError("yaml: map merge requires map or sequence of maps as the value")
        merged = {**item, **merged}
    return merged


def _key(value: Any, event: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(f"yaml: line {event.start_mark.line + 1}: a key must be a text, a number or a boolean")


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag = (event.tag or "").removeprefix(_TAG)
    if event.implicit[0] or tag in ("bool", "int", "float", "null"):
        return _resolved(text)
    if tag != "binary":
        return text
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("yaml: !!binary value contains invalid base64 data") from None


def _resolved(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _number(float(text), text)
    if _INFINITE.fullmatch(text):
        raise ValueError(f"json: unsupported value: {text}")
    return text


def _number(value: float, text: str) -> int | float:
    """A float as Go writes it: without a fraction where it has none."""
    if math.isinf(value):
        raise ValueError(f"json: unsupported value: {text[:32]}")
    return int(value) if value.is_integer() and abs(value) < _WRITTEN_WITH_EXPONENT else value


def _integer(text: str) -> int | float | str:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    try:
        if digits[:2] in ("0b", "0x", "0o"):
            whole = sign * int(digits, 0)
        elif len(digits) > 1 and digits[0] == "0":
            whole = sign * int(digits, 8)
        else:
            whole = sign * int(digits)
    except ValueError:  # `08`, `0x_`, or more digits than Python converts
        return _number(sign * float(digits), text) if digits.isdigit() else text
    return whole if -(2**63) <= whole < 2**64 else _number(sign * float(digits), text)
