"""Status answers, worded as k8s.io/apimachinery/pkg/api/errors words them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core.request import Response
from sampan.kinds.kind import Kind
from sampan.machinery import field
from sampan.machinery.field import FieldError

_FORBIDDEN: Final = 403
_PREFIX: Final = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
_encode = msgspec.json.Encoder().encode


class StatusError(Exception):
    """An answer other than success. `code` is the HTTP status, `reason` the machine-readable word."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.metadata = metadata
        self.code = code
        self.reason = reason
        self.message = message
        # Kubernetes' answers of a general kind have details that hold nothing.
        self._bare = details is None
        self.details = details or {}
        # What the answer's headers hold beside those of every refusal.
        self.headers: dict[str, str] = {}

    def response(self) -> Response:
        body: dict[str, Any] = {**_PREFIX, "status": "Failure", "message": self.message}
        if self.metadata:
            body["metadata"] = self.metadata
        if self.reason:
            body["reason"] = self.reason
        if self.details or not self._bare:
            body["details"] = self.details
        body["code"] = self.code
        headers = dict(self.headers)
        if self.code == _FORBIDDEN:
            headers["X-Content-Type-Options"] = "nosniff"
        if "retryAfterSeconds" in self.details:
            headers["Retry-After"] = str(self.details["retryAfterSeconds"])
        return Response(status=self.code, body=_encode(body), headers=headers)


def success(details: dict[str, Any] | None = None, code: int = 200) -> Response:
    body: dict[str, Any] = {**_PREFIX, "status": "Success"}
    if details:
        body["details"] = details
    if code != 200:
        body["code"] = code
    return Response(status=code, body=_encode(body))


def _details(kind: Kind, name: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name, "group": kind.group, "kind": kind.plural, **more}
    return {key: value for key, value in details.items() if value}


def not_found(kind: Kind, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def no_such_page() -> Response:
    """The answer at a path that is nobody's, in the words of Go's mux."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(
        status=404, body=b"404 page not found\n", content_type="text/plain; charset=utf-8", headers=headers
    )


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(kind, name))


def conflict(kind: Kind, name: str, why: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(kind, name))


def other(kind: Kind, name: str, why: str) -> StatusError:
    """A conflict about an object that is not the one that was meant; these name the kind as it is written."""
    named = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = _details(kind, name) | {"kind": kind.kind}
    return StatusError(409, "Conflict", f'Operation cannot be fulfilled on {named} "{name}": {why}', details)


def modified(kind: Kind, name: str) -> StatusError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(kind, name, why)


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> StatusError:
    """All field errors at once."""
    told = dict.fromkeys((e.type, e.body(), e.field) for e in errors)
    causes = [{"reason": reason, "message": body, "field": at} for reason, body, at in told]
    texts = list(dict.fromkeys(str(e) for e in errors))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    message = f'{qualified} "{name}" is invalid: {joined}'
    details = _details(kind, name, causes=causes) | {"kind": kind.kind}
    return StatusError(422, "Invalid", message, details)


def invalid_review(kind: Kind, errors: Sequence[FieldError]) -> StatusError:
    """All field errors of a question, which has no name; kube-apiserver leaves its kind off."""
    whole = invalid(kind, "", errors)
    details = {"group": kind.group, "causes": whole.details["causes"]}
    return StatusError(422, "Invalid", whole.message.removeprefix(kind.kind), details)


def revision_required(kind: Kind, name: str) -> StatusError:
    """An update without a resourceVersion of what is only updated on condition of one."""
    error = field.invalid(field.Path("metadata.resourceVersion"), 0, "must be specified for an update")
    causes = [{"reason": error.type, "message": error.body(), "field": error.field}]
    details = _details(kind, name, causes=causes) | {"kind": kind.plural}
    return StatusError(422, "Invalid", f'{kind.resource} "{name}" is invalid: {error}', details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def other_namespace() -> StatusError:
    """The object names a namespace that is not the URL's."""
    return bad_request(
        "the namespace of the provided object does not match the namespace sent on the request"
    )


def forbidden(kind: Kind, name: str, why: str) -> StatusError:
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(kind, name))


def forbidden_address(address: str) -> StatusError:
    return StatusError(
        403, "Forbidden", f"address {address} is not for proxying: it is not in the pod network"
    )


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed(method: str) -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def terminating() -> StatusError:
    """What creating an object of a custom kind that is going gets."""
    message = "create not allowed while custom resource definition is terminating"
    return StatusError(405, "MethodNotAllowed", message)


def not_acceptable(wanted: str) -> StatusError:
    message = f"only the following media types are accepted: {wanted}"
    return StatusError(406, "NotAcceptable", message)


def unsupported_media(given: str, wanted: str) -> StatusError:
    message = (
        f"the body of the request was in an unknown format - accepted media types include: {wanted}"
        if given
        else "no content type was given"
    )
    return StatusError(415, "UnsupportedMediaType", message)


def expired(message: str, goes_on: str = "") -> StatusError:
    """`goes_on` is a continue token with which the client may have the rest all the same."""
    return StatusError(410, "Expired", message, metadata={"continue": goes_on} if goes_on else None)


def too_large_revision(revision: int, current: int) -> StatusError:
    """The client has seen more than this server has; it may ask again in a moment."""
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def unsupported_patch() -> StatusError:
    """A PATCH in a media type that is none of a patch."""
    return StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def unfit_patch() -> StatusError:
    """A JSON patch that does not fit its object. Which step it was, kube-apiserver does not tell."""
    message = "the server rejected our request due to an error in our request"
    return StatusError(422, "Invalid", message, {})


def invalid_patch(shown: str, why: str) -> StatusError:
    """A patch that makes of an object what is none of its kind; `shown` is the patch or its outcome."""
    error = field.invalid(field.Path("patch"), shown, why)
    causes = [{"reason": error.type, "message": error.body(), "field": error.field}]
    return StatusError(422, "Invalid", f' "" is invalid: {error}', {"causes": causes})


def invalid_options(kind: str, errors: Sequence[FieldError]) -> StatusError:
    """Parameters of a request that do not go together; `kind` is PatchOptions, ListOptions and so on."""
    texts = [str(error) for error in errors]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": e.type, "message": e.body(), "field": e.field} for e in errors]
    details = {"group": "meta.k8s.io", "kind": kind, "causes": causes}
    return StatusError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {joined}', details)


def too_large(message: str) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def internal(message: str) -> StatusError:
    details = {"causes": [{"message": message}]}
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", details)


def unavailable(message: str, retry_after_s: int = 1) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message, {"retryAfterSeconds": retry_after_s})


def too_many_requests(message: str, retry_after_s: int = 0, causes: Sequence[Any] = ()) -> StatusError:
    details: dict[str, Any] = {"causes": list(causes)} if causes else {}
    if retry_after_s:
        details["retryAfterSeconds"] = retry_after_s
    return StatusError(429, "TooManyRequests", message, details)


def expired_watch_line(revision: int, floor: int) -> bytes:
    """The last line of a watch that can no longer be served."""
    message = f"too old resource version: {revision} ({floor})"
    body = {**_PREFIX, "status": "Failure", "message": message, "reason": "Expired", "code": 410}
    return _encode({"type": "ERROR", "object": body}) + b"\n"
