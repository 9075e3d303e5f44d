"""Conversion between versions by a webhook: ConversionReview, and no belief in what comes back unchecked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.webhooks.client import WebhookFailed
from sampan.kinds.custom.definition import Definition
from sampan.schema import api, codec
from sampan.schema.custom import CustomObject

# As kube-apiserver: how long a conversion webhook may take.
TIMEOUT_S: Final = 30.0
# Objects in one review: an answer has to stay below what is read of one (webhooks.client.MAX_ANSWER_BYTES).
MAX_OBJECTS_BYTES: Final = 2 << 20

# Posts a body to what a WebhookClientConfig names, within a time in seconds; the answer's body. Raises
# WebhookFailed.
Post = Callable[[Any, bytes, float], Awaitable[bytes]]


class Webhook:
    """The conversion webhook of one definition."""

    def __init__(self, definition: Definition, post: Post, uid: Callable[[], str]) -> None:
        webhook = definition.spec.conversion.webhook or {}
        config = webhook.get("clientConfig") or {}
        self._config = codec.from_builtins(config, api.ApiextensionsWebhookClientConfig)
        known = [v for v in webhook.get("conversionReviewVersions") or () if v in ("v1", "v1beta1")]
        self._review = f"apiextensions.k8s.io/{known[0] if known else 'v1'}"
        self._post = post
        self._uid = uid

    async def convert(self, objects: Sequence[CustomObject], wanted: str) -> list[CustomObject]:
        """The objects in the version `wanted`. Raises 500 where the webhook fails, hangs or lies."""
        made: list[CustomObject] = []
        for few in _batches(objects):
            made += await self._convert(few, wanted)
        return made

    async def _convert(self, objects: Sequence[CustomObject], wanted: str) -> list[CustomObject]:
        uid = self._uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": self._review,
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        }
        of = f"conversion webhook for {objects[0].apiVersion}, Kind={objects[0].kind} failed"
        try:
            answer = await self._post(self._config, codec.encode(review), TIMEOUT_S)
            return self._read(answer, uid, objects, wanted)
        except (WebhookFailed, _Lie) as problem:
            raise status.internal(f"{of}: {problem}") from None

    def _read(
        self, answer: bytes, uid: str, objects: Sequence[CustomObject], wanted: str
    ) -> list[CustomObject]:
        try:
            review = msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise _Lie(f"its answer is not JSON: {problem}") from None
        response = review.get("response") if isinstance(review, dict) else None
        if not isinstance(response, dict):
            raise _Lie("its answer has no response")
        if (review.get("apiVersion"), review.get("kind")) != (self._review, "ConversionReview"):
            raise _Lie(f"its answer is no ConversionReview of {self._review}")
        if response.get("uid") != uid:
            raise _Lie(f"expected response.uid {uid}, got {response.get('uid')}")
        result = response.get("result")
        if not isinstance(result, dict) or result.get("status") != "Success":
            message = result.get("message") if isinstance(result, dict) else None
            raise _Lie(str(message or "it gives no reason"))
        made = response.get("convertedObjects")
        if not isinstance(made, list) or len(made) != len(objects):
            count = len(made) if isinstance(made, list) else 0
            raise _Lie(f"expected {len(objects)} converted objects, got {count}")
        pairs = enumerate(zip(made, objects, strict=True))
        return [_checked(value, old, wanted, position) for position, (value, old) in pairs]


def _batches(objects: Sequence[CustomObject]) -> Iterator[list[CustomObject]]:
    few: list[CustomObject] = []
    size_bytes = 0
    for obj in objects:
        few.append(obj)
        size_bytes += len(codec.encode(obj))
        if size_bytes > MAX_OBJECTS_BYTES:
            yield few
            few, size_bytes = [], 0
    if few:
        yield few


class _Lie(Exception):
    """An answer that is none."""


def _checked(value: Any, old: CustomObject, wanted: str, at: int) -> CustomObject:
    """What the webhook made of one object. It may change labels and annotations, but no other metadata."""
    try:
        new = CustomObject.from_json(value)
    except ValueError as problem:
        raise _Lie(f"converted object {at} is invalid: {problem}") from None
    if new.apiVersion != wanted or new.kind != old.kind:
        raise _Lie(f"converted object {at} is a {new.kind} of {new.apiVersion}, not a {old.kind} of {wanted}")
    for name in ("uid", "name", "namespace"):
        if (getattr(new.metadata, name) or "") != (getattr(old.metadata, name) or ""):
            raise _Lie(f"converted object {at} has invalid metadata: {name} was changed")
    labels, annotations = new.metadata.labels, new.metadata.annotations
    new.metadata = msgspec.structs.replace(old.metadata, labels=labels, annotations=annotations)
    return new
