"""What an apply may not take without force, in the words kubectl shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from sampan.machinery.patch.apply.fieldset import FieldSet, path_text
from sampan.machinery.patch.apply.managers import ManagedEntry
from sampan.machinery.patch.errors import PatchError


class Conflict(msgspec.Struct, frozen=True):
    """A field that another manager has set to something else."""

    manager: str
    field: str

    @property
    def message(self) -> str:
        """The text of the Status cause; its type is FieldManagerConflict."""
        return f"conflict with {self.manager}"


class ApplyConflict(PatchError):
    """Fields that other managers own would change; the answer is 409 Conflict with a cause for each."""

    code: ClassVar[int] = 409

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        self.conflicts = conflicts
        super().__init__(_message(conflicts))


def conflict(sets: Iterable[tuple[ManagedEntry, FieldSet]]) -> ApplyConflict:
    """The error for these fields of these managers."""
    found = [
        Conflict(str(entry), path_text(path))
        for entry, fields in sorted(sets, key=lambda item: str(item[0]))
        for path in fields.paths()
    ]
    return ApplyConflict(tuple(found))


def _message(conflicts: tuple[Conflict, ...]) -> str:
    if len(conflicts) == 1:
        only = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {only.manager}: {only.field}"
    fields: dict[str, list[str]] = defaultdict(list)
    for found in conflicts:
        fields[found.manager].append(found.field)
    lines: list[str] = []
    for manager in sorted(fields):
        lines.append(f"conflicts with {manager}:")
        lines.extend(f"- {field}" for field in fields[manager])
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
