"""The four patch types as functions from the live object to the new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from sampan.apiserver.core import ownership, status
from sampan.apiserver.core.applying import LastApplies, apply_change, refusal
from sampan.apiserver.core.bodies import MAX_BODY_BYTES, YAML_ERRORS, Bodies, Patched, repeated_keys
from sampan.apiserver.core.context import APPLY, Context
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource
from sampan.machinery.patch import json_patch, merge_patch, strategic
from sampan.machinery.patch.errors import PatchError
from sampan.schema import codec
from sampan.schema.decode import duplicate_fields, fits, may_repeat_keys

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"

SPEC: Final = "spec"
STATUS: Final = "status"
_MERGES: Final = (MERGE_PATCH, STRATEGIC)
# What a patch of the status holds at its top.
_PARTS_OF_STATUS: Final = frozenset({"apiVersion", "kind", "metadata", "status"})

Change = Callable[[Any], Any]


def patched(
    request: Request, context: Context, content_type: str, bodies: Bodies, applies: LastApplies
) -> Change:
    """What the patch in the body does to an object. Raises 400, 413, 415, 422."""
    if len(request.body) > MAX_BODY_BYTES:
        raise status.too_large(f"limit is {MAX_BODY_BYTES}")
    if content_type == APPLY:
        return apply_change(config_of(request, context), context, request.flag("force"), bodies, applies)
    served = context.served
    edit = edit_of(request, content_type, served)
    about = _about(request, content_type, context)
    known = _names_fields_only(request.body, content_type, served)
    aside = _untouched(request, context, content_type, known)

    def change(old: Any) -> Any:
        shown = served.from_hub(old)
        owners = shown.metadata.managedFields if content_type != JSON_PATCH else ()
        seen = _without(shown, aside) if aside else shown
        document = edit(ownership.unowned(seen) if owners else codec.to_builtins(seen))
        data = msgspec.json.encode(document)
        new = bodies.decode_data(data, context, served, patch=about, known=known)
        if context.target.subresource != STATUS:  # an update of the status puts all else back by itself
            for name in aside:
                setattr(new, name, codec.copy(getattr(shown, name)))
        # A patch that says nothing of the owners, as nearly all, need not have them written out and read
        # again. One that says something replaces them all, so it need not see them either.
        if owners and not new.metadata.managedFields:
            new.metadata.managedFields = owners
        return served.to_hub(new)

    return change


def _names_fields_only(body: bytes, content_type: str, served: Resource) -> bool:
    """Whether a patch can be seen by itself to bring no unknown field and no wrong type into an object."""
    if content_type not in _MERGES or served.kind.own_type is not None or served.newer is not None:
        return False
    return fits(body, served.struct)


def _untouched(request: Request, context: Context, content_type: str, known: bool) -> Sequence[str]:
    """The parts of an object that a patch leaves as they are, and so need not see.

    The document of an object costs more than all else that a small patch does: one of metadata does not
    have the spec written out and read again. What is wrong with a patch is told with the whole object, so all
    of it is seen where something may be; but not the spec by a patch of the status, which cannot change it.
    """
    served = context.served
    if content_type not in _MERGES or served.kind.own_type is not None:
        return ()
    on_status = context.target.subresource == STATUS and not served.converts
    if not known and not on_status:
        return ()
    touched = msgspec.json.decode(request.body) or ()
    if not known and not _PARTS_OF_STATUS.issuperset(touched):
        return ()
    # Of all parts the status alone is not put back by an update of the status.
    kept = {*touched, STATUS} if context.target.subresource == STATUS else touched
    return [name for name in _parts(served.struct) if name not in kept and (known or name == SPEC)]


@lru_cache(maxsize=512)
def _parts(struct: Any) -> Sequence[str]:
    """The fields of a type, but for metadata, that hold structs."""
    blank = struct()
    names = (name for name in blank.__struct_fields__ if name != "metadata")
    return tuple(name for name in names if isinstance(getattr(blank, name), msgspec.Struct))


def _without(obj: Any, parts: Sequence[str]) -> Any:
    return msgspec.structs.replace(obj, **{name: type(getattr(obj, name))() for name in parts})


def media_of(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip()


def edit_of(request: Request, content_type: str, resource: Resource | None) -> Change:
    """A JSON, merge or (given a resource) strategic merge patch, as a function over plain JSON."""
    edit = _edit(request, content_type, resource)

    def run(document: Any) -> Any:
        try:
            return edit(document)
        except PatchError as problem:
            raise refusal(problem) from None

    return run


def _edit(request: Request, content_type: str, resource: Resource | None) -> Change:
    try:
        if content_type == JSON_PATCH:
            operations = json_patch.decode(request.body)
            return lambda document: json_patch.apply(document, operations)
        if content_type == MERGE_PATCH:
            patch = merge_patch.decode(request.body)
            return lambda document: merge_patch.apply(document, patch)
        if content_type == STRATEGIC and resource is not None and resource.kind.own_type is None:
            patch = strategic.decode(request.body)
            node = resource.node
            return lambda document: strategic.apply(document, patch, node)
    except PatchError as problem:
        raise refusal(problem) from None
    raise status.unsupported_patch()


def _about(request: Request, content_type: str, context: Context) -> Patched:
    """What is told of the patch where it does not fit, and what a strict reader finds wrong with it."""
    patch = (msgspec.json.decode(request.body) or {}) if content_type == STRATEGIC else None
    problems: list[str] = []
    if context.field_validation != "Ignore":
        if may_repeat_keys(request.body):
            problems = duplicate_fields(request.body)
        if content_type == JSON_PATCH:
            unknown = [f'unknown field "{name}"' for name in json_patch.unknown_fields(request.body)]
            problems = [f"json patch {problem}" for problem in (*problems, *unknown)]
    return Patched(patch, problems)


def _tell_of_repeats(request: Request, context: Context) -> None:
    for problem in repeated_keys(request.body):
        if context.field_validation == "Strict":
            raise status.bad_request(f"error strict decoding patch: error converting YAML to JSON: {problem}")
        context.warn(problem.removeprefix(YAML_ERRORS))


def config_of(request: Request, context: Context) -> dict[str, Any]:
    """The configuration in the body of an apply. Raises 400."""
    try:
        from sampan.schema.yaml import yaml_to_value  # late: few clients send it

        data, config = yaml_to_value(request.body)
    except ValueError as problem:
        raise status.bad_request(f"error decoding patch: error converting YAML to JSON: {problem}") from None
    if context.field_validation != "Ignore" and (data is not request.body or may_repeat_keys(data, config)):
        _tell_of_repeats(request, context)
    if config is None:
        config = {}
    if not isinstance(config, dict):
        why = f"error unmarshaling JSON: while decoding JSON: {merge_patch.not_an_object(config)}"
        raise status.bad_request(f"error decoding patch: {why}")
    return config
