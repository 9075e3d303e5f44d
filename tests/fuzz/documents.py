"""Documents of the shape of a kind, with something wrong in them now and then."""

from __future__ import annotations

import random
import types
import typing
from datetime import datetime
from typing import Any

import msgspec

_DEPTH = 7
_STRINGS = (
    "",
    "a",
    "web-0",
    "A_B",
    "10.0.0.1",
    "::1",
    "999.0.0.1",
    "80",
    "-1",
    "100%",
    "1e400",
    "1Gi",
    "0.5m",
    "*",
    "/",
    "../..",
    "\x00",
    "é",
    "\ud7ff\U0001f4a9",
    "a" * 300,
    "true",
    "2026-01-01T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "@hourly",
    "*/0 * * * *",
    "kubernetes.io/x",
    "x/y/z",
    "Always",
    "Foreground",
    "app=web",
    "$(A)",
    "{{",
    "[",
)
_NUMBERS: tuple[Any, ...] = (0, 1, -1, 80, 65536, 2**31, -(2**31), 2**63, 10**30, 1.5, -0.0, 1e308)
_JUNK: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": None}, [None], {"a": {"a": {"a": 1}}})
NAMES = (
    "a",
    "web-0",
    "x.y",
    "default",
    "kube-system",
    "node-1",
    "A",
    "",
    "-",
    "a" * 254,
    "é",
    "a/b",
    "..",
    "%2f",
)


def junk(chance: random.Random) -> Any:
    """Anything."""
    return chance.choice(chance.choice((_STRINGS, _NUMBERS, _JUNK)))


def document(kind: Any, chance: random.Random, wrong: float) -> Any:
    """An object of `kind`; each value is junk with the probability `wrong`."""
    made = _value(kind, chance, wrong, _DEPTH)
    if not isinstance(made, dict):
        return made
    metadata = made.get("metadata")
    if isinstance(metadata, dict) and chance.random() > wrong:
        for name in ("uid", "resourceVersion", "deletionTimestamp", "selfLink", "creationTimestamp"):
            metadata.pop(name, None)
        metadata["name"] = chance.choice(NAMES[:4])
        metadata["namespace"] = "default"
        metadata["ownerReferences"] = metadata["managedFields"] = []
    return made


def _value(kind: Any, chance: random.Random, wrong: float, depth: int) -> Any:
    if chance.random() < wrong:
        return junk(chance)
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _value(typing.get_args(kind)[0], chance, wrong, depth)
    if origin in (types.UnionType, typing.Union):
        options = [o for o in typing.get_args(kind) if o is not type(None)]
        return _value(chance.choice(options), chance, wrong, depth)
    if origin is list:
        count = chance.choice((0, 1, 1, 2)) if depth > 0 else 0
        return [_value(typing.get_args(kind)[0], chance, wrong, depth - 1) for _ in range(count)]
    if origin is dict:
        count = chance.choice((0, 1, 2)) if depth > 0 else 0
        of = typing.get_args(kind)[1]
        return {chance.choice(_STRINGS): _value(of, chance, wrong, depth - 1) for _ in range(count)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, chance, wrong, depth)
    return _scalar(kind, chance)


def _struct(kind: Any, chance: random.Random, wrong: float, depth: int) -> Any:
    made: dict[str, Any] = {}
    density = chance.choice((0.1, 0.3, 0.6))
    for field in msgspec.structs.fields(kind):
        wanted = field.name in ("metadata", "spec") or chance.random() < density
        if wanted and (depth > 0 or field.name == "name"):
            made[field.encode_name] = _value(field.type, chance, wrong, depth - 1)
    if chance.random() < wrong:
        made[chance.choice(_STRINGS)] = junk(chance)
    return made


def _scalar(kind: Any, chance: random.Random) -> Any:
    if kind is bool:
        return chance.random() < 0.5
    if kind is int:
        return chance.choice((0, 1, 1, 2, 80, -1, 30000, 2**31 - 1))
    if kind is float:
        return chance.choice((0.0, 0.5, 1e9))
    if kind is bytes:
        return chance.choice(("", "YQ==", "YWI", "!", "AAAA"))
    if kind is datetime:
        return chance.choice(("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z", "0001-01-01T00:00:00Z"))
    if kind is str:
        return chance.choice(_STRINGS)
    return junk(chance)
