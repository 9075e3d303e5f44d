"""The options of writes in the query - dry run, field manager, validation - checked as Kubernetes does."""

from __future__ import annotations

from typing import Final

from sampan.apiserver.core.request import Request
from sampan.apiserver.core.status import bad_request, invalid_options
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

MANAGER_MOST_BYTES: Final = 128
VALIDATIONS: Final = ("", "Ignore", "Strict", "Warn")
POLICIES: Final = ("Foreground", "Background", "Orphan")
_KINDS: Final = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}
_MEANT: Final = frozenset({"dryRun", "fieldManager", "fieldValidation", "force"})


def check(request: Request, verb: str, *, applies: bool) -> None:
    """Refuse options that Kubernetes refuses, all at once. Raises 422."""
    query = request.query
    if not applies and _MEANT.isdisjoint(query):
        return
    kind = _KINDS.get(verb)
    if kind is None:
        return
    errors = _patch_errors(request, applies) if verb == "patch" else []
    if kind != "DeleteOptions":
        errors += _manager_errors(query.get("fieldManager", ""))
    errors += dry_run_errors(values(request, "dryRun"))
    if kind != "DeleteOptions":
        validation = query.get("fieldValidation", "")
        if validation not in VALIDATIONS:
            errors.append(field.not_supported(Path("fieldValidation"), validation, VALIDATIONS))
    if errors:
        raise invalid_options(kind, errors)


def whole_number(text: str) -> int:
    """A number in the query. Raises 400 in Go's words."""
    try:
        number = int(text) if text.isascii() and "_" not in text and text == text.strip() else None
    except ValueError:
        number = None
    if number is None:
        raise bad_request(f"strconv.ParseInt: parsing {field.quoted(text)}: invalid syntax")
    if not -(2**63) <= number < 2**63:
        raise bad_request(f"strconv.ParseInt: parsing {field.quoted(text)}: value out of range")
    return number


def values(request: Request, name: str) -> list[str]:
    """All values of a parameter that may be given several times."""
    if name not in request.query:
        return []
    return request.query_lists.get(name) or [request.query[name]]


def dry_run_errors(asked: list[str]) -> list[FieldError]:
    if all(value == "All" for value in asked):
        return []
    return [field.not_supported(Path("dryRun"), asked, ("All",))]


def check_deletion(options: api.DeleteOptions) -> None:
    """Refuse options of a delete that there are not, or that do not go together. Raises 422."""
    policy, at = options.propagationPolicy, Path("propagationPolicy")
    errors: list[FieldError] = []
    if policy is not None and options.orphanDependents is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(field.invalid(at, policy, why))
    if policy is not None and policy not in POLICIES:
        shown = ", ".join(f'"{known}"' for known in (*POLICIES, "nil"))
        errors.append(FieldError(field.NOT_SUPPORTED, str(at), policy, f"supported values: {shown}"))
    errors += dry_run_errors(options.dryRun)
    if errors:
        raise invalid_options("DeleteOptions", errors)


def _patch_errors(request: Request, applies: bool) -> list[FieldError]:
    query = request.query
    if applies:
        if query.get("fieldManager"):
            return []
        return [field.required(Path("fieldManager"), "is required for apply patch")]
    if "force" in query:
        return [field.forbidden(Path("force"), "may not be specified for non-apply patch")]
    return []


def _manager_errors(manager: str) -> list[FieldError]:
    at = Path("fieldManager")
    errors = []
    if len(manager.encode("utf-8", "surrogateescape")) > MANAGER_MOST_BYTES:
        errors.append(field.too_long(at, MANAGER_MOST_BYTES))
    for position, character in enumerate(manager):
        if not character.isprintable():
            why = f"invalid character U+{ord(character):04X} (at position {position})"
            errors.append(field.invalid(at, manager, why))
    return errors
