"""What the type checker knows: the standard library, what Kubernetes adds to it, and the variables.

Functions are declared as one line each, `receiver.name(argument, ...) result`; `T` is any one type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sampan.machinery.cel.library import authorizer, kubernetes, network, strings

_EXTENSIONS: Final = ("optional", "two-var-comprehensions", "sets", "bindings")
_NUMBERS: Final = ("int", "uint", "double")
_ORDERED: Final = ("bool", *_NUMBERS, "string", "bytes", "timestamp", "duration")
_TEXTS: Final = (*_ORDERED, "net.IP", "net.CIDR")
# Comparing numbers of different types is an option of cel-go that cel-cpp does not have by name; and `string`
# takes what Kubernetes adds. A function is declared in one place, so these are declared anew.
_REPLACED: Final[dict[str, list[tuple[tuple[str, ...], str]]]] = {
    **{
        f"_{operator}_": [
            *(((kind, kind), "bool") for kind in _ORDERED),
            *(((a, b), "bool") for a in _NUMBERS for b in _NUMBERS if a != b),
        ]
        for operator in ("<", "<=", ">", ">=")
    },
    "string": [((kind,), "string") for kind in _TEXTS],
}
_LINE = re.compile(r"(?P<head>.+?)\((?P<args>.*)\) (?P<result>.+)")


def configuration() -> str:
    """The environment's YAML (JSON) without variables."""
    functions: dict[str, list[dict[str, Any]]] = {}
    for name, overloads in _REPLACED.items():
        functions[name] = [
            _overload(f"{name}({', '.join(args)})", None, args, result) for args, result in overloads
        ]
    for line in (
        *strings.DECLARATIONS,
        *kubernetes.DECLARATIONS,
        *network.DECLARATIONS,
        *authorizer.DECLARATIONS,
    ):
        name, overload = _declared(line)
        functions.setdefault(name, []).append(overload)
    return json.dumps(
        {
            "stdlib": {"exclude_functions": [{"name": name} for name in _REPLACED]},
            "extensions": [{"name": name} for name in _EXTENSIONS],
            "functions": [{"name": name, "overloads": each} for name, each in functions.items()],
        }
    )


def _declared(line: str) -> tuple[str, dict[str, Any]]:
    match = _LINE.fullmatch(line)
    assert match is not None, line
    head, args = match["head"], _split(match["args"])
    receiver, _, name = head.rpartition(".")
    if receiver in ("format", "jsonpatch", "strings") or head == "ip.isCanonical":
        receiver, name = "", head
    return name, _overload(line, receiver or None, args, match["result"])


def _overload(identity: str, receiver: str | None, args: Iterable[str], result: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": identity,
        "args": [parsed_type(arg) for arg in args],
        "return": parsed_type(result),
    }
    if receiver is not None:
        made["target"] = parsed_type(receiver)
    return made


def parsed_type(text: str) -> dict[str, Any]:
    """`map<string, list<T>>` as the environment's YAML has it."""
    name, bracket, rest = text.strip().partition("<")
    if name == "T":
        return {"type_name": "T", "is_type_param": True}
    if not bracket:
        return {"type_name": name}
    return {"type_name": name, "params": [parsed_type(part) for part in _split(rest[:-1])]}


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    parts, depth, last = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "<") - (char == ">")
        if char == "," and not depth:
            parts.append(text[last:at])
            last = at + 1
    return [part.strip() for part in [*parts, text[last:]] if part.strip()]


def variables(types: Mapping[str, str]) -> list[dict[str, Any]]:
    """The declarations of variables, each with the text of its type."""
    return [{"name": name, **parsed_type(kind)} for name, kind in types.items()]
