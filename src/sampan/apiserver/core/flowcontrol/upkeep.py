"""Keeps the flow-control objects that every cluster has, and says which FlowSchemas lead nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.apiserver.core.flowcontrol import defaults
from sampan.apiserver.core.resource import Resource
from sampan.schema import api, codec

UPKEEP_EVERY_S: Final = 60.0
_DANGLING: Final = "Dangling"


class Plan(msgspec.Struct, frozen=True):
    """What has to be done; names for what is deleted, whole objects for the rest."""

    create: tuple[Any, ...] = ()
    replace: tuple[Any, ...] = ()
    delete: tuple[Any, ...] = ()


def plan(stored: Iterable[Any], wanted: Iterable[Any], default: Callable[[Any], None]) -> Plan:
    """What brings the stored objects of one kind to what they must be.

    Mandatory objects always have their own spec; suggested ones do unless their annotation says that people
    look after them. What carries the annotation and is suggested no more goes.
    """
    present = {obj.metadata.name: obj for obj in stored}
    create, replace = [], []
    names = set()
    for given in wanted:
        obj = codec.copy(given)
        default(obj)
        name = obj.metadata.name
        names.add(name)
        have = present.get(name)
        if have is None:
            create.append(obj)
        elif have.metadata.deletionTimestamp is None and have.spec != obj.spec and _is_ours(have):
            fresh = codec.copy(have)
            fresh.spec = obj.spec
            fresh.metadata.annotations[defaults.AUTO_UPDATE] = "true"
            replace.append(fresh)
    gone = [
        obj
        for name, obj in present.items()
        if name not in names and obj.metadata.annotations.get(defaults.AUTO_UPDATE) == "true"
    ]
    return Plan(tuple(create), tuple(replace), tuple(gone))


def _is_ours(obj: Any) -> bool:
    if obj.metadata.name in defaults.MANDATORY:
        return True
    said = obj.metadata.annotations.get(defaults.AUTO_UPDATE)
    return (obj.metadata.generation or 1) == 1 if said is None else bool(said == "true")


def dangling(schema: api.FlowSchema, levels: frozenset[str], now: datetime) -> api.FlowSchema | None:
    """The schema with its condition corrected; None where it is right already."""
    reference = schema.spec.priorityLevelConfiguration
    name = reference.name if reference is not None else ""
    lost = name not in levels
    status, reason = ("True", "NotFound") if lost else ("False", "Found")
    old = next((c for c in schema.status.conditions if c.type == _DANGLING), None)
    if old is not None and (old.status, old.reason) == (status, reason):
        return None
    message = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" '
    message += "but there is no such object" if lost else "and it exists"
    fresh: api.FlowSchema = codec.copy(schema)
    kept = [c for c in fresh.status.conditions if c.type != _DANGLING]
    made = api.FlowSchemaCondition(
        type=_DANGLING, status=status, reason=reason, message=message, lastTransitionTime=now
    )
    fresh.status.conditions = [*kept, made]
    return fresh


class Writes(msgspec.Struct, frozen=True):
    """How objects are written; each takes the resource and the object, and raises nothing."""

    create: Callable[[Resource, Any], Awaitable[None]]
    update: Callable[[Resource, Any, str], Awaitable[None]]
    delete: Callable[[Resource, Any], Awaitable[None]]


class Upkeep:
    """Carries the plans out: at the start, when something changes, and once a minute."""

    def __init__(self, schemas: Resource, levels: Resource, writes: Writes) -> None:
        self._schemas = schemas
        self._levels = levels
        self._writes = writes
        self.changed = asyncio.Event()

    async def once(self, now: datetime) -> None:
        """Do what is to be done now."""
        await asyncio.gather(
            self._keep(self._levels, defaults.priority_levels()),
            self._keep(self._schemas, defaults.flow_schemas()),
        )
        levels = frozenset(item.name for item in self._levels.cache)
        corrected = (dangling(schema, levels, now) for schema in _stored(self._schemas))
        await asyncio.gather(
            *(self._writes.update(self._schemas, obj, "status") for obj in corrected if obj is not None)
        )

    async def _keep(self, resource: Resource, wanted: list[Any]) -> None:
        todo = plan(_stored(resource), wanted, resource.kind.default)
        await asyncio.gather(
            *(self._writes.create(resource, obj) for obj in todo.create),
            *(self._writes.update(resource, obj, "") for obj in todo.replace),
            *(self._writes.delete(resource, obj) for obj in todo.delete),
        )


def _stored(resource: Resource) -> list[Any]:
    return [resource.decode_stored(item.data) for item in resource.cache]
