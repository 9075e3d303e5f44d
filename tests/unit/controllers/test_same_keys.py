"""A watch that says that an object has the keys it had is right about that."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.client.cache import Cache
from sampan.client.resources import resource_of
from sampan.controllers.catalog import controllers
from sampan.controllers.runtime.controller import Caches, Controller, Watch, root_of
from sampan.schema import api

NAMESPACE = "default"
_NEVER = Watch(api.Pod, lambda *_: ()).same
BY_POD_OWNER = [
    (one, watch)
    for one in controllers()
    for watch in one.watches
    if watch.kind is api.Pod and watch.same is not _NEVER
]
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "web-uid", "controller": True}
BATCH = {**OWNER, "apiVersion": "batch/v1", "kind": "Job"}


class Held(Caches):
    """One object of the controller's kind, which selects `app=web`."""

    def __init__(self, controller: Controller) -> None:
        self._caches: dict[Any, Cache[Any]] = {}
        root = root_of(controller)
        assert root is not None
        spec = type(root.type().spec)()
        labels = {"app": "web"}
        old = root.type is api.ReplicationController
        spec.selector = labels if old else api.LabelSelector(matchLabels=labels)
        meta = api.ObjectMeta(name="web", namespace=NAMESPACE, uid="web-uid")
        self.of(root.type).put(root.type(metadata=meta, spec=spec))

    def of(self, kind: Any) -> Cache[Any]:
        return self._caches.setdefault(kind, Cache())

    def failure(self, key: Any) -> None:
        return None

    @property
    def everything(self) -> Any:
        raise KeyError


def _pods() -> list[api.Pod]:
    made = []
    for labels, owner, gone, phase in product(
        ({"app": "web"}, {}), (None, OWNER, BATCH), (0, 1), ("", "Running")
    ):
        meta = api.ObjectMeta(name="p", namespace=NAMESPACE, uid="p-uid", labels=dict(labels))
        meta.ownerReferences = [api.OwnerReference(**owner)] if owner else []
        meta.deletionTimestamp = datetime(2026, 1, 1, tzinfo=UTC) if gone else None
        made.append(replace(api.Pod(metadata=meta), status=api.PodStatus(phase=phase or None)))
    return made


@pytest.mark.parametrize(("controller", "watch"), BY_POD_OWNER, ids=[one.name for one, _ in BY_POD_OWNER])
def test_pods_that_belong_as_before_have_the_keys_they_had(controller: Controller, watch: Watch) -> None:
    caches, root = Held(controller), resource_of(controller.kind)
    keys = [(pod, list(watch.keys(root, caches, pod))) for pod in _pods()]
    assert any(found for _, found in keys)
    said = 0
    for (old, before), (new, after) in product(keys, repeat=2):
        if watch.same(old, new):
            said += 1
            assert before == after
    assert said > len(keys)  # of others than themselves, too


def test_it_is_about_those_who_own_pods() -> None:
    assert {one.name for one, _ in BY_POD_OWNER} >= {"replicaset", "statefulset", "daemonset", "job"}
