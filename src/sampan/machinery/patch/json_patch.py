"""JSON Patch (RFC 6902), refused in the words of the library that Kubernetes uses for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from sampan.machinery.patch.errors import PatchFailed, PatchMalformed, PatchTooLarge
from sampan.machinery.patch.values import Json, copy, equal

MAX_OPERATIONS: Final = 10_000
# The size that all `copy` operations of one patch may add to a document; Kubernetes' request limit.
MAX_COPIED_BYTES: Final = 3 * 1024 * 1024

_INDEX: Final = re.compile(r"0|[1-9][0-9]*")
_TILDE: Final = re.compile(r"~(?![01])")


class _Missing(Exception):
    """A place that is not there; the text says which."""


class Operation(msgspec.Struct, frozen=True):
    """One checked step of a patch; pointers are split into their unescaped parts."""

    op: str
    path: tuple[str, ...]
    source: tuple[str, ...] = ()
    value: Json = None


def decode(data: bytes) -> list[Operation]:
    """The operations that `data` writes. Raises PatchMalformed or PatchTooLarge."""
    try:
        patch = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PatchMalformed(f"error decoding patch: {error}") from None
    return check(patch)


def check(patch: Json) -> list[Operation]:
    """The operations of a patch in plain JSON. Raises PatchMalformed or PatchTooLarge."""
    if not isinstance(patch, list):
        raise PatchMalformed("json: cannot unmarshal a value that is not an array into a JSON patch")
    if len(patch) > MAX_OPERATIONS:
        raise PatchTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    return [_operation(entry) for entry in patch]


def apply(document: Json, operations: list[Operation]) -> Json:
    """A new document with all operations done. Raises PatchFailed at the first that does not apply."""
    root = [copy(document)]  # boxed, so that the whole document can be replaced like any part of it
    copied_bytes = 0
    for operation in operations:
        if operation.op == "copy":
            copied_bytes += _copied_size(root, operation)
            if copied_bytes > MAX_COPIED_BYTES:
                raise PatchFailed(
                    "Unable to complete the copy, the accumulated size increase of copy is "
                    f"{copied_bytes}, exceeding the limit {MAX_COPIED_BYTES}"
                )
        _DO[operation.op](root, operation)
    return root[0]


def pointer(text: str) -> tuple[str, ...]:
    """The parts of a JSON pointer (RFC 6901). Raises ValueError for what is not one."""
    if text == "":
        return ()
    if not text.startswith("/"):
        raise ValueError(f"JSON pointer must be empty or start with '/', got {text!r}")
    if _TILDE.search(text):
        raise ValueError(f"JSON pointer {text!r} holds '~' followed by neither 0 nor 1")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def _operation(entry: Json) -> Operation:
    if not isinstance(entry, Mapping):
        raise PatchMalformed(
            "json: cannot unmarshal a value that is not an object into a JSON patch operation"
        )
    op = entry.get("op")
    if not isinstance(op, str) or op not in _DO:
        raise PatchFailed(f"Unexpected kind: {op if isinstance(op, str) else 'unknown'}")
    path = _pointer_of(entry, "path", op)
    source = _pointer_of(entry, "from", op) if op in ("move", "copy") else ()
    if op in ("add", "replace", "test") and "value" not in entry:
        raise PatchFailed(f"{op} operation of path '{entry['path']}' is missing value")
    return Operation(op, path, source, entry.get("value"))


def _pointer_of(entry: Mapping[str, Any], name: str, op: str) -> tuple[str, ...]:
    text = entry.get(name)
    if not isinstance(text, str):
        raise PatchFailed(f"{op} operation failed to decode {name}: missing value")
    try:
        return pointer(text)
    except ValueError as error:
        raise PatchFailed(f"{op} operation failed to decode {name}: {error}") from None


def _written(parts: tuple[str, ...]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _container(root: list[Json], parts: tuple[str, ...]) -> tuple[Json, str] | None:
    """What holds the place `parts`, and the place's name in it; None where a part on the way is missing."""
    if not parts:
        return root, "0"
    value = root[0]
    for part in parts[:-1]:
        try:
            value = _get(value, part)
        except _Missing:
            return None
    return (value, parts[-1]) if isinstance(value, (dict, list)) else None


def _position(items: list[Json], part: str, *, end: int) -> int:
    if not _INDEX.fullmatch(part):
        raise _Missing(f"Unable to access invalid index: {part}: invalid index referenced")
    position = int(part) if len(part) < 19 else end
    if position >= end:
        raise _Missing(f"Unable to access invalid index: {part}: invalid index referenced")
    return position


