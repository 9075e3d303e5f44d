"""What an API server answers when it does not do what was asked."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.base.errors import SampanError
from sampan.schema import api, codec

_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Gone",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(SampanError):
    """The server refused. `status` is its metav1.Status; `code` and `reason` are read from it."""

    def __init__(self, status: api.Status) -> None:
        super().__init__(status.message or status.reason or f"the server answered {status.code}")
        self.status = status

    @property
    def code(self) -> int:
        return self.status.code or 500

    @property
    def reason(self) -> str:
        return self.status.reason or _REASONS.get(self.code, "")

    @property
    def retry_after_s(self) -> int | None:
        """How long the server asks to wait before the request is tried again; None where it does not ask."""
        details = self.status.details
        return details.retryAfterSeconds if details is not None else None

    @staticmethod
    def of(code: int, reason: str, message: str) -> ApiError:
        """The error with this code, reason and message."""
        return ApiError(
            api.Status(
                apiVersion="v1", kind="Status", status="Failure", code=code, reason=reason, message=message
            )
        )


def error_from(code: int, body: bytes) -> ApiError:
    """The error that an answer with this HTTP code and body means, also where the body is no Status."""
    try:
        status = codec.decode(body, api.Status)
    except (msgspec.ValidationError, msgspec.DecodeError):
        status = None
    if status is None or status.kind != "Status":
        text = body[:512].decode("utf-8", "replace").strip()
        return ApiError.of(code, _REASONS.get(code, ""), text or f"the server answered {code}")
    if status.code is None:
        status.code = code
    return ApiError(status)


def is_not_found(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code == 404


def is_already_exists(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.reason == "AlreadyExists"


def is_conflict(error: BaseException) -> bool:
    """A lost race: another resourceVersion or uid than the one asked for."""
    return isinstance(error, ApiError) and error.code == 409 and error.reason != "AlreadyExists"


def is_lost(error: BaseException | None) -> bool:
    """What was meant is there no more: it is gone, or another, or others have changed it since."""
    return error is not None and (is_not_found(error) or is_conflict(error))


def is_gone(error: BaseException) -> bool:
    """The resourceVersion asked for is too old to be served: list again."""
    return isinstance(error, ApiError) and (error.code == 410 or error.reason == "Expired")


def is_invalid(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code == 422


def is_forbidden(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code == 403


def is_unauthorized(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code == 401


def is_too_many_requests(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code == 429


def is_namespace_terminating(error: BaseException) -> bool:
    """Nothing can be created in the namespace because it is being deleted."""
    if not isinstance(error, ApiError) or error.status.details is None:
        return False
    return any(cause.reason == "NamespaceTerminating" for cause in error.status.details.causes)
