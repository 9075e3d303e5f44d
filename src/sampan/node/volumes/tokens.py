"""Service account tokens for pods, asked for through TokenRequest and renewed before they expire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.node.volumes.plan import TOKEN_SECONDS, token_key
from sampan.schema import api

# kubelet renews a token that has lived for this part of its time, or for a day.
RENEW_PART: Final = 0.8
RENEW_AGE: Final = timedelta(hours=24)


class HeldToken(msgspec.Struct, frozen=True):
    token: str
    issued_at: datetime
    expires_at: datetime


def is_due(held: HeldToken, now: datetime) -> bool:
    """Whether the token ought to be replaced by a new one."""
    life = held.expires_at - held.issued_at
    age = now - held.issued_at
    return age > life * RENEW_PART or age > RENEW_AGE


class Tokens:
    """Holds each pod's tokens in memory only; they end with the pod."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[str, dict[str, HeldToken]] = {}

    async def token(self, pod: api.Pod, projection: api.ServiceAccountTokenProjection) -> str:
        """A token that is good for a while. Raises ApiError."""
        return (await self.held(pod, projection)).token

    async def held(self, pod: api.Pod, projection: api.ServiceAccountTokenProjection) -> HeldToken:
        """The same, with its times. Raises ApiError."""
        held = self._held.setdefault(pod.metadata.uid or "", {})
        key = token_key(projection)
        known = held.get(key)
        now = self._clock.now()
        if known is not None and not is_due(known, now):
            return known
        fresh = await self._request(pod, projection, now)
        held[key] = fresh
        return fresh

    def forget(self, uid: str) -> None:
        self._held.pop(uid, None)

    async def _request(
        self, pod: api.Pod, projection: api.ServiceAccountTokenProjection, now: datetime
    ) -> HeldToken:
        meta = pod.metadata
        account = pod.spec.serviceAccountName or "default"
        seconds = projection.expirationSeconds or TOKEN_SECONDS
        request = api.TokenRequest(
            apiVersion="authentication.k8s.io/v1",
            kind="TokenRequest",
            spec=api.TokenRequestSpec(
                audiences=[projection.audience] if projection.audience else [],
                expirationSeconds=seconds,
                boundObjectRef=api.BoundObjectReference(
                    apiVersion="v1", kind="Pod", name=meta.name, uid=meta.uid
                ),
            ),
        )
        path = f"/api/v1/namespaces/{meta.namespace}/serviceaccounts/{account}/token"
        answer = await self._client.post(path, request, api.TokenRequest)
        status = answer.status
        token = (status.token if status is not None else None) or ""
        expires_at = status.expirationTimestamp if status is not None else None
        return HeldToken(token, now, expires_at or now + timedelta(seconds=seconds))
