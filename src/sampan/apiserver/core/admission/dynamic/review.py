"""AdmissionReview v1: the question put to a webhook, and what its answer means. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from sampan.apiserver.core.webhooks.client import WebhookFailed
from sampan.machinery.patch import json_patch
from sampan.machinery.patch.errors import PatchError

# Texts that a webhook may add to an answer; kube-apiserver cuts the same.
MAX_WARNINGS: Final = 64
MAX_WARNING_LENGTH: Final = 4096


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0
    details: dict[str, Any] | None = None


class _Response(msgspec.Struct):
    uid: str = ""
    allowed: bool = False
    status: _Status | None = None
    patch: str | None = None
    patchType: str | None = None
    auditAnnotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class _Review(msgspec.Struct):
    apiVersion: str = ""
    kind: str = ""
    response: _Response | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What a webhook decided."""

    allowed: bool
    operations: list[json_patch.Operation]
    annotations: dict[str, str]
    warnings: list[str]
    message: str = ""
    reason: str = ""
    code: int = 0
    details: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Review)


def encode(request: dict[str, Any], obj: Any, old: Any) -> bytes:
    """The body of a call."""
    whole = {**request, "object": obj, "oldObject": old}
    return msgspec.json.encode(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": whole}
    )


def decode(data: bytes, uid: str, mutating: bool) -> Verdict:
    """The verdict in an answer. Raises WebhookFailed where it is no answer to this question."""
    try:
        review = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as broken:
        raise WebhookFailed(f"the answer is no AdmissionReview: {str(broken)[:300]}") from None
    if (review.kind, review.apiVersion) != ("AdmissionReview", "admission.k8s.io/v1"):
        said = f"{review.apiVersion}, Kind={review.kind}"
        raise WebhookFailed(
            "received invalid webhook response: expected webhook response of "
            f"admission.k8s.io/v1, Kind=AdmissionReview, got {said[:200]}"
        )
    response = review.response
    if response is None:
        raise WebhookFailed("webhook response was absent")
    if response.uid != uid:
        raise WebhookFailed(
            f'received invalid webhook response: expected response.uid="{uid}"; got "{response.uid[:100]}"'
        )
    refused = response.status or _Status()
    return Verdict(
        allowed=response.allowed,
        operations=_operations(response, mutating),
        annotations=response.auditAnnotations or {},
        warnings=[text[:MAX_WARNING_LENGTH] for text in (response.warnings or [])[:MAX_WARNINGS]],
        message=refused.message,
        reason=refused.reason,
        code=refused.code,
        details=refused.details,
    )


def _operations(response: _Response, mutating: bool) -> list[json_patch.Operation]:
    if not mutating:
        if response.patch or response.patchType:
            raise WebhookFailed(
                "received invalid webhook response: webhook returned response.patch which is not allowed "
                "for a validating webhook"
            )
        return []
    if not response.patch:
        if response.patchType:
            raise WebhookFailed(
                "received invalid webhook response: response.patchType was set without a patch"
            )
        return []
    if response.patchType != "JSONPatch":
        raise WebhookFailed(
            f'received invalid webhook response: invalid response.patchType "{response.patchType or ""}"'
        )
    if not response.allowed:
        return []
    try:
        return json_patch.decode(base64.b64decode(response.patch, validate=True))
    except (binascii.Error, ValueError, PatchError) as broken:
        raise WebhookFailed(f"received invalid webhook response: the patch is none: {broken}") from None