def _get(holder: Json, part: str) -> Json:
    if isinstance(holder, dict):
        if part not in holder:
            raise _Missing(f"unable to get nonexistent key: {part}: missing value")
        return holder[part]
    if isinstance(holder, list):
        return holder[_position(holder, part, end=len(holder))]
    raise _Missing(f"unable to get nonexistent key: {part}: missing value")


def _insert(holder: Json, part: str, value: Json) -> None:
    if isinstance(holder, dict):
        holder[part] = value
    elif part == "-":
        holder.append(value)
    else:
        holder.insert(_position(holder, part, end=len(holder) + 1), value)


def _delete(holder: Json, part: str) -> None:
    if isinstance(holder, dict):
        if part not in holder:
            raise _Missing(f"Unable to remove nonexistent key: {part}: missing value")
        del holder[part]
    else:
        del holder[_position(holder, part, end=len(holder))]


def _put(root: list[Json], operation: Operation, value: Json, missing: str, failed: str) -> None:
    if not operation.path:
        root[0] = value
        return
    place = _container(root, operation.path)
    if place is None:
        raise PatchFailed(missing)
    try:
        _insert(*place, value)
    except _Missing as error:
        raise PatchFailed(f"{failed}: {error}") from None


def _add(root: list[Json], operation: Operation) -> None:
    path = _written(operation.path)
    _put(
        root,
        operation,
        copy(operation.value),
        f'add operation does not apply: doc is missing path: "{path}": missing value',
        f"error in add for path: '{path}'",
    )


def _remove(root: list[Json], operation: Operation) -> None:
    path = _written(operation.path)
    place = _container(root, operation.path)
    if place is None:
        raise PatchFailed(f'remove operation does not apply: doc is missing path: "{path}": missing value')
    if not operation.path:
        root[0] = None
        return
    try:
        _delete(*place)
    except _Missing as error:
        raise PatchFailed(f"error in remove for path: '{path}': {error}") from None


def _replace(root: list[Json], operation: Operation) -> None:
    path = _written(operation.path)
    place = _container(root, operation.path)
    if place is None:
        raise PatchFailed(f"replace operation does not apply: doc is missing path: {path}: missing value")
    holder, part = place
    try:
        _get(holder, part)
    except _Missing:
        raise PatchFailed(
            f"replace operation does not apply: doc is missing key: {path}: missing value"
        ) from None
    holder[part if isinstance(holder, dict) else int(part)] = copy(operation.value)


def _read(root: list[Json], operation: Operation) -> Json:
    op, source = operation.op, _written(operation.source)
    place = _container(root, operation.source)
    if place is None:
        raise PatchFailed(f"{op} operation does not apply: doc is missing from path: {source}: missing value")
    try:
        return _get(*place)
    except _Missing as error:
        raise PatchFailed(f"error in {op} for path: '{source}': {error}") from None


def _move(root: list[Json], operation: Operation) -> None:
    value = _read(root, operation)
    source, path = operation.source, operation.path
    if path == source:
        return
    if path[: len(source)] == source:
        raise PatchFailed(f"error in move for path: '{_written(path)}': a value cannot move into itself")
    place = _container(root, source)
    assert place is not None
    _delete(*place)
    _put_at_destination(root, operation, value)


def _copy(root: list[Json], operation: Operation) -> None:
    _put_at_destination(root, operation, copy(_read(root, operation)))


def _put_at_destination(root: list[Json], operation: Operation, value: Json) -> None:
    op, path = operation.op, _written(operation.path)
    failed = "error while adding value during copy" if op == "copy" else f"error in move for path: '{path}'"
    missing = f"{op} operation does not apply: doc is missing destination path: {path}: missing value"
    _put(root, operation, value, missing, failed)


def _test(root: list[Json], operation: Operation) -> None:
    path = _written(operation.path)
    place = _container(root, operation.path)
    if place is None:
        raise PatchFailed(f"test operation does not apply: is missing path: {path}: missing value")
    try:
        found = _get(*place)
    except _Missing as error:
        if isinstance(place[0], list):
            raise PatchFailed(f"error in test for path: '{path}': {error}") from None
        found = None  # Kubernetes' library takes an absent key for null
    if not equal(found, operation.value):
        raise PatchFailed(f"testing value {path} failed: test failed")


def _copied_size(root: list[Json], operation: Operation) -> int:
    return len(msgspec.json.encode(_read(root, operation)))


_DO: Final[Mapping[str, Callable[[list[Json], Operation], None]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
