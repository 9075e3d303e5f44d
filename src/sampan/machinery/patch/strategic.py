"""Strategic merge patch: merge patch that knows the type, so that lists merge by key.

Follows k8s.io/apimachinery/pkg/util/strategicpatch with its directives: `$patch` (replace, delete),
`$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>` and `$retainKeys`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.machinery.patch import go, merge_patch
from sampan.machinery.patch.errors import PatchError, PatchFailed, PatchMalformed
from sampan.machinery.patch.ordering import merge_order
from sampan.machinery.patch.values import Json, JsonObject, copy, equal
from sampan.machinery.schema_node import SchemaNode

_PATCH: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_DELETE_PRIMITIVES: Final = "$deleteFromPrimitiveList"
_ELEMENT_ORDER: Final = "$setElementOrder"
_REPLACE: Final = "replace"
_DELETE: Final = "delete"
_MERGE: Final = "merge"


def decode(data: bytes) -> JsonObject:
    """The patch that `data` writes; null changes nothing. Raises PatchMalformed."""
    patch = merge_patch.parse(data)
    if patch is None:
        return {}
    if not isinstance(patch, dict):
        raise PatchMalformed(merge_patch.not_an_object(patch))
    return patch


def apply(document: JsonObject, patch: JsonObject, schema: SchemaNode) -> JsonObject:
    """A new document: `document` with `patch` merged in, guided by `schema`.

    Neither argument is changed; what did not change is shared with `document`. Raises PatchMalformed where
    the patch contradicts itself or does not fit the type, PatchFailed where Kubernetes answers 422.
    """
    return _merge_map(document, patch, schema)


def _merge_map(original: JsonObject, patch: JsonObject, schema: SchemaNode | None) -> JsonObject:
    if _PATCH in patch:
        return _directed(patch)
    merged = dict(original)
    _retain_keys(merged, patch)
    ordered = _element_orders(patch)
    for field, order in ordered.items():
        _merge_ordered(merged, patch, field, order, schema)
    for key, value in patch.items():
        if key == _RETAIN_KEYS or key in ordered or key.startswith(_ELEMENT_ORDER):
            continue
        if key.startswith(_DELETE_PRIMITIVES):
            # Deletions come after what is merged into the same list.
            continue
        _merge_field(merged, key, value, schema)
    for key, value in patch.items():
        if key.startswith(_DELETE_PRIMITIVES):
            _delete_primitives(merged, _field_of(key, _DELETE_PRIMITIVES, "primitive list"), value)
    return merged


def _directed(patch: JsonObject) -> JsonObject:
    directive = patch[_PATCH]
    if directive == _REPLACE:
        return _plain_map({key: value for key, value in patch.items() if key != _PATCH})
    if directive == _DELETE:
        return {}
    raise _bad_patch_type(patch)


def _merge_field(merged: JsonObject, key: str, value: Json, schema: SchemaNode | None) -> None:
    if value is None:
        merged.pop(key, None)
        return
    current = merged.get(key)
    if isinstance(value, dict) and isinstance(current, dict):
        node = _lookup(schema, key)
        replaced = _REPLACE in node.patch_strategies
        merged[key] = _plain_map(value) if replaced else _merge_map(current, value, node)
    elif isinstance(value, list) and isinstance(current, list):
        merged[key] = _merge_lists(current, value, _lookup(schema, key))
    elif isinstance(value, dict):
        added = _plain(value)
        if added is not None:
            merged[key] = added
    else:
        merged[key] = _plain(value)


def _merge_lists(current: list[Json], patch: list[Json], node: SchemaNode) -> list[Json]:
    if _MERGE not in node.patch_strategies:
        return copy(patch)  # type: ignore[no-any-return]
    return _merge_slice(current, patch, node)


def _merge_slice(current: list[Json], patch: list[Json], node: SchemaNode) -> list[Json]:
    if not current and not patch:
        return current
    if not _are_maps(current, patch):
        merged = _unique([*current, *patch])
        return merge_order(merged, patch, current, _itself)
    key = node.patch_merge_key
    if not key:
        raise PatchMalformed(f"cannot merge lists without merge key for type {node.items().name}")
    current, patch, replaced = _special_elements(current, patch, key)
    if replaced:
        return current
    merged = _merge_elements(current, patch, key, node.items())
    return merge_order(merged, patch, current, lambda item: _merge_value(item, key))


def _special_elements(
    current: list[Json], patch: list[Json], key: str
) -> tuple[list[Json], list[Json], bool]:
    """The lists without the elements that carry `$patch`, and whether those ask to replace the list."""
    plain: list[Json] = []
    replaced = False
    for element in patch:
        if _PATCH not in element:
            plain.append(element)
        elif element[_PATCH] == _DELETE:
            value = _merge_value(element, key)
            current = [item for item in current if not _has_key(item, key, value)]
        elif element[_PATCH] == _REPLACE:
            replaced = True
        elif element[_PATCH] == _MERGE:
            raise PatchMalformed("merging lists cannot yet be specified in the patch")
        else:
            raise _bad_patch_type(element)
    return ([_plain(item) for item in plain], [], True) if replaced else (current, plain, False)


def _merge_elements(current: list[Json], patch: list[Json], key: str, items: SchemaNode) -> list[Json]:
    merged = list(current)
    for element in patch:
        value = _merge_value(element, key)
        for position, item in enumerate(merged):
            if _has_key(item, key, value):
                merged[position] = _merge_map(item, element, items)
                break
        else:
            merged.append(_plain(element))
    return merged


def _element_orders(patch: JsonObject) -> dict[str, list[Json]]:
    orders: dict[str, list[Json]] = {}
    for key, order in patch.items():
        if key.startswith(_ELEMENT_ORDER):
            if not isinstance(order, list):
                raise PatchMalformed("invalid patch format of setElementOrder list")
            orders[_field_of(key, _ELEMENT_ORDER, "setElementOrder list")] = order
    return orders


def _merge_ordered(
    merged: JsonObject, patch: JsonObject, field: str, order: list[Json], schema: SchemaNode | None
) -> None:
    current, change = merged.get(field), patch.get(field)
    for found in (current, change):
        if found is not None and not isinstance(found, list):
            raise PatchMalformed(f"expected a list in field {field!r}, but received another type")
    if current is None and change is None:
        return
    node = _lookup(schema, field)
    key = node.patch_merge_key
    _check_order(change or [], order, key)
    result: list[Json]
    if change is None:
        result = current or []
    else:
        result = _plain(change) if current is None else _merge_lists(current, change, node)
    if key:
        merged[field] = merge_order(result, order, current or [], lambda item: _merge_value(item, key))
    else:
        merged[field] = merge_order(result, order, current or [], _itself)


def _check_order(change: Sequence[Json], order: list[Json], key: str) -> None:
    """The elements of the patch must stand in the order list, in the same order."""
    if not change or not order:
        return
    left = iter(order)
    for element in change:
        if isinstance(element, dict) and _PATCH in element:
            continue
        wanted = _merge_value(element, key) if key else element
        if not any(equal(_merge_value(item, key) if key else item, wanted) for item in left):
            raise PatchMalformed(
                f"The order in patch list:\n{go.shown(change)}\n doesn't match {_ELEMENT_ORDER} list:\n"
                f"{go.shown(order)}\n"
            )


def _retain_keys(merged: JsonObject, patch: JsonObject) -> None:
    if _RETAIN_KEYS not in patch:
        return
    retained = patch[_RETAIN_KEYS]
    if not isinstance(retained, list):
        raise PatchMalformed("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith("$") and key not in retained:
            raise PatchMalformed("invalid patch format of retainKeys")
    for key in [key for key in merged if key not in retained]:
        del merged[key]


def _delete_primitives(merged: JsonObject, field: str, values: Json) -> None:
    current = merged.get(field)
    if current is None or values is None:
        return
    if not isinstance(values, list) or not isinstance(current, list):
        raise PatchMalformed("invalid patch format of primitive list")
    merged[field] = [item for item in current if not any(equal(item, value) for value in values)]


def _plain(value: Json) -> Json:
    """What a patch adds where nothing was: without directives and nulls, copied; None for a deletion."""
    if isinstance(value, dict):
        return None if value.get(_PATCH) == _DELETE else _plain_map(value)
    if isinstance(value, list):
        return [item for item in map(_plain, value) if item is not None]
    return value


def _plain_map(value: JsonObject) -> JsonObject:
    plain: JsonObject = {}
    for key, item in value.items():
        if key.startswith("$") and (
            key in (_PATCH, _RETAIN_KEYS) or key.startswith((_DELETE_PRIMITIVES, _ELEMENT_ORDER))
        ):
            continue
        kept = _plain(item) if isinstance(item, (dict, list)) else item
        if kept is not None:
            plain[key] = kept
    return plain


def _lookup(schema: SchemaNode | None, field: str) -> SchemaNode:
    node = schema.child(field) if schema is not None else None
    if node is None:
        owner = schema.name if schema is not None else "object"
        raise PatchMalformed(f'unable to find api field in struct {owner} for the json field "{field}"')
    return node


def _field_of(key: str, prefix: str, what: str) -> str:
    head, slash, field = key.partition("/")
    if head != prefix or not slash:
        raise PatchMalformed(f"invalid patch format of {what}")
    return field


def _are_maps(current: list[Json], patch: list[Json]) -> bool:
    kinds = set(map(_type_name, (*current, *patch)))
    if "slice" in kinds:
        raise PatchFailed("lists of lists are not supported")
    if len(kinds) > 1:
        raise PatchMalformed(f"list element types are not identical: {', '.join(sorted(kinds))}")
    return kinds == {"map"}


def _type_name(value: Json) -> str:
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "slice"
    return "scalar"


def _merge_value(item: Json, key: str) -> Json:
    if not isinstance(item, dict):
        raise PatchMalformed("expected a map, but received another type in a list that merges by key")
    if key not in item:
        raise PatchMalformed(f"map: {go.shown(item)} does not contain declared merge key: {key}")
    return item[key]


def _has_key(item: Json, key: str, value: Json) -> bool:
    return isinstance(item, dict) and key in item and equal(item[key], value)


def _itself(item: Json) -> Json:
    return item


def _unique(items: list[Json]) -> list[Json]:
    unique: list[Json] = []
    for item in items:
        if not any(equal(item, known) for known in unique):
            unique.append(item)
    return unique


def _bad_patch_type(patch: JsonObject) -> PatchError:
    return PatchMalformed(f"unknown patch type: {patch[_PATCH]} in map: {go.shown(patch)}")
