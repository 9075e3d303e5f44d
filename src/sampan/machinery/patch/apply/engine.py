"""Server-side apply, and the tracking of every other write that it needs.

Follows sigs.k8s.io/structured-merge-diff/merge and k8s.io/apimachinery/pkg/util/managedfields: an applier
owns what its configuration names; taking another manager's field needs force; what an applier no longer
names goes, unless another applier names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import ClassVar

import msgspec

from sampan.machinery.patch.apply import again, checks, conflicts, last_applied, managers, typed
from sampan.machinery.patch.apply.fieldset import EMPTY, FieldSet
from sampan.machinery.patch.apply.managers import APPLY, BEFORE_FIRST_APPLY, STRIPPED, UPDATE
from sampan.machinery.patch.apply.managers import Managed as Managed
from sampan.machinery.patch.apply.managers import ManagedEntry as ManagedEntry
from sampan.machinery.patch.errors import PatchError, PatchMalformed
from sampan.machinery.patch.values import JsonObject
from sampan.machinery.schema_node import SchemaNode


class ConfigurationRefused(PatchError):
    """The configuration does not fit its type. Kubernetes answers 500 with the text."""

    code: ClassVar[int] = 500


class Applied(msgspec.Struct, frozen=True):
    """The outcome of an apply. `changed` is False where neither the object nor ownership differ."""

    object: JsonObject
    managed: Managed
    changed: bool
    # What the next apply by this manager may start from.
    last: again.Last


def apply(
    live: JsonObject,
    config: JsonObject,
    manager: str,
    *,
    schema: SchemaNode,
    managed: Managed,
    now: datetime,
    force: bool = False,
    subresource: str = "",
    ignored: FieldSet = EMPTY,
    empty: JsonObject | None = None,
    before: again.Last | None = None,
) -> Applied:
    """`live` with `config` applied by `manager`, and who owns what afterwards.

    `live` is the object without managedFields; where it does not exist yet, its type's empty object
    (`codec.to_builtins(api.Pod())`), which is also what `empty` is for telling what was set before the
    first apply. `ignored` are fields the request may not touch (status, on the main resource). `before` is
    what such an apply of the same object by the same manager, with the same `ignored`, has given as `last`.

    Raises ApplyConflict without `force` where another manager's fields would change, ConfigurationRefused
    where `config` does not fit its type, PatchMalformed where it holds managedFields.
    """
    version = str(config.get("apiVersion", ""))
    key = (manager, APPLY, "", subresource)
    last = next((entry for entry in managed if entry.key == key), None)
    # Most applies differ in a value or two from the one before: then one walk does what else takes four.
    made = None
    if before is not None and last is not None and last.fields == before.fields:
        made = again.replaced(before, live, config, schema)
    if last is not None and made is not None:
        named = last.fields
    else:
        named = check_config(config, schema).without(ignored) - STRIPPED
    if last is not None and last.fields == named and last.api_version == version:
        # The same fields again leave the time as it was; and what is one is compared, and written, once.
        mine = last
    else:
        mine = ManagedEntry(manager, APPLY, version, named, managers.stamp(now), subresource)
    if not managed:
        managed = _before_first_apply(live, empty or {}, schema, now)
    others = tuple(entry for entry in managed if entry.key != key)
    if made is not None:
        merged, difference = made.object, typed.Comparison(EMPTY, made.modified, EMPTY)
    else:
        merged = _pruned(typed.merge(live, config, schema), last, mine, others, schema)
        difference = typed.compare(live, merged, schema)
    difference = _without(difference, ignored)
    if not force:
        _check_conflicts(others, difference, lambda: last_applied.untouched(live, manager, schema))
    left = _left_to(others, difference)
    owners = tuple(entry for entry in (*left, mine) if entry.fields)
    changed = not difference.same or sorted(owners, key=_key) != sorted(managed, key=_key)
    if changed:
        live, managed = last_applied.renewed(merged, config, manager), owners
    return Applied(live, managed, changed, again.last(config, schema, mine.fields, live))


def track_update(
    old: JsonObject,
    new: JsonObject,
    manager: str,
    *,
    api_version: str,
    schema: SchemaNode,
    managed: Managed,
    now: datetime,
    subresource: str = "",
    ignored: FieldSet = EMPTY,
) -> Managed:
    """Who owns what after `manager` changed `old` into `new` by anything but an apply.

    `old` is the type's empty object on creation. An object that has no entries gets none by an update,
    only by its creation. Both objects come without managedFields.
    """
    if not managed and _exists(old):
        return managed
    difference = _without(typed.compare(old, new, schema), ignored)
    if difference.same:
        return managed
    changed = difference.added | difference.modified
    lost = changed | difference.removed
    taken = changed - STRIPPED
    mine = ManagedEntry(manager, UPDATE, api_version, taken, managers.stamp(now), subresource)
    left: list[ManagedEntry] = []
    for entry in managed:
        if taken and entry.key == mine.key:
            # Who writes again what was his keeps the very set, which has been read and put in order before.
            held = entry.fields if not difference.removed else entry.fields - difference.removed
            mine = msgspec.structs.replace(mine, fields=held if taken <= held else held | taken)
        elif not entry.fields & lost:
            left.append(entry)
        elif fields := entry.fields - lost:
            left.append(msgspec.structs.replace(entry, fields=fields))
    if taken:
        left.append(mine)
    return managers.capped(tuple(left))


def check_config(config: JsonObject, schema: SchemaNode) -> FieldSet:
    """The fields that a configuration names. Raises ConfigurationRefused, PatchMalformed."""
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise PatchMalformed("metadata.managedFields must be nil")
    fields = checks.field_set_of(config, schema)
    if fields is None:
        errors = checks.joined(checks.errors_of(config, schema))
        raise ConfigurationRefused(f"failed to create typed patch object ({_described(config)}): {errors}")
    return fields


def _before_first_apply(live: JsonObject, empty: JsonObject, schema: SchemaNode, now: datetime) -> Managed:
    if not _exists(live):
        return ()
    difference = typed.compare(empty, live, schema)
    fields = (difference.added | difference.modified) - STRIPPED
    version = str(live.get("apiVersion", ""))
    # What kubectl has applied on its own side is kubectl's, so that it finds itself and takes over.
    kubectls = fields & last_applied.fields(live, schema)
    entries = (
        ManagedEntry(last_applied.CLIENT_SIDE, UPDATE, version, kubectls, managers.stamp(now)),
        ManagedEntry(BEFORE_FIRST_APPLY, UPDATE, version, fields - kubectls, managers.stamp(now)),
    )
    return tuple(entry for entry in entries if entry.fields)


def _pruned(
    merged: JsonObject,
    last: ManagedEntry | None,
    mine: ManagedEntry,
    others: Iterable[ManagedEntry],
    schema: SchemaNode,
) -> JsonObject:
    """`merged` without what the last apply named, this one does not, and no other applier does."""
    if last is None or last.fields == mine.fields:
        return merged
    keep = mine.fields
    for entry in others:
        if entry.operation == APPLY:
            keep = keep | entry.fields
    return typed.remove(merged, last.fields, keep, schema)


def _check_conflicts(others: Managed, difference: typed.Comparison, allowed: Callable[[], FieldSet]) -> None:
    """Raises ApplyConflict where others would lose a field by a change that is not `allowed`."""
    changed = difference.added | difference.modified
    contested = [(entry, fields) for entry in others if (fields := entry.fields & changed)]
    if not contested:
        return
    free = allowed()
    refused = [(entry, left) for entry, fields in contested if (left := fields - free)]
    if refused:
        raise conflicts.conflict(refused)


def _left_to(others: Managed, difference: typed.Comparison) -> Managed:
    """What the others keep of what they own."""
    if difference.same or not others:
        return others
    lost = difference.added | difference.modified | difference.removed
    left = [msgspec.structs.replace(entry, fields=entry.fields - lost) for entry in others]
    return tuple(entry for entry in left if entry.fields)


def _without(difference: typed.Comparison, ignored: FieldSet) -> typed.Comparison:
    if not ignored:
        return difference
    return typed.Comparison(
        difference.added.without(ignored),
        difference.modified.without(ignored),
        difference.removed.without(ignored),
    )


def _key(entry: ManagedEntry) -> tuple[str, ...]:
    return entry.key


def _exists(obj: JsonObject) -> bool:
    metadata = obj.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("uid"))


def _described(config: JsonObject) -> str:
    metadata = config.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    group, _, version = str(config.get("apiVersion", "")).rpartition("/")
    name = f"{named.get('namespace', '')}/{named.get('name', '')}"
    return f"{name}; {group}/{version}, Kind={config.get('kind', '')}"
