"""Pods' requests for certificates are removed after a while, whatever became of them.

As kube-controller-manager's podcertificaterequest-cleaner: whoever asked has the answer long since.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sampan.client.effects import NOTHING, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.schema import api

KEPT: Final = timedelta(minutes=15)


def gather(caches: Caches, key: Key) -> api.PodCertificateRequest | None:
    return caches.of(api.PodCertificateRequest).get(key.namespace, key.name)


def plan(request: api.PodCertificateRequest, now: datetime) -> Plan:
    """Remove it a quarter of an hour after it came."""
    made = request.metadata.creationTimestamp
    if made is None or request.metadata.deletionTimestamp is not None:
        return NOTHING
    left_s = (made + KEPT - now).total_seconds()
    return Plan(requeue_after_s=left_s) if left_s > 0 else Plan((Remove(ref_of(request)),))


CONTROLLER: Final = Controller(
    name="podcertificaterequest-cleaner",
    kind=api.PodCertificateRequest,
    gather=gather,
    plan=plan,
    workers=1,
)
