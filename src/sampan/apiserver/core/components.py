"""ComponentStatuses: whether controllers, scheduler and store work. Deprecated, and still looked at.

kube-apiserver asks the health endpoints of its neighbours on loopback. Here controllers and scheduler go by
the Lease that they lead by, wherever they run; of those in the server's own process it is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sampan.apiserver.core import formats, status
from sampan.apiserver.core.list_options import selection
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource, Resources
from sampan.base.clock import Clock
from sampan.schema import api, codec
from sampan.store.watchcache import WatchCache

_NAMESPACE: Final = "kube-system"
# One process is both, and leads by one Lease.
_LEASE: Final = "kube-controller-manager"
_LED: Final = ("controller-manager", "scheduler")
_STORE: Final = "etcd-0"


class Components:
    """What is known of the parts of the control plane."""

    def __init__(self, resources: Resources, cache: WatchCache, clock: Clock) -> None:
        self._leases = resources.of(api.Lease)
        self._cache = cache
        self._clock = clock
        # Controllers and scheduler are in this process.
        self.here = False

    def answer(self, request: Request, resource: Resource, verb: str, name: str) -> Response:
        """GET and LIST. Raises 404, 406."""
        form = formats.negotiate(request.accept)
        tables = formats.Tables(resource, self._clock.now, request.query.get("includeObject", ""))
        every = list(self._statuses())
        if verb == "get":
            found = next((each for each in every if each.metadata.name == name), None)
            if found is None:
                raise _not_found(name)
            found.kind, found.apiVersion = "ComponentStatus", "v1"
            return formats.one(form, codec.encode(found), tables, 0)
        chosen = selection(request, resource)
        shown = [codec.encode(each) for each in every if chosen.labels is None or chosen.labels.matches({})]
        if chosen.fields is not None:
            shown = [data for data in shown if resource.selects(chosen.fields, data)]
        return formats.many(form, resource, shown, {}, tables)

    def _statuses(self) -> Iterator[api.ComponentStatus]:
        why = "" if self.here else self._why_not_led(self._clock.now())
        for name in _LED:
            yield _status(name, why)
        yield _status(_STORE, "the store cannot be read" if self._cache.failed else "")

    def _why_not_led(self, now: datetime) -> str:
        """What is wrong with the Lease of the controllers; "" where somebody holds it."""
        where = f"{_NAMESPACE}/{_LEASE}"
        item = self._leases.cache.get(_NAMESPACE, _LEASE)
        if item is None:
            return f"nobody has taken the Lease {where} yet"
        spec: api.LeaseSpec = self._leases.decode_stored(item.data).spec
        if not spec.holderIdentity or spec.renewTime is None:
            return f"nobody holds the Lease {where}"
        renewed = datetime.fromisoformat(spec.renewTime)
        if now > renewed + timedelta(seconds=spec.leaseDurationSeconds or 0):
            return f"the Lease {where} has not been renewed since {renewed:%Y-%m-%dT%H:%M:%SZ}"
        return ""


def _status(name: str, why: str) -> api.ComponentStatus:
    condition = api.ComponentCondition(type="Healthy", status="False" if why else "True", message=why or "ok")
    return api.ComponentStatus(metadata=api.ObjectMeta(name=name), conditions=[condition])


def _not_found(name: str) -> status.StatusError:
    details = {"name": name, "kind": "componentstatus"}
    return status.StatusError(404, "NotFound", f'componentstatus "{name}" not found', details)
