"""Bytes to structs and back, for every type of the newest version."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache, lru_cache
from typing import Any, Final, TypeVar, cast

import msgspec

from sampan.schema.compile import Types, decode_custom, encode_custom
from sampan.schema.definitions import NEWEST, load

T = TypeVar("T")

_DECODERS: Final = 1024
_encoder = msgspec.json.Encoder(enc_hook=encode_custom)

encode = _encoder.encode


def types(version: str = NEWEST) -> Types:
    """The compiled types of a Kubernetes version: made once, and kept for good."""
    return _types(version)


@cache
def _types(version: str) -> Types:
    return Types(load(version))


@lru_cache(maxsize=_DECODERS)
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast(Any, kind), dec_hook=decode_custom)


def decode(data: bytes, kind: type[T]) -> T:
    """`data` as a `kind`. Raises msgspec.ValidationError (wrong shape) or msgspec.DecodeError (not JSON)."""
    value: T = _decoder(cast(Hashable, kind)).decode(data)
    return value


def from_builtins(value: Any, kind: type[T]) -> T:
    """Plain dicts and lists as a `kind`. Raises msgspec.ValidationError."""
    return msgspec.convert(value, kind, dec_hook=decode_custom, builtin_types=())


def to_builtins(value: Any) -> Any:
    """A struct as plain dicts, lists and scalars: what its JSON would hold."""
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=encode_custom, str_keys=True)
    # What callers put together themselves may have tuples in it, which stay what they are above.
    return msgspec.json.decode(_encoder.encode(value))


def copy(value: T) -> T:
    """A deep copy that shares nothing with `value`."""
    return decode(_encoder.encode(value), type(value))
