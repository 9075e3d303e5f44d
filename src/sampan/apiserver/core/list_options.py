"""What LIST, WATCH and DELETECOLLECTION are told in the query: selectors, revisions, pages."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError, bad_request, invalid_options
from sampan.apiserver.core.write_options import whole_number
from sampan.machinery import field, field_selectors, selectors
from sampan.machinery.field import FieldError, Path
from sampan.machinery.field_selectors import FieldSelector
from sampan.machinery.selectors import Selector
from sampan.schema import goerrors
from sampan.store.items import Item, Match

EXACT: Final = "Exact"
NOT_OLDER: Final = "NotOlderThan"
_MATCH: Final = Path("resourceVersionMatch")
# The revision in a token that goes on from a key in whatever there is now.
NEWEST: Final = -1
TOKEN_VERSION: Final = "meta.k8s.io/v1"


class Continue(msgspec.Struct):
    """A continue token: the snapshot's revision and the key to go on from."""

    rv: int
    start: str
    v: str = TOKEN_VERSION


def everything(_item: Item) -> bool:
    """Selects all."""
    return True


class Selection(msgspec.Struct, frozen=True):
    """The selectors of a list, watch or deletecollection."""

    labels: Selector | None
    fields: FieldSelector | None
    name: str

    def early(self, resource: Resource) -> Match | None:
        """What can be told of stored objects: their fields only where no webhook has to be asked for them."""
        if self.fields is None or not resource.asks:
            return resource.match(self.labels, self.fields, self.name)
        return resource.match(self.labels, None, self.name) or everything

    def late(self, resource: Resource) -> FieldSelector | None:
        """What is left to be told of objects once they are in the version asked for."""
        return self.fields if resource.asks else None


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
                raise bad_request(_unknown_field(name_of_field, resource))
    return Selection(labels, fields, name)


def _unknown_field(name: str, resource: Resource) -> str:
    """Kinds with selectors of their own tell less of them than those with none."""
    if resource.kind.field_selectors or resource.kind.own_type is not None:
        return f"field label not supported: {name}"
    shown = field.quoted(name)
    return f'{shown} is not a known field selector: only "metadata.name", "metadata.namespace"'


def revision_of(request: Request) -> int | None:
    """The resourceVersion parameter; None where it is absent or empty. Raises 400."""
    text = request.query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        shown = field.quoted(text)
        raise bad_request(
            f"invalid resource version: resourceVersion: Invalid value: {shown}: "
            f"strconv.ParseUint: parsing {shown}: invalid syntax"
        )
    return int(text)


def number(request: Request, name: str) -> int:
    """A whole number in the query; 0 where it is absent or negative. Raises 400."""
    text = request.query.get(name)
    return 0 if text is None else max(0, whole_number(text))


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
        known = f'supported values: "{EXACT}", "{NOT_OLDER}", ""'
        errors.append(FieldError(field.NOT_SUPPORTED, str(_MATCH), match, known))
    if match == EXACT and revision == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        errors.append(field.forbidden(_MATCH, why))
    return errors


def _watch_errors(request: Request) -> list[FieldError]:
    match = request.query.get("resourceVersionMatch", "")
    if "sendInitialEvents" not in request.query:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        return [field.forbidden(_MATCH, why)] if match else []
    if match == NOT_OLDER:
        return []
    why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    errors = [field.forbidden(_MATCH, why)]
    if match:
        errors.append(field.not_supported(_MATCH, match, (NOT_OLDER,)))
    return errors


def make_token(revision: int, last_key: str) -> str:
    """The token that goes on after `last_key`."""
    data = msgspec.json.encode(Continue(revision, last_key + "\0"))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parse_token(text: str) -> Continue:
    """What a token says. Raises 400."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error is one
        raise invalid_token(f"illegal base64 data at input byte {_first_wrong(text)}") from None
    try:
        token = msgspec.json.decode(data, type=_Written)
    except msgspec.ValidationError:
        raise invalid_token("json: cannot unmarshal it into Go value of type storage.continueToken") from None
    except ValueError:
        raise invalid_token(goerrors.syntax(data)) from None
    if token.v != TOKEN_VERSION:
        raise invalid_token(f"server does not recognize this encoded version {token.v}")
    if not token.rv:
        raise invalid_token(f"incorrect encoded start resourceVersion (version {token.v})")
    if not token.start:
        raise invalid_token(f"encoded start key empty (version {token.v})")
    return Continue(token.rv, token.start)


def invalid_token(why: str) -> StatusError:
    """What a client gets for a continue token that this server did not give."""
    return bad_request(f"invalid continue token: continue key is not valid: {why}")


def _first_wrong(text: str) -> int:
    return next(
        (i for i, c in enumerate(text) if not (c.isascii() and (c.isalnum() or c in "-_"))), len(text) - 1
    )


class _Written(msgspec.Struct):
    v: str = ""
    rv: int = 0
    start: str = ""
