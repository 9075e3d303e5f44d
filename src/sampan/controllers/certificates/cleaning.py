"""Requests that are done with are removed: pkg/controller/certificates/cleaner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.client.effects import NOTHING, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.certificates import issuing
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.schema import api

DECIDED_KEPT: Final = timedelta(hours=1)
PENDING_KEPT: Final = timedelta(hours=24)


class View(msgspec.Struct, frozen=True):
    """A request, and when the certificate that it got ends."""

    request: api.CertificateSigningRequest
    ends: datetime | None


def gather(caches: Caches, key: Key) -> View | None:
    request = caches.of(api.CertificateSigningRequest).get("", key.name)
    if request is None:
        return None
    try:
        return View(request, issuing.ends(request.status.certificate) if request.status.certificate else None)
    except ValueError:  # a foreign signer's, which need not be one that we can read
        return View(request, None)


def plan(view: View, now: datetime) -> Plan:
    """Remove it an hour after the decision, a day after it came, or with its certificate."""
    deadline = min(_deadlines(view), default=None)
    if deadline is None:
        return NOTHING
    if deadline <= now:
        return Plan((Remove(ref_of(view.request)),))
    return Plan(requeue_after_s=(deadline - now).total_seconds())


def _deadlines(view: View) -> Iterator[datetime]:
    request, made = view.request, view.request.metadata.creationTimestamp
    for condition in request.status.conditions:
        since = condition.lastUpdateTime or condition.lastTransitionTime or made
        if condition.type in ("Approved", "Denied", "Failed") and since is not None:
            yield since + DECIDED_KEPT
    if not request.status.conditions and not request.status.certificate and made is not None:
        yield made + PENDING_KEPT
    if view.ends is not None:
        yield view.ends


CONTROLLER: Final = Controller(
    name="certificatesigningrequest-cleaner",
    kind=api.CertificateSigningRequest,
    gather=gather,
    plan=plan,
    workers=1,
)
