"""Watches the ConfigMaps and Secrets that volumes show, one by one as the node may, and trust bundles."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.informer import Informer
from sampan.node.volumes.plan import Needs
from sampan.schema import api

# More objects than this are not watched; the slow round still finds their changes.
WATCHES_MOST: Final = 512

_KINDS: Final[dict[str, type[Any]]] = {
    "ConfigMap": api.ConfigMap,
    "Secret": api.Secret,
    "ClusterTrustBundle": api.ClusterTrustBundle,
}

_log = logging.getLogger(__name__)
Target = tuple[str, str, str]  # kind, namespace, name


class _Watch(msgspec.Struct):
    task: asyncio.Task[None]
    pods: set[str]


class WatchedObjects:
    """One watch for each object however many pods show it; `changed(uid)` is called for each of those."""

    def __init__(self, client: Client, clock: Clock, changed: Callable[[str], None]) -> None:
        self._client = client
        self._clock = clock
        self._changed = changed
        self._watches: dict[Target, _Watch] = {}
        self._wanted: dict[str, set[Target]] = defaultdict(set)

    def want(self, uid: str, namespace: str, needs: Iterable[Needs]) -> None:
        """Watch what the pod's volumes show."""
        targets: set[Target] = set()
        for need in needs:
            targets |= {("ConfigMap", namespace, name) for name in need.config_maps}
            targets |= {("Secret", namespace, name) for name in need.secrets}
            if need.trust_bundles:
                targets.add(("ClusterTrustBundle", "", ""))
        for target in targets - self._wanted[uid]:
            self._join(target, uid)
        for target in self._wanted[uid] - targets:
            self._leave(target, uid)
        self._wanted[uid] = targets

    def drop(self, uid: str) -> None:
        """The pod is gone."""
        for target in self._wanted.pop(uid, set()):
            self._leave(target, uid)

    def close(self) -> None:
        for watch in self._watches.values():
            watch.task.cancel()
        self._watches.clear()

    def _join(self, target: Target, uid: str) -> None:
        watch = self._watches.get(target)
        if watch is not None:
            watch.pods.add(uid)
            return
        if len(self._watches) >= WATCHES_MOST:
            _log.warning(
                "%d objects are watched already; %s/%s is looked at now and then", WATCHES_MOST, *target[1:]
            )
            return
        kind, namespace, name = target
        informer: Informer[Any] = Informer(
            self._client,
            _KINDS[kind],
            self._clock,
            namespace=namespace,
            fields=f"metadata.name={name}" if name else "",
        )
        pods = {uid}
        informer.on_change(lambda old, new: self._tell(target))
        task = asyncio.get_running_loop().create_task(informer.run())
        self._watches[target] = _Watch(task, pods)

    def _leave(self, target: Target, uid: str) -> None:
        watch = self._watches.get(target)
        if watch is None:
            return
        watch.pods.discard(uid)
        if not watch.pods:
            watch.task.cancel()
            del self._watches[target]

    def _tell(self, target: Target) -> None:
        watch = self._watches.get(target)
        for uid in tuple(watch.pods) if watch is not None else ():
            self._changed(uid)
