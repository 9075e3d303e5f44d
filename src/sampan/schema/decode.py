"""Bodies from clients to structs: what the fast decoder refuses, taken as Kubernetes takes it.

The fast path is one or two decodes in C. Only where they refuse is a body walked with its definition: nulls
count as absent, unknown and duplicate fields are named, and a wrong type is reported in Go's words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET

from sampan.schema import codec, goerrors
from sampan.schema.compile import Types, decode_custom
from sampan.schema.custom import OBJECT_META
from sampan.schema.definitions import NEWEST, GroupVersionKind, load
from sampan.schema.walk import Walk, WrongType

T = TypeVar("T")

MAX_PROBLEMS: Final = 100
_DECODERS: Final = 1024
_NO_TYPE: Final = "couldn't get version/kind; json parse error: "


class DecodeFailure(ValueError):
    """A body that is no object of its type; the text is what kube-apiserver says."""

    # What was found wrong in which field, where it was that.
    wrong: WrongType | None = None


class NotAnObject(DecodeFailure):
    """A body that does not even say of which type it is."""


def decode_object(
    data: bytes,
    kind: type[T],
    gvk: GroupVersionKind | None = None,
    *,
    strict: bool = True,
    repeats: bool = True,
) -> tuple[T, list[str]]:
    """`data` as a `kind`, and what a strict reader finds wrong with it.

    The problems are `unknown field "spec.foo"` and `duplicate field "spec.foo"`; with `strict` False nobody
    looks for them, and with `repeats` False nobody looks for duplicates. Where the body leaves out apiVersion
    and kind, they are filled from `gvk`, if that is the kind of this struct. Raises DecodeFailure for what is
    not JSON or of another type.
    """
    try:
        obj = codec.decode(data, kind)
    except RecursionError:
        raise DecodeFailure("exceeded max depth") from None
    except msgspec.ValidationError:
        obj = _decode_slowly(data, kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotAnObject(f"{_NO_TYPE}{goerrors.syntax(data)}") from None
    if gvk is not None:
        _fill(obj, kind, gvk)
    return obj, problems(data, kind, repeats=repeats) if strict else []


def problems(data: bytes, kind: Any, *, repeats: bool = True) -> list[str]:
    """The unknown and duplicate fields of a body that decodes; at most MAX_PROBLEMS of them."""
    found = unknown_fields(data, kind)
    if repeats and may_repeat_keys(data):
        found += duplicate_fields(data)
    return found[:MAX_PROBLEMS]


def unknown_fields(data: bytes, kind: Any) -> list[str]:
    """`unknown field "spec.foo"` for each field that the type does not have. Free-form parts have none."""
    full = _full_name(kind)
    if full is None:
        return _unknown_metadata(data) if hasattr(kind, "from_json") else []
    try:
        _strict_decoder(full).decode(data)
        return []
    except msgspec.ValidationError:
        walk = Walk(codec.types().definitions)
        with suppress(WrongType):  # the fast decoder was content with the rest
            walk.prune(_parse(data), full)
        return [f'unknown field "{path}"' for path in walk.unknown]


def fits(data: bytes, kind: Any) -> bool:
    """Whether a body has but fields of the type, each in its JSON type; nulls do not fit."""
    full = _full_name(kind)
    if full is None:
        return False
    try:
        _strict_decoder(full).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _unknown_metadata(data: bytes) -> list[str]:
    """The same of an object of which metadata alone is typed: the schema of its definition knows the rest."""
    try:
        _metadata_decoder().decode(data)
        return []
    except msgspec.ValidationError:
        walk = Walk(codec.types().definitions)
        with suppress(WrongType, AttributeError):
            walk.prune(_parse(data).get("metadata") or {}, OBJECT_META)
        return [f'unknown field "metadata.{path}"' for path in walk.unknown]


def duplicate_fields(data: bytes) -> list[str]:
    """`duplicate field "spec.foo"` for each key that an object of the body has more than once."""
    marked = json.loads(data, object_pairs_hook=_mark_repeats)
    return [f'duplicate field "{path}"' for path in dict.fromkeys(_repeats(marked, ""))]


class _Repeated(dict[str, Any]):
    """An object with the keys that came more than once."""

    keys_again: list[str]


def _decode_slowly(data: bytes, kind: type[T]) -> T:
    value = _parse(data)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise NotAnObject(f"{_NO_TYPE}{goerrors.not_typed(value)}")
    full = _full_name(kind)
    if full is None:
        return _convert(value, kind)
    try:
        pruned = Walk(codec.types().definitions).prune(value, full)
    except WrongType as wrong:
        failure = DecodeFailure(str(wrong))
        failure.wrong = wrong
        raise failure from None
    return _convert(pruned, kind)


def _convert(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind, dec_hook=decode_custom, builtin_types=())
    except msgspec.ValidationError as error:
        raise DecodeFailure(str(error)) from None


def _parse(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise DecodeFailure("exceeded max depth") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotAnObject(f"{_NO_TYPE}{goerrors.syntax(data)}") from None


def _full_name(kind: Any) -> str | None:
    """The name of a published definition; None for types that are not of those."""
    try:
        return codec.types().name_of(kind)
    except (KeyError, TypeError):  # TypeError: what cannot be hashed
        return None


@lru_cache(maxsize=2)
def _strict_types(version: str = NEWEST) -> Types:
    return Types(load(version), strict=True)


@lru_cache(maxsize=1)
def _metadata_decoder() -> msgspec.json.Decoder[Any]:
    holder = msgspec.defstruct("Holder", [("metadata", _strict_types().of(OBJECT_META) | None, None)])
    return msgspec.json.Decoder(holder, dec_hook=decode_custom)


@lru_cache(maxsize=_DECODERS)
def _strict_decoder(full: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_strict_types().of(full), dec_hook=decode_custom)


def _fill(obj: Any, kind: Any, gvk: GroupVersionKind) -> None:
    full = _full_name(kind)
    if full is None or codec.types().definitions.by_gvk.get(gvk) != full:
        return
    if not obj.apiVersion:
        obj.apiVersion = gvk.api_version
    if not obj.kind:
        obj.kind = gvk.kind


def may_repeat_keys(data: bytes, decoded: Any = UNSET) -> bool:
    """A quick look at JSON, which may have been decoded: False where surely no object has a key twice."""
    # Written again, a body with a repeated key is shorter. Other ways to write the same JSON (escapes,
    # floats) differ in length too; those bodies are rare and only cost the slow look.
    compact = msgspec.json.format(data, indent=-1)
    value = msgspec.json.decode(data) if decoded is UNSET else decoded
    return len(compact) != len(msgspec.json.encode(value))


def _mark_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    again = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    repeated = _Repeated(plain)
    repeated.keys_again = again
    return repeated


def _repeats(value: Any, at: str) -> list[str]:
    found: list[str] = []
    if isinstance(value, Mapping):
        if isinstance(value, _Repeated):
            found += [_joined(at, key) for key in value.keys_again]
        for key, item in value.items():
            found += _repeats(item, _joined(at, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            found += _repeats(item, f"{at}[{position}]")
    return found


def _joined(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
