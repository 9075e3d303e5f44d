"""Event: something that happened to an object."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sampan.kinds.core.cells import UNKNOWN, since
from sampan.kinds.kind import NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_REASON_MAX_BYTES: Final = 128
_NOTE_MAX_BYTES: Final = 1024


def default_event(event: api.Event) -> None:
    """The parts that Go embeds by value are always there."""
    if event.involvedObject is None:
        event.involvedObject = api.ObjectReference()
    if event.source is None:
        event.source = api.EventSource()


def validate_event(event: api.Event) -> list[FieldError]:
    """An event stands beside its object; one with an eventTime says who reports what."""
    return event_errors(event, "reportingComponent")


def event_errors(event: api.Event, reporter: str) -> list[FieldError]:
    """What holds for events of every version; `reporter` is the version's name for who reports."""
    namespace = event.metadata.namespace or ""
    about = (event.involvedObject.namespace if event.involvedObject else None) or ""
    if event.eventTime:
        # Newer events may stand apart from their object, but for objects of no namespace.
        beside = bool(about) or namespace in ("default", "kube-system")
        return ([] if beside else [_apart(about)]) + _validate_new_event(event, Path(reporter))
    beside = namespace == about if about else namespace in ("", "default")
    return [] if beside else [_apart(about)]


def _apart(about: str) -> FieldError:
    return field.invalid(Path("involvedObject.namespace"), about, "does not match event.namespace")


def _validate_new_event(event: api.Event, path: Path) -> list[FieldError]:
    controller = event.reportingComponent or ""
    errors = [] if controller else [field.required(path)]
    errors += [field.invalid(path, controller, message) for message in names.qualified_name(controller)]
    for name in ("reportingInstance", "action", "reason"):
        value = getattr(event, name) or ""
        if not value:
            errors.append(field.required(Path(name)))
        elif len(value.encode()) > _REASON_MAX_BYTES:
            detail = f"can have at most {_REASON_MAX_BYTES} characters"
            errors.append(field.invalid(Path(name), "", detail))
    if len((event.message or "").encode()) > _NOTE_MAX_BYTES:
        detail = f"can have at most {_NOTE_MAX_BYTES} characters"
        errors.append(field.invalid(Path("message"), "", detail))
    return errors


def source(event: api.Event) -> str:
    """Who reported the event, whichever generation of fields says so."""
    return (event.source.component if event.source else None) or event.reportingComponent or ""


def _source_cell(event: api.Event, _now: datetime) -> str:
    host = (event.source.host if event.source else None) or event.reportingInstance or ""
    return ", ".join(part for part in (source(event), host) if part)


def _first_seen(event: api.Event, now: datetime) -> str:
    if event.firstTimestamp is not None:
        return since(event.firstTimestamp, now)
    return _since_micro(event.eventTime, now)


def _last_seen(event: api.Event, now: datetime) -> str:
    if event.series is not None:
        return _since_micro(event.series.lastObservedTime, now)
    return since(event.lastTimestamp, now) if event.lastTimestamp is not None else _first_seen(event, now)


def _since_micro(moment: str | None, now: datetime) -> str:
    return since(datetime.fromisoformat(moment), now) if moment else UNKNOWN


def _count(event: api.Event, _now: datetime) -> int:
    if event.series is not None:
        return event.series.count or 0
    return event.count or 1


def _object(event: api.Event, _now: datetime) -> str:
    about = event.involvedObject
    if about is None:
        return ""
    kind = (about.kind or "").lower()
    return f"{kind}/{about.name}" if about.name else kind


def _about(attribute: str, event: api.Event) -> str:
    return (getattr(event.involvedObject, attribute) if event.involvedObject else None) or ""


KIND: Final = Kind(
    api_version="v1",
    kind="Event",
    plural="events",
    short=("ev",),
    default=default_event,
    validate=validate_event,  # and any name that a path can hold, as it always was
    field_selectors={
        "involvedObject.kind": lambda event: _about("kind", event),
        "involvedObject.namespace": lambda event: _about("namespace", event),
        "involvedObject.name": lambda event: _about("name", event),
        "involvedObject.uid": lambda event: _about("uid", event),
        "involvedObject.apiVersion": lambda event: _about("apiVersion", event),
        "involvedObject.resourceVersion": lambda event: _about("resourceVersion", event),
        "involvedObject.fieldPath": lambda event: _about("fieldPath", event),
        "reason": lambda event: event.reason or "",
        "reportingComponent": lambda event: event.reportingComponent or "",
        "source": source,
        "type": lambda event: event.type or "",
    },
    columns=(
        Column("Last Seen", _last_seen, description="When this was last seen."),
        Column("Type", lambda event, _now: event.type or "", description="Normal or Warning."),
        Column("Reason", lambda event, _now: event.reason or "", description="Why, in a word."),
        Column("Object", _object, description="What the event is about."),
        Column(
            "Subobject",
            lambda event, _now: _about("fieldPath", event),
            description="The part of the object.",
            priority=1,
        ),
        Column("Source", _source_cell, description="Who reported the event.", priority=1),
        Column(
            "Message",
            lambda event, _now: (event.message or "").strip(),
            description="What happened, in a sentence.",
        ),
        Column("First Seen", _first_seen, description="When this was first seen.", priority=1),
        Column("Count", _count, description="How often this was seen.", priority=1),
        Column(
            "Name",
            lambda event, _now: event.metadata.name,
            format="name",
            description=NAME.description,
            priority=1,
        ),
    ),
)
