"""Event of events.k8s.io/v1: the objects of core/v1 events, with newer names for their fields."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sampan.kinds.core.event import KIND as CORE_EVENT
from sampan.kinds.core.event import event_errors
from sampan.kinds.groups.checks import IMMUTABLE, printed
from sampan.kinds.kind import Column, Kind, Rules
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api
from sampan.schema.semantic import same

_TYPES: Final = ("Normal", "Warning")
_LEAST_COUNT: Final = 2
# What v1 clients may no longer set: the fields of the first generation of events.
_FIRST_GENERATION: Final = ("firstTimestamp", "lastTimestamp", "count")
_REFERENCE: Final = ("Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath")
_SOURCE: Final = ("Component", "Host")
# What may not change, by core/v1's names, as the original looks at it: a reason twice.
_FIXED: Final = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
_SHOWN_AS: Final = {"reportingComponent": "reportingController"}
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


def validate(event: Any) -> list[FieldError]:
    """What is wrong with an event of whatever age."""
    return event_errors(event, "reportingController")


def validate_create(event: Any) -> list[FieldError]:
    """What this version asks of a new event: all that core/v1 leaves open."""
    errors = _series_errors(event)
    if not event.eventTime:
        errors.append(field.required(Path("eventTime")))
    if event.type not in _TYPES:
        errors.append(field.invalid(Path("type"), "", f"has invalid value: {event.type or ''}"))
    unset = [name for name in _FIRST_GENERATION if getattr(event, name)]
    if event.source is not None and (event.source.component or event.source.host):
        unset.append("source")
    return errors + [field.invalid(Path(name), "", "needs to be unset") for name in unset]


def _series_errors(event: Any) -> list[FieldError]:
    if event.series is None:
        return []
    errors: list[FieldError] = []
    if (event.series.count or 0) < _LEAST_COUNT:
        errors.append(field.invalid(Path("series.count"), "", f"should be at least {_LEAST_COUNT}"))
    if not event.series.lastObservedTime:
        errors.append(field.required(Path("series.lastObservedTime")))
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """Only the series and the metadata of an event move on."""
    errors = [] if new.series == old.series else _series_errors(new)
    for name in _FIXED:
        value = getattr(new, name)
        if not same(value or None, getattr(old, name) or None):
            errors.append(field.invalid(Path(_SHOWN_AS.get(name, name)), _shown(name, value), IMMUTABLE))
    return errors


def _shown(name: str, value: Any) -> Any:
    """A value as the original's own types print it, which have names of their own for their fields."""
    if name in ("involvedObject", "related"):
        return None if value is None else printed(value, _REFERENCE)
    if name == "source":
        return printed(value, _SOURCE)
    if name in ("eventTime", "firstTimestamp", "lastTimestamp"):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
    return value or (0 if name == "count" else "")


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
    rules=Rules(
        name_errors=names.dns1123_subdomain,
        validate=validate,
        validate_create=validate_create,
        validate_update=validate_update,
    ),
    field_selectors={ours: _selected(theirs) for ours, theirs in _SELECTORS},
    columns=tuple(_as_core(column) for column in CORE_EVENT.columns),
)

KINDS: Final[tuple[Kind, ...]] = (KIND,)
