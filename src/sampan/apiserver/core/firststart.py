"""What every cluster holds, written at its first start in a few commits.

Made by requests, some two hundred objects would each be checked, admitted and committed by itself, in every
cluster alike. Their bytes are made once in a process instead, with marks in place of what differs between
clusters (uids and times), and committed together. What depends on the cluster's own state, such as the
address of a Service, is not for here; nor is a cluster that was started before, whose objects may have been
changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from sampan.apiserver.core import bootstrap, serverset
from sampan.apiserver.core.aggregation import plans
from sampan.apiserver.core.context import own_manager
from sampan.apiserver.core.flowcontrol import defaults, upkeep
from sampan.base.ids import Ids
from sampan.kinds import registry
from sampan.machinery.patch.apply import writers
from sampan.schema import api, codec
from sampan.store.backend import Conflict, Guard, Put, Store

# As many operations as etcd takes in one transaction by default, less some.
MAX_OPS: Final = 100
# Sets of versions whose objects are kept; a process has servers of one or two.
_KEPT: Final = 8
_UID: Final = "00000000-0000-4000-8000-000000000000"
_TIME: Final = datetime(1, 2, 3, 4, 5, 6, tzinfo=UTC)
_UID_BYTES: Final = _UID.encode()
_TIME_BYTES: Final = b'"0001-02-03T04:05:06Z"'

# The groups that are served, with their versions.
Versions = tuple[tuple[str, tuple[str, ...]], ...]


async def write(store: Store, versions: Versions, ids: Ids, now: datetime) -> int:
    """Commit it all, and return the revision; 0 where another server was faster with any of it.

    Namespaces are in the first commit: nothing may be in one before it is there. Raises StoreUnavailable.
    """
    stamp = codec.encode(now)
    puts = [
        Put(key, text.replace(_UID_BYTES, ids.uid().encode()).replace(_TIME_BYTES, stamp))
        for key, text in _templates(versions)
    ]
    revision = 0
    for start in range(0, len(puts), MAX_OPS):
        part = puts[start : start + MAX_OPS]
        outcome = await store.commit([Guard(put.key, 0) for put in part], part)
        if isinstance(outcome, Conflict):
            return 0
        revision = outcome.revision
    return revision


@lru_cache(maxsize=_KEPT)
def _templates(versions: Versions) -> tuple[tuple[str, bytes], ...]:
    """Keys, and the bytes with the marks in them."""
    return tuple(_template(obj) for obj in _objects(versions))


def _objects(versions: Versions) -> Iterator[Any]:
    yield from bootstrap.everywhere()
    yield from plans.local_services(dict(versions))
    yield from defaults.priority_levels()
    yield from defaults.flow_schemas()


def _template(obj: Any) -> tuple[str, bytes]:
    kind, metadata = registry.by_type(type(obj)), obj.metadata
    metadata.uid, metadata.creationTimestamp = _UID, _TIME
    metadata.generation = 1 if kind.generation else None
    lacks = serverset.lacking(kind.kind, obj)
    kind.default(obj)
    kind.prepare_create(obj)
    obj = _with_status(obj)
    owners = writers.created(own_manager(kind.group), kind.api_version, lacks)
    obj.kind, obj.apiVersion, obj.metadata.resourceVersion = kind.kind, kind.api_version, owners
    return registry.storage_key(kind, metadata.namespace or "", metadata.name), codec.encode(obj)


def _with_status(obj: Any) -> Any:
    """The object as those who look after its status will want it."""
    if isinstance(obj, api.APIService):
        return plans.with_condition(obj, *plans.LOCAL, _TIME)
    if isinstance(obj, api.FlowSchema):
        return upkeep.dangling(obj, _level_names(), _TIME)
    return obj


def _level_names() -> frozenset[str]:
    return frozenset(level.metadata.name or "" for level in defaults.priority_levels())
