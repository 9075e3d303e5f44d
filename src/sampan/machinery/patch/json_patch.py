"""JSON Patch (RFC 6902), refused in the words of the library that Kubernetes uses for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from sampan.machinery.patch import go
from sampan.machinery.patch.errors import PatchFailed, PatchMalformed, PatchTooLarge
from sampan.machinery.patch.values import Json, copy, equal

MAX_OPERATIONS: Final = 10_000
# The size that all `copy` operations of one patch may add to a document; Kubernetes' request limit.
MAX_COPIED_BYTES: Final = 3 * 1024 * 1024

_INDEX: Final = re.compile(r"[+-]?[0-9]{1,18}")
_FIELDS: Final = frozenset({"op", "path", "from", "value"})


class _Missing(Exception):
    """A place that is not there; the text says which."""


Place: TypeAlias = tuple[str, ...] | None


class Operation(msgspec.Struct, frozen=True):
    """One checked step of a patch; pointers are split into their unescaped parts."""

    op: str
    path: Place
    source: Place = ()
    value: Json = None


def decode(data: bytes) -> list[Operation]:
    """The operations that `data` writes. Raises PatchMalformed or PatchTooLarge."""
    try:
        patch = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PatchMalformed("invalid JSON patch") from None
    return check(patch)


def check(patch: Json) -> list[Operation]:
    """The operations of a patch in plain JSON. Raises PatchMalformed or PatchTooLarge."""
    if patch is None:
        return []
    if not isinstance(patch, list):
        raise PatchMalformed(_wrong(patch, "value of type []handlers.jsonPatchOp"))
    if len(patch) > MAX_OPERATIONS:
        raise PatchTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    return [_operation(entry) for entry in patch]


def unknown_fields(data: bytes) -> list[str]:
    """The members of a patch's operations that are none of an operation's: `[0].zz`."""
    patch = msgspec.json.decode(data)
    return [
        f"[{position}].{name}"
        for position, entry in enumerate(patch or ())
        if entry and not _FIELDS.issuperset(entry)
        for name in entry
        if name not in _FIELDS
    ]


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
        do = _DO.get(operation.op)
        if do is None:
            raise PatchFailed(f"Unexpected kind: {operation.op}")
        do(root, operation)
    return root[0]


def pointer(text: str) -> Place:
    """The parts of a JSON pointer; () is the whole document, None nothing that can be there.

    As Kubernetes' library reads them, what stands before the first slash is passed over, and a `~` may stand
    for itself.
    """
    if text == "":
        return ()
    _, slash, rest = text.partition("/")
    if not slash:
        return None
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in rest.split("/"))


def _operation(entry: Json) -> Operation:
    if entry is None:
        entry = {}
    if not isinstance(entry, Mapping):
        raise PatchMalformed(_wrong(entry, "value of type handlers.jsonPatchOp"))
    texts: dict[str, str] = {}
    for name in ("op", "path", "from"):
        text = entry.get(name)
        if text is not None and not isinstance(text, str):
            raise PatchMalformed(_wrong(text, f"struct field jsonPatchOp.{name} of type string"))
        if text is not None:
            texts[name] = text
    op = texts.get("op", "unknown")
    if op not in _DO:
        # Refused when its turn comes.
        return Operation(op, ())
    for name in ("path", "from") if op in ("move", "copy") else ("path",):
        if name not in texts:
            return Operation(f"{op} without {name}", ())
    return Operation(op, pointer(texts["path"]), pointer(texts.get("from", "")), entry.get("value"))


def _wrong(value: Json, where: str) -> str:
    return f"error decoding patch: json: cannot unmarshal {go.json_kind(value)} into Go {where}"


def _written(parts: Place) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts or ())


def _container(root: list[Json], parts: Place) -> tuple[Json, str] | None:
    """What holds the place `parts`, and the place's name in it; None where a part on the way is missing.

    Nothing holds the whole document: it can be tested and replaced, and that is all.
    """
    if not parts:
        return None
    value = root[0]
    for part in parts[:-1]:
        try:
            value = _get(value, part)
        except _Missing:
            return None
    return (value, parts[-1]) if isinstance(value, (dict, list)) else None


def _position(items: list[Json], part: str, *, end: int) -> int:
    """The place in a list; from its end where it is negative, as Kubernetes' library takes it."""
    position = int(part) if _INDEX.fullmatch(part) else end
    if not -end <= position < end:
        raise _Missing(f"Unable to access invalid index: {part}: invalid index referenced")
    return position % end


def _get(holder: Json, part: str) -> Json:
    """What is there; null for a key that is not."""
    if isinstance(holder, list):
        return holder[_position(holder, part, end=len(holder))]
    return holder.get(part) if isinstance(holder, dict) else None


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
    try:
        _delete(*place)
    except _Missing as error:
        raise PatchFailed(f"error in remove for path: '{path}': {error}") from None


def _replace(root: list[Json], operation: Operation) -> None:
    path = _written(operation.path)
    if operation.path == ():
        if not isinstance(operation.value, (dict, list)):
            raise PatchFailed("replace operation value must be object or array")
        root[0] = copy(operation.value)
        return
    place = _container(root, operation.path)
    if place is None:
        raise PatchFailed(f"replace operation does not apply: doc is missing path: {path}: missing value")
    holder, part = place
    if isinstance(holder, dict):  # Kubernetes' library takes an absent key for null, and that can be replaced
        holder[part] = copy(operation.value)
        return
    try:
        holder[_position(holder, part, end=len(holder))] = copy(operation.value)
    except _Missing:
        raise PatchFailed(
            f"replace operation does not apply: doc is missing key: {path}: missing value"
        ) from None


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
    place = _container(root, operation.source)
    assert place is not None, "it has been read from"
    try:
        _delete(*place)
    except _Missing as error:
        raise PatchFailed(f"error in move for path: '{place[1]}': {error}") from None
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
    if operation.path == ():
        found = root[0]
    else:
        place = _container(root, operation.path)
        if place is None:
            raise PatchFailed(f"test operation does not apply: is missing path: {path}: missing value")
        try:
            found = _get(*place)
        except _Missing as error:
            raise PatchFailed(f"error in test for path: '{path}': {error}") from None
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
