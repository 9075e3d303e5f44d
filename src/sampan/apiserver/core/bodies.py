"""Request bodies: from bytes of unknown origin to checked structs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.request import JSON, Request
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.users import User
from sampan.kinds.kind import Kind
from sampan.machinery.patch import go
from sampan.schema import goerrors, protobuf
from sampan.schema.decode import DecodeFailure, NotAnObject, decode_object
from sampan.schema.definitions import GroupVersionKind, load
from sampan.schema.walk import WrongType

# kube-apiserver's limit for JSON bodies and patches.
MAX_BODY_BYTES: Final = 3 * 1024 * 1024
YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})

# The users of the cluster's own parts.
_PARTS: Final = ("system:kube-", "system:node:")

# Where Go's sources make kube-apiserver's registry of types: its errors name it.
SCHEME: Final = "pkg/runtime/scheme.go:111"
YAML_ERRORS: Final = "yaml: unmarshal errors:\n  "
_MEDIA: Final = "application/json, application/yaml, application/vnd.kubernetes.protobuf"

T = TypeVar("T")


class Patched(msgspec.Struct, frozen=True):
    """What is told of a patch where what it makes of an object is none of the kind."""

    # A strategic merge patch, which is quoted itself; of all others it is what they made.
    strategic: Any = None
    # What a strict reader finds wrong with the patch.
    problems: Sequence[str] = ()

    def shown(self, made: bytes) -> str:
        if self.strategic is not None:
            return go.shown(self.strategic)
        return msgspec.json.encode(dict(sorted(msgspec.json.decode(made).items()))).decode(errors="replace")

    def why(self, failure: DecodeFailure) -> str:
        return (_restored(failure.wrong) if self.strategic is not None else "") or str(failure)


class Bodies:
    """Decodes bodies with field validation as the request wants it."""

    def decode(self, request: Request, context: Context, resource: Resource) -> Any:
        """The object in the body, in the version of `resource`.

        Raises 400, 413, 415; adds warnings to the context.
        """
        repeats: Sequence[str] = ()
        if context.field_validation != "Ignore" and media_of(request) in YAML:
            repeats = repeated_keys(request.body)
        return self.decode_data(self.json(request), context, resource, repeats=repeats)

    def decode_data(
        self,
        data: bytes,
        context: Context,
        resource: Resource,
        *,
        repeats: Sequence[str] = (),
        patch: Patched | None = None,
        known: bool = False,
    ) -> Any:
        """The object in JSON that is a body, or what a `patch` has made.

        Nobody looks for unknown fields where all are `known` to be fields of the type.
        """
        kind, strict = resource.kind, context.field_validation != "Ignore" and not known
        try:
            # What a patch has made was written here, from a map: no key of it stands there twice.
            obj, problems = decode_object(
                data, resource.struct, kind.gvk, strict=strict, repeats=strict and patch is None
            )
        except DecodeFailure as failure:
            if patch is not None:
                raise status.invalid_patch(patch.shown(data), patch.why(failure)) from None
            raise status.bad_request(_undecodable(failure, kind, data)) from None
        self._check_type(obj, resource, data, patch)
        if kind.unreadable is not None and (why := kind.unreadable(obj)):
            what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
            raise status.bad_request(f"{what}: {why}")
        if kind.prune is not None:
            unknown = [f'unknown field "{path}"' for path in kind.prune(obj)]
            problems = problems + unknown if strict else problems
        if resource.newer is not None and not by_the_cluster(context):
            newer = [f'unknown field "{path}"' for path in resource.newer.take(obj)]
            problems = problems + newer if strict else problems
        problems = [*repeats, *(patch.problems if patch is not None else ()), *problems]
        if problems and context.field_validation == "Strict":
            text = f"strict decoding error: {', '.join(problems)}"
            if patch is not None:
                raise status.invalid_patch(patch.shown(data), text)
            what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
            raise status.bad_request(f"{what}: {text}")
        if context.field_validation == "Warn":
            for problem in problems:
                context.warn(problem.removeprefix(YAML_ERRORS))
        return obj

    def _check_type(self, obj: Any, resource: Resource, data: bytes, patch: Patched | None) -> None:
        """Refuse what says that it is another kind. Raises 400, or 422 for what a patch has made."""
        kind = resource.kind
        version, named = obj.apiVersion or kind.api_version, obj.kind or kind.kind
        if version == kind.api_version and named == kind.kind:
            return
        group, _, short = version.rpartition("/")
        is_built_in = GroupVersionKind(group, short, named) in load().by_gvk
        if patch is not None:
            why = f'no kind "{named}" is registered for version "{version}" in scheme "{SCHEME}"'
            if version.count("/") > 1:
                why = f"unexpected GroupVersion string: {version}"
            elif is_built_in:
                why = f"unable to convert {version}, Kind={named} to {kind.api_version}, Kind={kind.kind}"
            raise status.invalid_patch(patch.shown(data), why)
        if version.count("/") > 1:
            failure = NotAnObject(f"unexpected GroupVersion string: {version}")
            raise status.bad_request(_undecodable(failure, kind, data))
        if kind.own_type is not None and named != kind.kind:
            raise status.bad_request(
                f"the kind in the data ({named}) does not match the expected {kind.kind}"
            )
        if kind.own_type is not None or (named == kind.kind and is_built_in and group == kind.group):
            raise status.bad_request(
                f"the API version in the data ({version}) does not match "
                f"the expected API version ({kind.api_version})"
            )
        if is_built_in:
            inner = kind.group.partition(".")[0] or "core"
            why = f"converting ({short}.{named}) to ({inner}.{kind.kind}): unknown conversion"
        else:
            why = f'no kind "{named}" is registered for version "{version}" in scheme "{SCHEME}"'
        raise status.bad_request(f'{named} in version "{short}" cannot be handled as a {kind.kind}: {why}')

    def options(self, request: Request, kind: type[T]) -> T:
        """The options object in a DELETE body, or an empty one."""
        if not request.body.strip():
            return kind()
        try:
            options = decode_object(self.json(request), kind, strict=False)[0]
        except DecodeFailure as problem:
            raise status.bad_request(str(problem)) from None
        named = getattr(options, "kind", None) or kind.__name__.rpartition("_")[2]
        if named != kind.__name__.rpartition("_")[2]:
            version = getattr(options, "apiVersion", None) or "v1"
            why = f'no kind "{named}" is registered for version "{version}" in scheme "{SCHEME}"'
            raise status.bad_request(why)
        return options

    def json(self, request: Request) -> bytes:
        """The body as JSON. Raises 413 and 415."""
        if len(request.body) > MAX_BODY_BYTES:
            raise status.too_large(f"limit is {MAX_BODY_BYTES}")
        media = request.headers.get("content-type", JSON).split(";")[0].strip().lower()
        if media in YAML:
            try:
                from sampan.schema.yaml import yaml_to_json  # late: few clients send it

                return yaml_to_json(request.body)
            except ValueError as problem:
                failure = f"the object provided is unrecognized: {problem}"
                raise status.bad_request(f"{failure} ({goerrors.summary(request.body)})") from None
        if media == protobuf.MEDIA_TYPE:
            try:
                return protobuf.to_json(request.body)
            except protobuf.ProtobufError as problem:
                raise status.unsupported_media(
                    media, f"application/json, application/yaml ({problem})"
                ) from None
        if media not in (JSON, ""):
            raise status.unsupported_media(media, _MEDIA)
        return request.body


def by_the_cluster(context: Context) -> bool:
    """Whether a part of this cluster writes: those speak the newest version, whichever is served.

    What they could not store they would write again and again. The status of objects is theirs alone.
    """
    return context.target.subresource == "status" or is_part(context.user)


def is_part(user: User) -> bool:
    """Whether a user is a part of this cluster, with a certificate of its own."""
    return user.name.startswith(_PARTS)


def media_of(request: Request) -> str:
    """The media type of the body, in lower case and without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def repeated_keys(data: bytes) -> list[str]:
    """What is wrong with the maps of a YAML body that goyaml would refuse to decode strictly."""
    from sampan.schema.yaml import load_with_repeats  # late: few clients send it

    try:
        repeats = load_with_repeats(data)[1]
    except ValueError:
        return []  # what it is not told here, it will be when it is decoded
    return [f"yaml: unmarshal errors:\n  {line}" for line in repeats]


def _undecodable(failure: DecodeFailure, kind: Kind, data: bytes) -> str:
    if isinstance(failure, NotAnObject):
        quoted = goerrors.summary(data)
        return f"the object provided is unrecognized (must be of type {kind.kind}): {failure} ({quoted})"
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {failure}'


def _restored(wrong: WrongType | None) -> str:
    """How kube-apiserver, which makes a strategic merge patch's outcome of a map, tells of a type."""
    if wrong is None or not wrong.wanted:
        return ""
    found, wanted = go.reflect_kind(wrong.value), wrong.wanted
    if wanted.startswith("[]"):
        return f"cannot restore slice from {found}"
    if wanted.startswith("map["):
        return f"cannot restore map from {found}"
    if "." in wanted:
        return f"cannot restore struct from: {found}"
    if found in ("int64", "float64") and wanted != "bool":
        return f"cannot convert {found} to {wanted}"
    return f"unrecognized type: {wanted}"
