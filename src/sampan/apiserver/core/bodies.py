"""Request bodies: from bytes of unknown origin to checked structs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.request import JSON, Request
from sampan.apiserver.core.resource import Resource
from sampan.kinds.kind import Kind
from sampan.machinery import field
from sampan.machinery.field import Path
from sampan.schema import protobuf
from sampan.schema.decode import DecodeFailure, decode_object

# kube-apiserver's limit for JSON bodies and patches.
MAX_BODY_BYTES: Final = 3 * 1024 * 1024
YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})

# The users of the cluster's own parts.
_PARTS: Final = ("system:kube-", "system:node:")

T = TypeVar("T")


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
        patch: bytes | None = None,
    ) -> Any:
        """The object in JSON that is a body, or what a `patch` has made."""
        kind, strict = resource.kind, context.field_validation != "Ignore"
        try:
            # What a patch has made was written here, from a map: no key of it stands there twice.
            obj, problems = decode_object(
                data, resource.struct, kind.gvk, strict=strict, repeats=strict and patch is None
            )
        except DecodeFailure as failure:
            what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
            raise status.bad_request(f"{what}: {failure}") from None
        if kind.prune is not None:
            unknown = [f'unknown field "{path}"' for path in kind.prune(obj)]
            problems = problems + unknown if strict else problems
        if resource.newer is not None and not by_the_cluster(context):
            newer = [f'unknown field "{path}"' for path in resource.newer.take(obj)]
            problems = problems + newer if strict else problems
        problems = [*repeats, *problems]
        if problems and context.field_validation == "Strict":
            raise _strict_refusal(kind, ", ".join(problems), patch)
        if context.field_validation == "Warn":
            for problem in problems:
                context.warn(problem)
        _check_type(obj, resource)
        return obj

    def options(self, request: Request, kind: type[T]) -> T:
        """The options object in a DELETE body, or an empty one."""
        if not request.body.strip():
            return kind()
        try:
            return decode_object(self.json(request), kind, strict=False)[0]
        except DecodeFailure as problem:
            raise status.bad_request(f"the options in the body cannot be read: {problem}") from None

    def json(self, request: Request) -> bytes:
        """The body as JSON. Raises 413 and 415."""
        if len(request.body) > MAX_BODY_BYTES:
            raise status.too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
        media = request.headers.get("content-type", JSON).split(";")[0].strip().lower()
        if media in YAML:
            try:
                from sampan.schema.yaml import yaml_to_json  # late: few clients send it

                return yaml_to_json(request.body)
            except ValueError as problem:
                raise status.bad_request(f"error converting YAML to JSON: {problem}") from None
        if media == protobuf.MEDIA_TYPE:
            try:
                return protobuf.to_json(request.body)
            except protobuf.ProtobufError as problem:
                raise status.unsupported_media(
                    media, f"application/json, application/yaml ({problem})"
                ) from None
        if media not in (JSON, ""):
            raise status.unsupported_media(media, "application/json, application/yaml")
        return request.body


def by_the_cluster(context: Context) -> bool:
    """Whether a part of this cluster writes: those speak the newest version, whichever is served.

    What they could not store they would write again and again. The status of objects is theirs alone.
    """
    return context.target.subresource == "status" or context.user.name.startswith(_PARTS)


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


def _strict_refusal(kind: Kind, problems: str, patch: bytes | None) -> status.StatusError:
    text = f"strict decoding error: {problems}"
    if patch is None:
        what = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        return status.bad_request(f"{what}: {text}")
    error = field.invalid(Path("patch"), patch.decode(errors="replace"), text)
    cause = {"reason": error.type, "message": error.body(), "field": error.field}
    return status.StatusError(422, "Invalid", f' "" is invalid: {error}', {"causes": [cause]})


def _check_type(obj: Any, resource: Resource) -> None:
    kind = resource.kind
    if obj.apiVersion and obj.apiVersion != kind.api_version:
        raise status.bad_request(
            f"the API version in the data ({obj.apiVersion}) does not match "
            f"the expected API version ({kind.api_version})"
        )
    if obj.kind and obj.kind != kind.kind:
        raise status.bad_request(f"the kind in the data ({obj.kind}) does not match the expected {kind.kind}")
