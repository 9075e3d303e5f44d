"""PATCH and PUT, POST and DELETE as requests: bodies in, the right Writer call, answers out."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from sampan.apiserver.core import formats, status, write_options
from sampan.apiserver.core.applying import LastApplies
from sampan.apiserver.core.bodies import Bodies
from sampan.apiserver.core.context import APPLY, Context
from sampan.apiserver.core.formats import Tables
from sampan.apiserver.core.list_options import Selection
from sampan.apiserver.core.patches import media_of, patched
from sampan.apiserver.core.repeats import Repeats
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.stamps import Stamps
from sampan.apiserver.core.updating import Change
from sampan.apiserver.core.write import Writer, Written
from sampan.schema import api, codec

# Deletes under way at once in one deletecollection: enough to fill a group commit.
DELETE_CONCURRENCY: Final = 256


class _Names(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Named(msgspec.Struct):
    metadata: _Names


_names: Final = msgspec.json.Decoder(_Named)


class Modifier:
    """The modifying verbs of the main resource and of subresources that hold the whole object."""

    def __init__(self, writer: Writer, bodies: Bodies, stamps: Stamps, repeats: Repeats) -> None:
        self._writer = writer
        self._bodies = bodies
        self._stamps = stamps
        self._repeats = repeats
        self._applies = LastApplies()

    async def create(self, request: Request, context: Context, tables: Tables) -> Response:
        if context.target.name:
            raise status.method_not_allowed("POST")
        key = self._stamps.key(request, context)
        stamp = self._stamps.find(key) if key is not None else None
        if stamp is not None:
            written = await self._writer.stamp_out(context, stamp)
            return await self._answer(request, context, written, tables, 201)
        obj = context.served.to_hub(self._bodies.decode(request, context, context.served))
        generated = not obj.metadata.name
        written = await self._writer.create(context, obj)
        if key is not None and generated:
            self._stamps.learn(key, context, obj)
        return await self._answer(request, context, written, tables, 201)

    async def update(self, request: Request, context: Context, tables: Tables) -> Response:
        target = context.target
        obj = context.served.to_hub(self._bodies.decode(request, context, context.served))
        check_name(obj.metadata, context)
        conditional = context.resource.kind.conditional and obj.metadata.resourceVersion in (None, "", "0")

        def replace(_old: Any) -> Any:
            if conditional:
                raise status.revision_required(context.served.kind, target.name)
            return codec.copy(obj)

        written = await self._writer.update(context, replace, subresource=target.subresource)
        return await self._answer(request, context, written, tables)

    async def patch(self, request: Request, context: Context, tables: Tables) -> Response:
        resource, target = context.resource, context.target
        item = resource.cache.get(target.namespace, target.name)
        repeats, media = self._repeats, media_of(request)
        if media == APPLY and item is not None and repeats.may_hold(item):
            key = repeats.key(request, context)
            if key is not None and repeats.holds(key, item, resource):
                return await self._answer(request, context, Written(item.data, item.revision), tables)
        change = request.change
        if change is None:
            change = _named(patched(request, context, media, self._bodies, self._applies), context)
        if creates(request, context):
            fresh = resource.struct(kind=resource.kind.kind, apiVersion=resource.api_version)
            fresh.metadata.name = target.name
            obj = change(fresh)
            obj.metadata.name = obj.metadata.name or target.name
            obj.metadata.resourceVersion = None
            try:
                written = await self._writer.create(context, obj)
                return await self._answer(request, context, written, tables, 201)
            except status.StatusError as refused:
                if refused.reason != "AlreadyExists":  # then somebody else was faster: apply to theirs
                    raise
        written = await self._writer.update(context, change, subresource=target.subresource)
        if media == APPLY and item is not None and written.data is item.data and not context.warnings:
            key = repeats.key(request, context)
            if key is not None:
                repeats.note(key, item, resource)
        return await self._answer(request, context, written, tables)

    async def delete(self, request: Request, context: Context, tables: Tables) -> Response:
        options = self._delete_options(request, context)
        if context.resource.kind.resource == "jobs.batch" and not propagation_of(options):
            context.warn(_JOBS_WARNING)
        preconditions = options.preconditions
        written = await self._writer.delete(
            context,
            grace_s=options.gracePeriodSeconds,
            propagation=propagation_of(options),
            uid=(preconditions.uid if preconditions else None) or "",
            revision=(preconditions.resourceVersion if preconditions else None) or "",
        )
        kind = context.served.kind
        if written.deleted and kind.kind not in _RETURNS_DELETED.get(kind.group, _NOTHING):
            named = _names.decode(written.data).metadata
            details = {"name": named.name, "group": kind.group, "kind": kind.plural, "uid": named.uid}
            answer = status.success({k: v for k, v in details.items() if v})
            answer.headers.update(context.warning_headers())
            return answer
        return await self._answer(request, context, written, tables)

    async def delete_collection(
        self, request: Request, context: Context, chosen: Selection, tables: Tables
    ) -> Response:
        resource, target = context.served, context.target
        options = self._delete_options(request, context)
        match, late = chosen.early(resource), chosen.late(resource)
        items = resource.cache.items(target.namespace)
        if match is not None:
            items = [item for item in items if match(item)]
        if late is not None:
            shown = await resource.presented([item.data for item in items])
            items = [item for item, data in zip(items, shown, strict=True) if resource.selects(late, data)]
        form = formats.negotiate(request.accept)
        gone: dict[str, bytes] = {}
        left = iter(items)

        async def remove() -> None:
            own = msgspec.structs.replace(context, guards=[], ops=[])
            for item in left:
                try:
                    written = await self._writer.delete(
                        own,
                        grace_s=options.gracePeriodSeconds,
                        propagation=propagation_of(options),
                        name=item.name,
                        namespace=item.namespace,
                    )
                except status.StatusError as refused:
                    if refused.code == 404:
                        continue  # somebody else was faster
                    raise
                gone[item.key] = written.data

        await asyncio.gather(*(remove() for _ in range(min(DELETE_CONCURRENCY, len(items)))))
        datas = await resource.presented([gone[item.key] for item in items if item.key in gone])
        return formats.many(form, resource, datas, {"resourceVersion": str(self._writer.revision)}, tables)

    def _delete_options(self, request: Request, context: Context) -> api.DeleteOptions:
        options = self._bodies.options(request, api.DeleteOptions)
        query = request.query
        if "gracePeriodSeconds" in query:
            options.gracePeriodSeconds = write_options.whole_number(query["gracePeriodSeconds"])
        if "propagationPolicy" in query:
            options.propagationPolicy = query["propagationPolicy"]
        if "orphanDependents" in query:
            options.orphanDependents = request.flag("orphanDependents")
        write_options.check_deletion(options)
        take_dry_run(options, context)
        return options

    async def _answer(
        self, request: Request, context: Context, written: Written, tables: Tables, code: int = 200
    ) -> Response:
        form = formats.negotiate(request.accept)
        (data,) = await context.served.presented((written.data,))
        answer = formats.one(form, data, tables, written.revision, code)
        if context.warnings:
            answer.headers.update(context.warning_headers())
        return answer


def creates(request: Request, context: Context) -> bool:
    """Whether a PATCH is an apply to an object that is not there, and so creates it."""
    target = context.target
    if media_of(request) != APPLY or target.subresource:
        return False
    return context.resource.cache.get(target.namespace, target.name) is None


def check_name(metadata: Any, context: Context) -> None:
    """Refuse an object that says it is another than the URL names. Raises 400."""
    target, name, namespace = context.target, metadata.name, metadata.namespace
    if not name:
        raise status.bad_request(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
    if name != target.name:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )
    if namespace and target.namespace and namespace != target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _named(change: Change, context: Context) -> Change:
    """The change, whose outcome must be the object that the URL names."""

    def checked(old: Any) -> Any:
        new = change(old)
        check_name(new.metadata, context)
        return new

    return checked


# What DELETE answers with the object itself rather than a Status, as their REST storage does.
_RETURNS_DELETED: Final = {
    "": frozenset(
        {"Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "PodTemplate",
         "ResourceQuota", "Namespace"}
    ),
    "storage.k8s.io": frozenset(
        {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"}
    ),
    "resource.k8s.io": frozenset({"DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"}),
}  # fmt: skip
_NOTHING: Final[frozenset[str]] = frozenset()


_JOBS_WARNING: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove "
    "them or set propagationPolicy=Orphan to suppress this warning"
)


def take_dry_run(options: api.DeleteOptions, context: Context) -> None:
    """Options in a body may ask for a dry run as well."""
    context.dry_run = context.dry_run or bool(options.dryRun)


def propagation_of(options: api.DeleteOptions) -> str:
    """The propagation policy that checked options ask for; "" for the kind's default."""
    if options.orphanDependents is not None:
        return "Orphan" if options.orphanDependents else "Background"
    return options.propagationPolicy or ""
