"""What LIST, WATCH and DELETECOLLECTION are told in the query: selectors, revisions, pages."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import bad_request, invalid_options
from sampan.machinery import field, field_selectors, selectors
from sampan.machinery.field import FieldError, Path
from sampan.machinery.field_selectors import FieldSelector
from sampan.machinery.selectors import Selector

EXACT: Final = "Exact"
NOT_OLDER: Final = "NotOlderThan"
_MATCH: Final = Path("resourceVersionMatch")
# The revision in a token that goes on from a key in whatever there is now.
NEWEST: Final = -1


class Continue(msgspec.Struct):
    """A continue token: the snapshot's revision and the key to go on from."""

    rv: int
    start: str
    v: str = "meta.k8s.io/v1"


class Selection(msgspec.Struct, frozen=True):
    """The selectors of a list, watch or deletecollection."""

    labels: Selector | None
    fields: FieldSelector | None
    name: str


def selection(request: Request, resource: Resource, name: str = "") -> Selection:
    """Parse the selectors of a request. Raises 400 for what cannot be parsed or is not supported."""
    labels = fields = None
    try:
        if request.query.get("labelSelector"):
            labels = selectors.parse(request.query["labelSelector"])
        if request.query.get("fieldSelector"):
            fields = field_selectors.parse(request.query["fieldSelector"])
    except ValueError as problem:
        raise bad_request(str(problem)) from None
    if fields is not None:
        known = {"metadata.name", *resource.kind.field_selectors}
        if resource.kind.namespaced:
            known.add("metadata.namespace")
        for name_of_field in fields.fields:
            if name_of_field not in known:
                raise bad_request(f"field label not supported: {name_of_field}")
    return Selection(labels, fields, name)


def revision_of(request: Request) -> int | None:
    """The resourceVersion parameter; None where it is absent or empty. Raises 400."""
    text = request.query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise bad_request(
            f'Invalid value: "{text}": resourceVersion: invalid resource version "{text}": '
            "it must be a number that this server gave out"
        )
    return int(text)


def number(request: Request, name: str) -> int:
    """A whole number in the query; 0 where it is absent. Raises 400."""
    text = request.query.get(name, "")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise bad_request(f'{name}: "{text}" is not a whole number that is not negative')
    return int(text)


def check(request: Request, *, watch: bool) -> None:
    """Refuse parameters that do not go together. Raises 422, as ValidateListOptions does."""
    query = request.query
    if "resourceVersionMatch" not in query and "sendInitialEvents" not in query:
        return
    errors = _watch_errors(request) if watch else _list_errors(request)
    if errors:
        raise invalid_options("ListOptions", errors)


def _list_errors(request: Request) -> list[FieldError]:
    query = request.query
    if "sendInitialEvents" in query:
        return [field.forbidden(Path("sendInitialEvents"), "sendInitialEvents is forbidden for list")]
    match, revision = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    errors: list[FieldError] = []
    if not match:
        return errors
    if not revision:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        errors.append(field.forbidden(_MATCH, why))
    if query.get("continue"):
        why = "resourceVersionMatch is forbidden when continue is provided"
        errors.append(field.forbidden(_MATCH, why))
    if match not in (EXACT, NOT_OLDER):
        errors.append(field.not_supported(_MATCH, match, (EXACT, NOT_OLDER)))
    if match == EXACT and revision == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        errors.append(field.forbidden(_MATCH, why))
    return errors


def _watch_errors(request: Request) -> list[FieldError]:
    match = request.query.get("resourceVersionMatch", "")
    if "sendInitialEvents" not in request.query:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        return [field.forbidden(_MATCH, why)] if match else []
    if not match:
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        return [field.forbidden(_MATCH, why)]
    if match != NOT_OLDER:
        return [field.not_supported(_MATCH, match, (NOT_OLDER,))]
    return []


def make_token(revision: int, last_key: str) -> str:
    """The token that goes on after `last_key`."""
    data = msgspec.json.encode(Continue(revision, last_key + "\0"))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parse_token(text: str) -> Continue:
    """What a token says. Raises 400."""
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Continue)
    except ValueError as problem:  # binascii.Error and msgspec.DecodeError are ValueErrors
        raise bad_request(f"continue key is not valid: {problem}") from None
