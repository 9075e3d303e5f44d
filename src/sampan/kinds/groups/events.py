"""Event of events.k8s.io/v1: the objects of core/v1 events, with newer names for their fields."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sampan.kinds.core.event import KIND as CORE_EVENT
from sampan.kinds.kind import Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_TYPES: Final = ("Normal", "Warning")
_NOTE_MAX_BYTES: Final = 1024
_WORD_MAX_BYTES: Final = 128
# What v1 clients may no longer set: the fields of the first generation of events.
_FIRST_GENERATION: Final = ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount")
# Names in events.k8s.io/v1 and in core/v1, for fields that differ in nothing else.
_NAMES: Final = (
    ("action", "action"),
    ("eventTime", "eventTime"),
    ("reason", "reason"),
    ("related", "related"),
    ("reportingInstance", "reportingInstance"),
    ("type", "type"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
)
_SELECTORS: Final = (
    *(
        (f"regarding.{name}", f"involvedObject.{name}")
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    ),
    ("reason", "reason"),
    ("reportingController", "reportingComponent"),
    ("type", "type"),
)


def to_hub(obj: Any) -> Any:
    """As the core/v1 Event that is stored."""
    event = api.Event(apiVersion="v1", kind="Event", metadata=obj.metadata)
    for ours, theirs in _NAMES:
        setattr(event, theirs, getattr(obj, ours))
    if obj.series is not None:
        event.series = api.EventSeries(count=obj.series.count, lastObservedTime=obj.series.lastObservedTime)
    return event


def from_hub(event: Any) -> Any:
    """A stored core/v1 Event in this version."""
    obj = api.EventsEvent(apiVersion="events.k8s.io/v1", kind="Event", metadata=event.metadata)
    for ours, theirs in _NAMES:
        setattr(obj, ours, getattr(event, theirs))
    if event.series is not None:
        obj.series = api.EventsEventSeries(
            count=event.series.count or 0, lastObservedTime=event.series.lastObservedTime
        )
    return obj


def default(obj: Any) -> None:
    """The parts that Go embeds by value are always there."""
    obj.regarding = obj.regarding or api.ObjectReference()
    obj.deprecatedSource = obj.deprecatedSource or api.EventSource()


def validate(obj: Any) -> list[FieldError]:
    """Every error of a new event; this version asks for all that core/v1 leaves open."""
    errors = CORE_EVENT.validate(to_hub(obj))
    if not obj.eventTime:
        errors.append(field.required(Path("eventTime")))
        errors += _author_errors(obj)
    if obj.type not in _TYPES:
        errors.append(field.invalid(Path("type"), "", f"has invalid value: {obj.type or ''}"))
    for name in _FIRST_GENERATION:
        if getattr(obj, name):
            errors.append(field.invalid(Path(name.removeprefix("deprecated")), "", "needs to be unset"))
    return errors


def _author_errors(obj: Any) -> list[FieldError]:
    """What core/v1 checks only of events with an eventTime."""
    controller = obj.reportingController or ""
    errors = [] if controller else [field.required(Path("reportingController"))]
    messages = names.qualified_name(controller)
    errors += [field.invalid(Path("reportingController"), controller, message) for message in messages]
    for name in ("reportingInstance", "action", "reason"):
        value = getattr(obj, name) or ""
        if not value:
            errors.append(field.required(Path(name)))
        elif len(value.encode()) > _WORD_MAX_BYTES:
            detail = f"can have at most {_WORD_MAX_BYTES} characters"
            errors.append(field.invalid(Path(name), "", detail))
    if len((obj.note or "").encode()) > _NOTE_MAX_BYTES:
        errors.append(field.invalid(Path("note"), "", f"can have at most {_NOTE_MAX_BYTES} characters"))
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """Only the series and the metadata of an event move on."""
    return [
        error
        for name in (
            "regarding",
            "reason",
            "action",
            "reportingController",
            "reportingInstance",
            "note",
            "type",
        )
        for error in _same(new, old, name)
    ]


def _same(new: Any, old: Any, name: str) -> list[FieldError]:
    if getattr(new, name) == getattr(old, name):
        return []
    return [field.invalid(Path(name), getattr(new, name), "field is immutable")]


def _selected(theirs: str) -> Callable[[Any], str]:
    select = CORE_EVENT.field_selectors[theirs]
    return lambda obj: select(to_hub(obj))


def _as_core(column: Column) -> Column:
    def value(obj: Any, now: datetime) -> Any:
        return column.value(to_hub(obj), now)

    return Column(
        column.name, value, column.type, column.description, priority=column.priority, format=column.format
    )


KIND: Final = Kind(
    api_version="events.k8s.io/v1",
    kind="Event",
    plural="events",
    stored_as=CORE_EVENT.gvk,
    short=("ev",),
    default=default,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    field_selectors={ours: _selected(theirs) for ours, theirs in _SELECTORS},
    columns=tuple(_as_core(column) for column in CORE_EVENT.columns),
)

KINDS: Final[tuple[Kind, ...]] = (KIND,)
