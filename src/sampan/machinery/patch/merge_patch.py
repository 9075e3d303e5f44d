"""JSON merge patch (RFC 7386): null deletes, objects merge, everything else replaces."""

from __future__ import annotations

import msgspec

from sampan.machinery.patch import go
from sampan.machinery.patch.errors import PatchMalformed
from sampan.machinery.patch.values import Json, JsonObject, copy, equal


def decode(data: bytes) -> JsonObject:
    """The patch that `data` writes. Raises PatchMalformed where it is not a JSON object."""
    patch = parse(data)
    if patch is None:
        raise PatchMalformed("Invalid JSON Patch")
    if not isinstance(patch, dict):
        raise PatchMalformed(f"error decoding patch: {not_an_object(patch)}")
    return patch


def parse(data: bytes) -> Json:
    """The JSON of a patch. Raises PatchMalformed where it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PatchMalformed("invalid JSON patch") from None


def not_an_object(patch: Json) -> str:
    """Go's words for a patch that is something else than an object."""
    return f"json: cannot unmarshal {go.json_kind(patch)} into Go value of type map[string]interface {{}}"


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
