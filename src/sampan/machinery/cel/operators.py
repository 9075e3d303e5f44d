"""CEL's operators over two or one values. Each raises CelError, in cel-go's words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from sampan.machinery.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    UINT_MAX,
    CelError,
    Constructed,
    Duration,
    Lazy,
    Optional,
    Timestamp,
    Uint,
    equal,
    less,
)


def _int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelError("integer overflow")


def _uint(value: int) -> Uint:
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelError("unsigned integer overflow")


def add(a: Any, b: Any) -> Any:
    kind, other = type(a), type(b)
    if kind is other:
        if kind is int:
            return _int(a + b)
        if kind is str or kind is float or kind is list or kind is bytes:
            return a + b
        if kind is Uint:
            return _uint(int(a) + int(b))
        if kind is Duration:
            return Duration(a.ns + b.ns)
    if kind is Timestamp and other is Duration:
        return Timestamp(a.ns + b.ns)
    if kind is Duration and other is Timestamp:
        return Timestamp(a.ns + b.ns)
    raise CelError("no such overload")


def subtract(a: Any, b: Any) -> Any:
    kind, other = type(a), type(b)
    if kind is other:
        if kind is int:
            return _int(a - b)
        if kind is float:
            return a - b
        if kind is Uint:
            return _uint(int(a) - int(b))
        if kind is Duration or kind is Timestamp:
            return Duration(a.ns - b.ns)
    if kind is Timestamp and other is Duration:
        return Timestamp(a.ns - b.ns)
    raise CelError("no such overload")


def multiply(a: Any, b: Any) -> Any:
    kind = type(a)
    if kind is type(b):
        if kind is int:
            return _int(a * b)
        if kind is float:
            return a * b
        if kind is Uint:
            return _uint(int(a) * int(b))
    raise CelError("no such overload")


def divide(a: Any, b: Any) -> Any:
    kind = type(a)
    if kind is type(b):
        if kind is float:
            return _divide_doubles(a, b)
        if kind is int or kind is Uint:
            if b == 0:
                raise CelError("division by zero")
            if kind is Uint:
                return Uint(int(a) // int(b))
            quotient = abs(a) // abs(b)
            return _int(quotient if (a < 0) == (b < 0) else -quotient)
    raise CelError("no such overload")


def _divide_doubles(a: float, b: float) -> float:
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def modulo(a: Any, b: Any) -> Any:
    kind = type(a)
    if kind is not type(b) or (kind is not int and kind is not Uint):
        raise CelError("no such overload")
    if b == 0:
        raise CelError("modulus by zero")
    if kind is Uint:
        return Uint(int(a) % int(b))
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def negate(a: Any) -> Any:
    kind = type(a)
    if kind is int:
        return _int(-a)
    if kind is float:
        return -a
    if kind is Duration:
        return Duration(-a.ns)
    raise CelError("no such overload")


def invert(a: Any) -> bool:
    if type(a) is not bool:
        raise CelError("no such overload")
    return not a


def contains(element: Any, container: Any) -> bool:
    kind = type(container)
    if kind is list:
        if type(element) is str:
            return element in container
        return any(equal(each, element) for each in container)
    if kind is dict or kind is Constructed:
        return has_key(container, element)
    raise CelError("no such overload")


def has_key(mapping: dict[Any, Any], key: Any) -> bool:
    kind = type(key)
    if kind is str:
        return key in mapping
    if kind is float and not key.is_integer():
        return False
    return any(equal(each, key) for each in mapping) if kind in (int, Uint, float, bool) else False


def index(container: Any, key: Any) -> Any:
    kind = type(container)
    if kind is dict or kind is Constructed:
        if type(key) is str:
            try:
                return container[key]
            except KeyError:
                raise CelError(f"no such key: {key}") from None
        for each, value in container.items():
            if equal(each, key):
                return value
        raise CelError(f"no such key: {key}")
    if kind is list:
        return container[_position(container, key)]
    if kind is Optional:
        return Optional(True, index(container.value, key)) if container.present else NONE
    if isinstance(container, Lazy) and type(key) is str:
        return container.get(key)
    raise CelError("no such overload")


def _position(container: list[Any], key: Any) -> int:
    if type(key) not in (int, Uint, float) or (type(key) is float and not key.is_integer()):
        raise CelError("no such overload")
    at = int(key)
    if 0 <= at < len(container):
        return at
    raise CelError(f"index out of bounds: {at}")


def optional_index(container: Any, key: Any) -> Optional:
    """`container[?key]` and `container.?key`."""
    if type(container) is Optional:
        if not container.present:
            return NONE
        container = container.value
    kind = type(container)
    if kind is dict or kind is Constructed:
        if type(key) is str:
            return Optional(True, container[key]) if key in container else NONE
        return Optional(True, index(container, key)) if has_key(container, key) else NONE
    if kind is list:
        at = int(key) if type(key) in (int, Uint) else -1
        return Optional(True, container[at]) if 0 <= at < len(container) else NONE
    if isinstance(container, Lazy) and type(key) is str:
        return Optional(True, container.get(key)) if container.has(key) else NONE
    raise CelError("no such overload")


BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "_+_": add,
    "_-_": subtract,
    "_*_": multiply,
    "_/_": divide,
    "_%_": modulo,
    "_<_": less,
    "_>_": lambda a, b: less(b, a),
    "_<=_": lambda a, b: _at_most(a, b),
    "_>=_": lambda a, b: _at_most(b, a),
    "_==_": equal,
    "_!=_": lambda a, b: not equal(a, b),
    "@in": contains,
    "_[_]": index,
    "_[?_]": optional_index,
    "_?._": optional_index,
}
# Operators whose work grows with what they are given.
WEIGHTY: Final = frozenset({"_+_", "_==_", "_!=_", "@in", "_<_", "_>_", "_<=_", "_>=_"})
UNARY: Final[dict[str, Callable[[Any], Any]]] = {"-_": negate, "!_": invert}


def _at_most(a: Any, b: Any) -> bool:
    return less(a, b) or (a == b if type(a) is float or type(b) is float else not less(b, a))
