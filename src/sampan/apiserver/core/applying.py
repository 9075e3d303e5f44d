"""Server-side apply: from the configuration of a request to the change that it makes."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sampan.apiserver.core import ownership, status
from sampan.apiserver.core.bodies import Bodies, by_the_cluster
from sampan.apiserver.core.context import Context
from sampan.machinery.patch.apply import again, engine
from sampan.machinery.patch.apply.conflicts import ApplyConflict
from sampan.machinery.patch.errors import PatchError, PatchFailed, PatchTooLarge
from sampan.schema import codec

# Applies of which is remembered what they asked for, and how much of the object each may name.
MAX_LAST: Final = 512
MAX_LAST_BYTES: Final = 8_192
_Key = tuple[str, str, str, str]


class LastApplies:
    """The last apply of each object by each manager, of those that came last.

    Nothing rests on it but how fast the next one is: whether the object still is as it was left is looked
    for in the object.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[_Key, again.Last] = OrderedDict()

    def get(self, key: _Key) -> again.Last | None:
        return self._last.get(key)

    def put(self, key: _Key, last: again.Last) -> None:
        if len(last.left) > MAX_LAST_BYTES:
            self._last.pop(key, None)
            return
        self._last[key] = last
        self._last.move_to_end(key)
        if len(self._last) > MAX_LAST:
            self._last.popitem(last=False)


def apply_change(
    config: dict[str, Any], context: Context, force: bool, bodies: Bodies, applies: LastApplies
) -> Callable[[Any], Any]:
    """The change that applying `config` makes to an object. Raises 409 on conflicts, 400 for a bad one."""
    resource, target = context.served, context.target
    key = (
        resource.hub.key(target.namespace, target.name),
        resource.api_version,
        target.subresource,
        context.manager,
    )
    kind = context.served.kind
    check_identity(config, kind.api_version, kind.kind, target.name)
    if resource.newer is not None and not by_the_cluster(context):
        try:
            engine.check_config(config, resource.served_node)
        except PatchError as problem:
            raise refusal(problem) from None

    # What an apply leaves to whom, it says itself.
    context.applies = True

    def change(stored: Any) -> Any:
        old = resource.from_hub(stored)
        managed = ownership.managed_of(old, context.owners, resource)
        exists = bool(old.metadata.resourceVersion)
        live = ownership.unowned(old) if exists else dict(ownership.empty(resource.struct))
        try:
            applied = engine.apply(
                live,
                config,
                context.manager,
                schema=resource.node,
                managed=managed,
                now=context.now,
                force=force,
                subresource=target.subresource,
                ignored=ownership.ignored(context),
                empty=ownership.empty(resource.struct),
                before=applies.get(key),
            )
        except PatchError as problem:
            raise refusal(problem) from None
        applies.put(key, applied.last)
        new = _object_of(applied.object, context, bodies)
        new.metadata.managedFields = ownership.entries_of(applied.managed)
        return resource.to_hub(new)

    return change


def _object_of(document: dict[str, Any], context: Context, bodies: Bodies) -> Any:
    """The object that an apply has made. Raises 400."""
    resource = context.served
    # The configuration was held against the type before, and the live object came from it: so of a built-in
    # type there is nothing in it that could be unknown, and mostly nothing that needs to be told.
    known = resource.kind.own_type is None
    if known and (resource.newer is None or by_the_cluster(context)):
        with contextlib.suppress(msgspec.ValidationError):
            return codec.from_builtins(document, resource.struct)
    return bodies.decode_data(msgspec.json.encode(document), context, resource, known=known)


def refusal(problem: PatchError) -> status.StatusError:
    """A patch that cannot be carried out, as a Status: 409 where it conflicts with other managers.

    Where kube-apiserver answers 500 to a configuration that does not fit its type, the fault is the client's
    all the same, so it gets a 400.
    """
    if isinstance(problem, ApplyConflict):
        causes = [
            {"reason": "FieldManagerConflict", "message": each.message, "field": each.field}
            for each in problem.conflicts
        ]
        return status.StatusError(409, "Conflict", str(problem), {"causes": causes})
    if isinstance(problem, PatchFailed):
        return status.unfit_patch()
    if isinstance(problem, PatchTooLarge):
        return status.too_large(str(problem))
    return status.bad_request(str(problem))


def check_identity(config: dict[str, Any], api_version: str, kind: str, name: str) -> None:
    """Refuse a configuration of another kind or object. Raises 400."""
    version, named = config.get("apiVersion") or "", config.get("kind") or ""
    if (version, named) != (api_version, kind):
        shown = version if "/" in str(version) else f"/{version}"
        raise status.bad_request(f"invalid object type: {shown}, Kind={named}")
    metadata = config.get("metadata")
    given = metadata.get("name") if isinstance(metadata, dict) else None
    if given is not None and given != name:
        raise status.bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )
