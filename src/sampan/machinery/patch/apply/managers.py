"""metadata.managedFields: reading, writing and ordering entries, and keeping their number bounded.

Follows k8s.io/apimachinery/pkg/util/managedfields.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from sampan.machinery.patch.apply import fieldset
from sampan.machinery.patch.apply.fieldset import EMPTY, FieldSet

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATE_MANAGERS: Final = 10
MAX_MANAGER_LENGTH: Final = 128
# Texts of times that are remembered: an entry keeps its time from apply to apply.
_REMEMBERED_TIMES: Final = 1_024
# Entries that are remembered as they were read.
_REMEMBERED_ENTRIES: Final = 1_024
_REMEMBERED_ENTRY_BYTES: Final = 8_192
ANCIENT_CHANGES: Final = "ancient-changes"
BEFORE_FIRST_APPLY: Final = "before-first-apply"

# What the server itself keeps belongs to nobody.
STRIPPED: Final = fieldset.of(
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    ("f:metadata", "f:name"),
    ("f:metadata", "f:namespace"),
    ("f:metadata", "f:creationTimestamp"),
    ("f:metadata", "f:selfLink"),
    ("f:metadata", "f:uid"),
    ("f:metadata", "f:clusterName"),
    ("f:metadata", "f:generation"),
    ("f:metadata", "f:managedFields"),
    ("f:metadata", "f:resourceVersion"),
)

Key: TypeAlias = tuple[str, str, str, str]


class ManagedEntry(msgspec.Struct, frozen=True):
    """The fields that one manager took by one kind of operation. `time` is RFC 3339 in whole seconds."""

    manager: str
    operation: str
    api_version: str
    fields: FieldSet
    time: str | None = None
    subresource: str = ""

    @property
    def key(self) -> Key:
        """What tells entries apart; who applies is one manager in whichever version."""
        version = "" if self.operation == APPLY else self.api_version
        return (self.manager, self.operation, version, self.subresource)

    def __str__(self) -> str:
        text = fieldset.quoted(self.manager)
        if self.subresource:
            text += f" with subresource {fieldset.quoted(self.subresource)}"
        if self.operation == UPDATE:
            text += f" using {self.api_version}"
        return text


class _Wire(msgspec.Struct):
    """An entry as JSON has it."""

    manager: str | None = None
    operation: str | None = None
    apiVersion: str | None = None
    fieldsV1: dict[str, Any] | None = None
    time: datetime | None = None
    subresource: str | None = None


_wire: Final = msgspec.json.Decoder(_Wire)

Managed: TypeAlias = tuple[ManagedEntry, ...]


def decode(entries: Iterable[Any]) -> Managed:
    """ManagedFieldsEntry structs or dicts as entries. Raises ValueError where one is malformed."""
    return tuple(_entry(entry) for entry in entries)


def encode(managed: Iterable[ManagedEntry]) -> list[dict[str, Any]]:
    """The entries as metadata.managedFields holds them, in Kubernetes' order; empty ones are left out."""
    return [_encoded(entry) for entry in in_order(managed)]


def in_order(managed: Iterable[ManagedEntry]) -> list[ManagedEntry]:
    """The entries that own something, in Kubernetes' order."""
    return sorted((entry for entry in managed if entry.fields), key=_place)


def _place(entry: ManagedEntry) -> tuple[str, ...]:
    return (entry.operation, entry.time or "", entry.manager, entry.api_version, entry.subresource)


def for_update(live: Iterable[Any], new: Iterable[Any], subresource: str = "") -> Managed:
    """The entries that a write starts from.

    A client may set managedFields itself, but not through a subresource; one empty entry clears them;
    none, or malformed ones, keep what the live object has.
    """
    given = list(new)
    if not subresource and given:
        if len(given) == 1 and _is_reset(given[0]):
            return ()
        try:
            return decode(given)
        except ValueError:
            pass
    try:
        return decode(live)
    except ValueError:
        return ()


def manager_name(field_manager: str, user_agent: str) -> str:
    """Who writes: the request's fieldManager, or its user agent up to the first slash."""
    if field_manager:
        return field_manager
    name = "".join(char for char in user_agent.partition("/")[0] if char.isprintable())
    return name.encode()[:MAX_MANAGER_LENGTH].decode(errors="ignore") or "unknown"


def stamp(now: datetime) -> str:
    """`now` as entries write it."""
    return _stamp(now.replace(microsecond=0))


@lru_cache(maxsize=_REMEMBERED_TIMES)
def _stamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def capped(managed: Managed) -> Managed:
    """The entries with the oldest updates of each version joined into one, down to the limit."""
    if len(managed) <= MAX_UPDATE_MANAGERS:
        return managed
    updates = sorted(
        (entry for entry in managed if entry.operation == UPDATE),
        key=lambda e: (e.time or "", e.manager, e.api_version, e.subresource),
    )
    excess = len(updates) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return managed
    kept = {entry.key: entry for entry in managed}
    first_of_version: dict[str, ManagedEntry] = {}
    for entry in updates:
        if excess <= 0:
            break
        first = first_of_version.setdefault(entry.api_version, entry)
        if first is entry:
            continue
        bucket = ManagedEntry(ANCIENT_CHANGES, UPDATE, entry.api_version, EMPTY)
        held = kept.pop(bucket.key, None) or kept.pop(first.key, None)
        joined = entry.fields if held is None else held.fields | entry.fields
        kept.pop(entry.key, None)
        kept[bucket.key] = msgspec.structs.replace(bucket, fields=joined, time=entry.time)
        excess -= 1
    return tuple(kept.values())


def _entry(entry: Any) -> ManagedEntry:
    # An object's entries are read at each of its writes, and most are as they were at the one before.
    data = msgspec.json.encode(entry)
    return _remembered(data) if len(data) <= _REMEMBERED_ENTRY_BYTES else _read(_wire.decode(data))


@lru_cache(maxsize=_REMEMBERED_ENTRIES)
def _remembered(data: bytes) -> ManagedEntry:
    return _read(_wire.decode(data))


def _read(entry: _Wire) -> ManagedEntry:
    if entry.operation not in (APPLY, UPDATE):
        raise ValueError(f"managedFields: operation must be `Apply` or `Update`, not {entry.operation!r}")
    return ManagedEntry(
        entry.manager or "",
        entry.operation,
        entry.apiVersion or "",
        fieldset.parse(entry.fieldsV1 or {}),
        stamp(entry.time) if entry.time else None,
        entry.subresource or "",
    )


def _encoded(entry: ManagedEntry) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "manager": entry.manager,
        "operation": entry.operation,
        "apiVersion": entry.api_version,
    }
    if entry.time:
        encoded["time"] = entry.time
    encoded["fieldsType"] = "FieldsV1"
    encoded["fieldsV1"] = fieldset.ordered(entry.fields)
    if entry.subresource:
        encoded["subresource"] = entry.subresource
    return encoded


def _is_reset(entry: Any) -> bool:
    names = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")
    return not any(_get(entry, name) for name in names)


def _get(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else getattr(entry, name)
