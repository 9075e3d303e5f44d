"""Audit events: what is known of a request, and the line that is written of it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from sampan.apiserver.core.audit.policy import REQUEST, REQUEST_RESPONSE, Decision
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.users import User

ANNOTATION_DECISION: Final = "authorization.k8s.io/decision"
ANNOTATION_REASON: Final = "authorization.k8s.io/reason"
_WITH_REQUEST: Final = frozenset({REQUEST, REQUEST_RESPONSE})


class Record(msgspec.Struct, kw_only=True):
    """One request that is audited, while it is under way."""

    audit_id: str
    decision: Decision
    request: Request
    # Who asked, and as whom where the request impersonates somebody.
    asker: User
    user: User
    verb: str
    target: Target | None
    received: datetime
    # What is said of a request whose credentials did not hold; "" for all others.
    failed: str = ""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Line(msgspec.Struct, frozen=True):
    """One event that waits to be written; it is put into words where the time for it is."""

    record: Record
    stage: str
    at: datetime
    code: int = 0
    body: bytes = b""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


def encoded(line: Line) -> bytes:
    """The event as one line of JSON."""
    return msgspec.json.encode(event(line)) + b"\n"


def event(line: Line) -> dict[str, Any]:
    """The audit.k8s.io/v1 Event."""
    record, level = line.record, line.record.decision.level
    request = record.request
    made: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": record.audit_id,
        "stage": line.stage,
        "requestURI": request.path + (f"?{urlencode(_pairs(request))}" if request.query else ""),
        "verb": record.verb,
        "user": _user(record.asker),
    }
    if record.failed:
        return made | {
            **_client(request),
            **({"objectRef": _reference(record.target)} if record.target is not None else {}),
            "responseStatus": {"metadata": {}, "message": record.failed, "code": line.code},
            "requestReceivedTimestamp": _stamp(record.received),
            "stageTimestamp": _stamp(line.at),
        }
    if record.user != record.asker:
        made["impersonatedUser"] = _user(record.user)
    made |= _client(request)
    if record.target is not None:
        made["objectRef"] = _reference(record.target)
    answer = _json(line.body) if line.code else None
    if line.code:
        made["responseStatus"] = _status(line.code, answer)
        if level in _WITH_REQUEST:
            asked = _json(request.body)
            if asked is not None:
                made["requestObject"] = _trimmed(asked, record.decision)
        if level == REQUEST_RESPONSE and answer is not None:
            made["responseObject"] = _trimmed(answer, record.decision)
    made["requestReceivedTimestamp"] = _stamp(record.received)
    made["stageTimestamp"] = _stamp(line.at)
    if line.annotations:
        made["annotations"] = line.annotations
    return made


def _client(request: Request) -> dict[str, Any]:
    agent = request.headers.get("user-agent", "")
    found = {"sourceIPs": [request.remote] if request.remote else [], "userAgent": agent}
    return {name: value for name, value in found.items() if value}


def attempted(request: Request) -> str:
    """What is said of a request that was not authenticated: by which means it tried."""
    header = request.headers.get("authorization", "").lower()
    means = [name for name in ("basic", "bearer") if header.startswith(f"{name} ")]
    if "access_token" in request.query:
        means.append("access_token")
    if request.user is not None:
        means.append("x509")
    if not means:
        return "Authentication failed, no credentials provided"
    return f"Authentication failed, attempted: {', '.join(means)}"


def _pairs(request: Request) -> list[tuple[str, str]]:
    return [(k, v) for k, first in request.query.items() for v in request.query_lists.get(k) or [first]]


def _user(user: User) -> dict[str, Any]:
    found = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": user.extra}
    return {name: value for name, value in found.items() if value}


def _reference(target: Target) -> dict[str, str]:
    found = {
        "resource": target.plural,
        "namespace": target.namespace,
        "name": target.name,
        "apiGroup": target.group,
        "apiVersion": target.version,
        "subresource": target.subresource,
    }
    return {name: value for name, value in found.items() if value}


def _status(code: int, answer: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"metadata": {}, "code": code}
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        for name in ("status", "message", "reason", "details"):
            if answer.get(name):
                status[name] = answer[name]
    return status


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        import yaml  # late: few clients send it

        found = yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return msgspec.to_builtins(found)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError, RecursionError):
        return None


def _trimmed(document: Any, decision: Decision) -> Any:
    if not decision.omit_managed_fields or not isinstance(document, dict):
        return document
    for each in (document, *(document.get("items") or ())):
        if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
            each["metadata"].pop("managedFields", None)
    return document


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
