"""JSON merge patch (RFC 7386): null deletes, objects merge, everything else replaces."""

from __future__ import annotations

import msgspec

from sampan.machinery.patch.errors import PatchMalformed
from sampan.machinery.patch.values import Json, JsonObject, copy, equal


def decode(data: bytes) -> JsonObject:
    """The patch that `data` writes. Raises PatchMalformed where it is not a JSON object."""
    try:
        patch = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PatchMalformed(f"error decoding patch: {error}") from None
    if not isinstance(patch, dict):
        raise PatchMalformed("Invalid JSON Patch")
    return patch


def apply(document: Json, patch: Json) -> Json:
    """A new document: `document` with `patch` merged in. What did not change is shared with `document`."""
    if not isinstance(patch, dict):
        return copy(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply(merged.get(key), value)
    return merged


def diff(old: Json, new: Json) -> Json:
    """The smallest patch that makes `new` of `old`; lists are replaced whole. Nulls in `new` are lost."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy(new)
    patch: JsonObject = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = copy(value)
        elif not equal(old[key], value):
            patch[key] = diff(old[key], value)
    return patch
