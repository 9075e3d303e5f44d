"""The changes to ReplicaSets that a plan makes, and how the ReplicaSets look after them."""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.client.effects import Create, Effect, Emit, Patch, Remove
from sampan.client.resources import ref_of
from sampan.controllers.deployment.view import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    created,
    max_replicas,
    size,
    wanted,
)
from sampan.schema import api


class Draft:
    """ReplicaSets by name as they will be, and the effects that make them so."""

    def __init__(self, deployment: api.Deployment, replicasets: list[api.ReplicaSet]) -> None:
        self.deployment = deployment
        self.effects: list[Effect] = []
        self.events: list[Emit] = []
        self._before = {_name(one): one for one in replicasets}
        self._now = dict(self._before)
        self.new_name = ""
        # Why the new one could not be made the last time.
        self.refusal = ""

    @property
    def all(self) -> list[api.ReplicaSet]:
        """Every ReplicaSet, oldest first."""
        return sorted(self._now.values(), key=created)

    @property
    def new(self) -> api.ReplicaSet | None:
        """The one whose template is the Deployment's."""
        return self._now.get(self.new_name)

    @property
    def old(self) -> list[api.ReplicaSet]:
        """All others, oldest first."""
        return [one for one in self.all if _name(one) != self.new_name]

    @property
    def is_changed(self) -> bool:
        return bool(self.effects) or self._now != self._before

    def create(self, replicaset: api.ReplicaSet) -> None:
        """Make a ReplicaSet, which becomes the new one."""
        self._now[_name(replicaset)] = self._before[_name(replicaset)] = replicaset
        self.new_name = _name(replicaset)
        self.effects.append(Create(replicaset))
        if size(replicaset):
            self._scaled_event(replicaset, 0, size(replicaset))

    def change(self, replicaset: api.ReplicaSet) -> None:
        """Have the ReplicaSet look like this."""
        self._now[_name(replicaset)] = replicaset

    def scale(self, replicaset: api.ReplicaSet, replicas: int) -> bool:
        """Scale, and note what was asked for when; gives whether the size changed."""
        marks = {
            DESIRED_REPLICAS: str(wanted(self.deployment)),
            MAX_REPLICAS: str(max_replicas(self.deployment)),
        }
        before = size(replicaset)
        meta = msgspec.structs.replace(
            replicaset.metadata, annotations={**replicaset.metadata.annotations, **marks}
        )
        spec = msgspec.structs.replace(replicaset.spec, replicas=replicas)
        self.change(msgspec.structs.replace(replicaset, metadata=meta, spec=spec))
        if before != replicas:
            self._scaled_event(replicaset, before, replicas)
        return before != replicas

    def remove(self, replicaset: api.ReplicaSet) -> None:
        self.effects.append(Remove(ref_of(replicaset)))
        self._now.pop(_name(replicaset), None)

    def finish(self) -> list[Effect]:
        """Every effect, in order; the events come after what they tell of."""
        patches = [
            Patch(ref_of(one), changes)
            for name, one in self._now.items()
            if (changes := _difference(self._before[name], one))
        ]
        return [*self.effects, *patches, *self.events]

    def _scaled_event(self, replicaset: api.ReplicaSet, before: int, after: int) -> None:
        word = "up" if after > before else "down"
        message = f"Scaled {word} replica set {_name(replicaset)} from {before} to {after}"
        self.events.append(Emit(ref_of(self.deployment), "Normal", "ScalingReplicaSet", message))


def _name(replicaset: api.ReplicaSet) -> str:
    return replicaset.metadata.name or ""


def _difference(before: api.ReplicaSet, after: api.ReplicaSet) -> dict[str, Any]:
    """A merge patch from one to the other, for exactly the version that was planned with."""
    old, new = before.metadata.annotations, after.metadata.annotations
    annotations = {name: value for name, value in new.items() if old.get(name) != value}
    spec = {
        field: getattr(after.spec, field)
        for field in ("replicas", "minReadySeconds")
        if getattr(after.spec, field) != getattr(before.spec, field)
    }
    if not annotations and not spec:
        return {}
    meta: dict[str, Any] = {"uid": after.metadata.uid, "resourceVersion": after.metadata.resourceVersion}
    if annotations:
        meta["annotations"] = annotations
    return {"metadata": meta, "spec": spec} if spec else {"metadata": meta}
