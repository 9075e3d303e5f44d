"""The subresource `scale`: autoscaling/v1 Scale over whatever has replicas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from sampan.apiserver.core import formats, ownership, status
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.applying import check_identity, refusal
from sampan.apiserver.core.bodies import Bodies
from sampan.apiserver.core.context import APPLY, Context
from sampan.apiserver.core.patches import MERGE_PATCH, STRATEGIC, config_of, edit_of, media_of
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.write import Writer
from sampan.kinds.kind import Scale
from sampan.machinery import field
from sampan.machinery.field import Path
from sampan.machinery.patch.apply import fieldset, scaling
from sampan.machinery.patch.apply.managers import Managed
from sampan.machinery.patch.errors import PatchError
from sampan.schema import api, codec
from sampan.schema.decode import DecodeFailure, decode_object
from sampan.schema.definitions import GroupVersionKind
from sampan.schema.nodes import of_kind
from sampan.store.items import Item

_SCALE: Final = GroupVersionKind("autoscaling", "v1", "Scale")
# A Scale has no lists, so that a strategic merge is a plain one.
_MERGE_PATCH_OF: Final = {STRATEGIC: MERGE_PATCH}

# Makes of the Scale that a request asks for, with the one before, what webhooks and policies make of it.
Review = Callable[[Context, api.Scale, api.Scale], Awaitable[api.Scale]]


class Scales:
    """GET, PUT and PATCH of a Scale."""

    def __init__(self, writer: Writer, bodies: Bodies, admission: Chain, review: Review) -> None:
        self._writer = writer
        self._bodies = bodies
        self._admission = admission
        self._review = review

    async def answer(self, request: Request, context: Context) -> Response:
        """Raises 400, 404, 409, 415, 422."""
        resource, target = context.resource, context.target
        scale = resource.kind.scale
        assert scale is not None
        item = resource.cache.get(target.namespace, target.name)
        if item is None:
            raise status.not_found(resource.kind, target.name)
        if target.verb == "get":
            return _shown(request, context, scale_of(scale, await resource.load(item.data)))
        if target.verb == "patch" and media_of(request) == APPLY:
            change = await self._application(request, context, scale, item)
        else:
            change = await self._change(request, context, scale, item)
        written = await self._writer.update(context, change)
        return _shown(request, context, scale_of(scale, await resource.load(written.data)))

    async def _change(
        self, request: Request, context: Context, scale: Scale, item: Item
    ) -> Callable[[Any], Any]:
        edit = self._edit(request, context.target.verb)
        if self._admission.active:
            # Shown what the request makes of the object as it is now; what they make of that is the request.
            before = scale_of(scale, await context.resource.load(item.data))
            asked = await self._review(context, edit(codec.copy(before)), before)
            edit = lambda _current: asked  # noqa: E731

        def change(current: Any) -> Any:
            old = codec.copy(current)
            wanted = edit(scale_of(scale, old))
            _replace(old, scale, wanted.spec.replicas or 0, context)
            old.metadata.resourceVersion = wanted.metadata.resourceVersion
            return old

        return change

    def _edit(self, request: Request, verb: str) -> Callable[[api.Scale], api.Scale]:
        if verb != "patch":
            wanted = _decode(self._bodies.json(request))
            return lambda _current: wanted
        edit = edit_of(request, _MERGE_PATCH_OF.get(media_of(request), media_of(request)), None)

        def change(current: api.Scale) -> api.Scale:
            current.metadata.resourceVersion = None  # insisted on only where the patch names it
            return _decode(msgspec.json.encode(edit(codec.to_builtins(current))))

        return change

    async def _application(
        self, request: Request, context: Context, scale: Scale, item: Item
    ) -> Callable[[Any], Any]:
        """What a configuration makes of the object, and of who owns its replicas."""
        config = config_of(request, context)
        check_identity(config, scaling.API_VERSION, "Scale", context.target.name)
        metadata = config.get("metadata")
        insisted = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        force = request.flag("force")
        context.applies = True  # it says itself what it leaves to whom
        reviewed: int | None = None
        if self._admission.active:
            live = await context.resource.load(item.data)
            context.owners = item.owners
            before = scale_of(scale, live)
            asked = codec.copy(before)
            asked.spec.replicas, _ = _applied(live, config, context, scale, force)
            reviewed = (await self._review(context, asked, before)).spec.replicas or 0

        def change(current: Any) -> Any:
            replicas, managed = _applied(current, config, context, scale, force)
            new = codec.copy(current)
            _replace(new, scale, replicas if reviewed is None else reviewed, context)
            new.metadata.managedFields = ownership.entries_of(managed)
            new.metadata.resourceVersion = insisted
            return new

        return change


def _applied(
    current: Any, config: dict[str, Any], context: Context, scale: Scale, force: bool
) -> tuple[int, Managed]:
    """The replicas asked for, and who owns what then."""
    resource = context.resource
    try:
        made, managed = scaling.apply(
            codec.to_builtins(scale_of(scale, current)),
            config,
            context.manager,
            schema=of_kind(_SCALE),
            managed=ownership.managed_of(current, context.owners, resource),
            api_version=resource.api_version,
            replicas=tuple(map(fieldset.field, scale.path)),
            now=context.now,
            force=force,
            empty=ownership.empty(api.Scale),
        )
    except PatchError as problem:
        raise refusal(problem) from None
    return scaling.wanted(made), managed


def _replace(obj: Any, scale: Scale, replicas: int, context: Context) -> None:
    """Set the replicas. Raises 422 for less than none."""
    if replicas < 0:
        name = context.target.name
        error = field.invalid(Path("spec")["replicas"], replicas, "must be greater than or equal to 0")
        cause = {"reason": error.type, "message": error.body(), "field": error.field}
        details = {"name": name, "group": _SCALE.group, "kind": _SCALE.kind, "causes": [cause]}
        raise status.StatusError(422, "Invalid", f'Scale.autoscaling "{name}" is invalid: {error}', details)
    scale.set_replicas(obj, replicas)


def _decode(data: bytes) -> api.Scale:
    try:
        scale: api.Scale = decode_object(data, api.Scale, strict=False)[0]
    except DecodeFailure as problem:
        raise status.bad_request(f"the body is not a Scale: {problem}") from None
    return scale


def _shown(request: Request, context: Context, made: api.Scale) -> Response:
    """A Scale in the form asked for."""
    form, body = formats.negotiate(request.accept), codec.encode(made)
    tables = formats.Tables(formats.Scales(), lambda: context.now, request.query.get("includeObject", ""))
    return formats.one(form, body, tables, int(made.metadata.resourceVersion or 0))


def scale_of(scale: Scale, obj: Any) -> api.Scale:
    """The Scale of an object."""
    metadata = obj.metadata
    return api.Scale(
        kind="Scale",
        apiVersion="autoscaling/v1",
        metadata=api.ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resourceVersion=metadata.resourceVersion,
            creationTimestamp=metadata.creationTimestamp,
        ),
        # What Go leaves out where it is nothing.
        spec=api.ScaleSpec(replicas=scale.get_replicas(obj) or None),
        status=api.ScaleStatus(replicas=scale.status_replicas(obj), selector=scale.selector(obj) or None),
    )
