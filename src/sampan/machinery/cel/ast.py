"""The syntax tree of a CEL expression, read from the bytes of cel.expr.CheckedExpr or ParsedExpr."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from sampan.machinery.cel.values import Uint


class Const(msgspec.Struct, frozen=True):
    value: Any


class Ident(msgspec.Struct, frozen=True):
    name: str
    id: int


class Select(msgspec.Struct, frozen=True):
    operand: Node
    field: str
    test_only: bool
    id: int


class Call(msgspec.Struct, frozen=True):
    function: str
    target: Node | None
    args: tuple[Node, ...]
    id: int


class ListOf(msgspec.Struct, frozen=True):
    elements: tuple[Node, ...]
    optional: frozenset[int]


class Entry(msgspec.Struct, frozen=True):
    key: Node
    value: Node
    optional: bool


class MapOf(msgspec.Struct, frozen=True):
    """A map, or where `name` is set, an object of a named type."""

    name: str
    entries: tuple[Entry, ...]
    id: int


class Comprehension(msgspec.Struct, frozen=True):
    """A loop: what the macros become."""

    iter_var: str
    iter_var2: str
    iter_range: Node
    accu_var: str
    accu_init: Node
    condition: Node
    step: Node
    result: Node
    id: int


Node = Const | Ident | Select | Call | ListOf | MapOf | Comprehension


class Tree(msgspec.Struct, frozen=True):
    """A whole expression: its root, and where each node with an id begins, in code points."""

    root: Node
    positions: dict[int, int]


def decode(serialized: bytes) -> Tree:
    """The tree in google.protobuf.Any's bytes, as the compiler serializes it."""
    wrapper = dict(_fields(serialized))
    checked = wrapper[1].endswith(b"CheckedExpr")
    expression, source = (4, 5) if checked else (2, 3)
    root: Node | None = None
    positions: dict[int, int] = {}
    for number, value in _fields(wrapper[2]):
        # ParsedExpr has its expression at 2 and its source at 3.
        if number == expression and not (checked and number == 2):
            root = _node(value)
        elif number == source:
            for inner, entry in _fields(value):
                if inner == 4:
                    pair = dict(_fields(entry))
                    positions[pair.get(1, 0)] = pair.get(2, 0)
    assert root is not None
    return Tree(root, positions)


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    below: list[Node] = []
    if isinstance(node, Select):
        below = [node.operand]
    elif isinstance(node, Call):
        below = [*([node.target] if node.target is not None else []), *node.args]
    elif isinstance(node, ListOf):
        below = list(node.elements)
    elif isinstance(node, MapOf):
        below = [part for entry in node.entries for part in (entry.key, entry.value)]
    elif isinstance(node, Comprehension):
        below = [node.iter_range, node.accu_init, node.condition, node.step, node.result]
    for each in below:
        yield from walk(each)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size
        else:
            size = 8 if kind == 1 else 4
            yield key >> 3, data[at : at + size]
            at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _node(data: bytes) -> Node:
    identity = 0
    for number, value in _fields(data):
        if number == 2:
            identity = value
        elif number == 3:
            return Const(_constant(value))
        elif number == 4:
            return Ident(_text(value, 1), identity)
        elif number == 5:
            parts = dict(_fields(value))
            return Select(_node(parts[1]), parts.get(2, b"").decode(), bool(parts.get(3)), identity)
        elif number == 6:
            return _call(value, identity)
        elif number == 7:
            return _list(value)
        elif number == 8:
            return _map(value, identity)
        elif number == 9:
            return _comprehension(value, identity)
    raise ValueError("an expression without a kind")


def _text(data: bytes, number: int) -> str:
    return next((value.decode() for n, value in _fields(data) if n == number), "")


def _constant(data: bytes) -> Any:
    for number, value in _fields(data):
        if number == 2:
            return bool(value)
        if number == 3:
            return value - 2**64 if value >= 2**63 else value
        if number == 4:
            return Uint(value)
        if number == 5:
            return struct.unpack("<d", value)[0]
        if number == 6:
            return value.decode()
        if number == 7:
            return bytes(value)
    return None


def _call(data: bytes, identity: int) -> Call:
    function, target, args = "", None, []
    for number, value in _fields(data):
        if number == 1:
            target = _node(value)
        elif number == 2:
            function = value.decode()
        elif number == 3:
            args.append(_node(value))
    return Call(function, target, tuple(args), identity)


def _list(data: bytes) -> ListOf:
    elements: list[Node] = []
    optional: set[int] = set()
    for number, value in _fields(data):
        if number == 1:
            elements.append(_node(value))
        elif isinstance(value, int):
            optional.add(value)
        else:
            at = 0
            while at < len(value):
                index, at = _varint(value, at)
                optional.add(index)
    return ListOf(tuple(elements), frozenset(optional))


def _map(data: bytes, identity: int) -> MapOf:
    name, entries = "", []
    for number, value in _fields(data):
        if number == 1:
            name = value.decode()
        else:
            parts = dict(_fields(value))
            key = Const(parts[2].decode()) if 2 in parts else _node(parts[3])
            entries.append(Entry(key, _node(parts[4]), bool(parts.get(5))))
    return MapOf(name, tuple(entries), identity)


def _comprehension(data: bytes, identity: int) -> Comprehension:
    parts = dict(_fields(data))
    return Comprehension(
        iter_var=parts.get(1, b"").decode(),
        iter_var2=parts.get(8, b"").decode(),
        iter_range=_node(parts[2]),
        accu_var=parts.get(3, b"").decode(),
        accu_init=_node(parts[4]),
        condition=_node(parts[5]),
        step=_node(parts[6]),
        result=_node(parts[7]),
        id=identity,
    )
