"""What tells of the servers of a cluster: each one's Lease, and what their own controllers keep beside it.

kube-apiserver's clients find in these Leases which servers there are, and by whose name they go. The Lease of
a server that is gone stays until it has run out.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

from sampan.apiserver.core.admission.services import DEFAULT_CIDR
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resource, Resources
from sampan.apiserver.core.status import StatusError
from sampan.base.clock import Clock, micro_time, parse_micro_time
from sampan.schema import api, codec

RENEW_EVERY_S: Final = 10.0
LEASE_S: Final = 3600
SWEEP_EVERY_S: Final = 3600.0
NAMESPACE: Final = "kube-system"
LABEL: Final = "apiserver.kubernetes.io/identity"
SERVER: Final = "kube-apiserver"
TRACKING: Final = "kube-apiserver-legacy-service-account-token-tracking"
_ADDRESS: Final = "kubernetes.io/peer-advertise-address"
_READY: Final = "Ready"


def identity(hostname: str) -> str:
    """The name of the server on this host, as kube-apiserver makes it: the same at each start."""
    parts = (hostname.encode(), SERVER.encode())
    hashed = hashlib.sha256(b"".join(len(part).to_bytes(2, "big") + part for part in parts)).digest()
    return f"apiserver-{base64.b32encode(hashed[:16]).decode().rstrip('=').lower()}"


def lease(hostname: str, holder: str, address: str, now: datetime) -> api.Lease:
    """The Lease of the server on this host: `holder` is one start of it, `address` where peers reach it."""
    metadata = api.ObjectMeta(
        name=identity(hostname),
        namespace=NAMESPACE,
        labels={LABEL: SERVER, "kubernetes.io/hostname": hostname},
        annotations={_ADDRESS: address},
    )
    spec = api.LeaseSpec(holderIdentity=holder, leaseDurationSeconds=LEASE_S, renewTime=micro_time(now))
    return api.Lease(metadata=metadata, spec=spec)


def expired(found: api.Lease, now: datetime) -> bool:
    """Whether this is the Lease of a server that has not been there for as long as it lasts."""
    if found.metadata.labels.get(LABEL) != SERVER:
        return False
    spec = found.spec
    if spec.renewTime is None or spec.leaseDurationSeconds is None:
        return True
    try:
        return parse_micro_time(spec.renewTime) + timedelta(seconds=spec.leaseDurationSeconds) < now
    except ValueError:  # a day that no month has: no server wrote that
        return True
    except OverflowError:  # a time past all calendars has not come
        return False


def ready(found: api.ServiceCIDR, now: datetime) -> api.ServiceCIDR | None:
    """The default range with its condition; None where it has one, or goes."""
    if found.metadata.deletionTimestamp is not None:
        return None
    if any(each.type == _READY for each in found.status.conditions):
        return None
    fresh: api.ServiceCIDR = codec.copy(found)
    message = "Kubernetes default Service CIDR is ready"
    fresh.status.conditions.append(
        api.Condition(type=_READY, status="True", reason="", message=message, lastTransitionTime=now)
    )
    return fresh


class Presence:
    """Keeps these for one server."""

    def __init__(
        self, resources: Resources, own: OwnWrites, clock: Clock, hostname: str, start: str, address: str
    ) -> None:
        self._leases = resources.of(api.Lease)
        self._maps = resources.of(api.ConfigMap)
        self._ranges = resources.of(api.ServiceCIDR)
        self._own = own
        self._clock = clock
        self._hostname = hostname
        self._holder = f"{identity(hostname)}_{start}"
        self._address = address
        self._swept_s: float | None = None

    async def run(self) -> None:
        """Renew and mend until cancelled."""
        while True:
            with contextlib.suppress(StatusError):  # the store cannot be written just now
                await self.once()
            await self._clock.sleep(RENEW_EVERY_S)

    async def once(self) -> None:
        """Do all that is due. Raises StatusError."""
        now = self._clock.now()
        await self._renew(now)
        if self._maps.cache.get(NAMESPACE, TRACKING) is None:
            metadata = api.ObjectMeta(name=TRACKING, namespace=NAMESPACE)
            since = now.date().isoformat()
            await self._own.create(self._maps, api.ConfigMap(metadata=metadata, data={"since": since}))
        held = _stored(self._ranges, "", DEFAULT_CIDR)
        mended = ready(held, now.replace(microsecond=0)) if held is not None else None
        if mended is not None:
            await self._own.update(self._ranges, mended, "status")
        now_s = self._clock.monotonic_s()
        if self._swept_s is None or now_s - self._swept_s >= SWEEP_EVERY_S:
            self._swept_s = now_s
            await self._sweep(now)

    async def _renew(self, now: datetime) -> None:
        wanted = lease(self._hostname, self._holder, self._address, now)
        held = _stored(self._leases, NAMESPACE, wanted.metadata.name or "")
        if held is None:
            await self._own.create(self._leases, wanted)
            return
        held.metadata.labels = {**held.metadata.labels, **wanted.metadata.labels}
        held.metadata.annotations = {**held.metadata.annotations, **wanted.metadata.annotations}
        held.spec = wanted.spec
        await self._own.update(self._leases, held, "")

    async def _sweep(self, now: datetime) -> None:
        for item in list(self._leases.cache.items(NAMESPACE)):
            held = self._leases.decode_stored(item.data)
            if expired(held, now):
                await self._own.delete(self._leases, held)


def _stored(resource: Resource, namespace: str, name: str) -> Any | None:
    item = resource.cache.get(namespace, name)
    return resource.decode_stored(item.data) if item is not None else None
