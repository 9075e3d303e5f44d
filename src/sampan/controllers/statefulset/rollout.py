"""Which pods of a StatefulSet are made, removed or replaced next: updateStatefulSet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from sampan.client.effects import Create, Effect, Emit, Patch, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.revisions import template_of
from sampan.controllers.statefulset import claims as pvcs
from sampan.controllers.statefulset.identity import labels, make_pod, ordinal_of, ordinals, pod_name, start
from sampan.controllers.statefulset.view import (
    is_available,
    is_leaving,
    is_parallel,
    is_rolling,
    is_running_and_ready,
    max_unavailable,
    partition,
    revision_of,
)
from sampan.schema import api

# At most so many pods are created or deleted for one plan.
BURST = 500


class Revisions(msgspec.Struct, frozen=True):
    """The revision that pods are updated from, and the one that they are updated to."""

    current: api.ControllerRevision
    update: api.ControllerRevision


class Step:
    """One step: reads pods and claims as they are, gathers effects, and says what it waits for."""

    def __init__(
        self,
        owner: api.StatefulSet,
        pods: Sequence[api.Pod],
        claims: pvcs.Claims,
        revisions: Revisions,
        now: datetime,
    ) -> None:
        self.effects: list[Effect] = []
        self.waiting_for = ""
        self._owner = owner
        self._claims = claims
        self._revisions = revisions
        self._now = now
        known = {ordinal_of(owner, pod): pod for pod in pods}
        self._replicas = {ordinal: known.get(ordinal) for ordinal in ordinals(owner)}
        outside = [n for n in known if n is not None and n not in self._replicas]
        self._condemned = [known[ordinal] for ordinal in sorted(outside)]

    def take(self) -> None:
        """Bring up what is missing, then remove what is too much, then update, each only after the other."""
        for ordinal, pod in self._replicas.items():
            if self._keep(ordinal, pod) or len(self.effects) >= BURST:
                return
        for pod in self._condemned:
            self.effects += pvcs.settle(self._owner, pod, self._claims)
        for pod in reversed(self._condemned):
            if self._condemn(pod) or len(self.effects) >= BURST:
                return
        if is_rolling(self._owner):
            self._update()

    def _keep(self, ordinal: int, pod: api.Pod | None) -> bool:
        """Have the pod with this ordinal be there and fit; gives whether all others wait for it."""
        ordered = not is_parallel(self._owner)
        if pod is None:
            return self._create(ordinal) and ordered
        name = pod.metadata.name
        if podutil.is_finished(pod):
            if not is_leaving(pod):
                self._recreate(pod)
            return self._wait(f"pod {name} to go, so that it can be made anew", ordered)
        if not pod.status.phase or pod.status.phase == "Pending":
            self.effects += pvcs.missing(self._owner, name or "", self._claims)
        if is_leaving(pod):
            return self._wait(f"pod {name} to end", ordered)
        if not is_available(self._owner, pod, self._now):
            self._fit(ordinal, pod)
            return self._wait(f"pod {name} to become available", ordered)
        self._fit(ordinal, pod)
        return False

    def _create(self, ordinal: int) -> bool:
        owner, name = self._owner, pod_name(self._owner, ordinal)
        if pvcs.is_held_up(owner, name, self._claims):
            self.waiting_for = f"the old claims of pod {name} to go"
            return True
        revision = self._revision_for(ordinal)
        pod = make_pod(owner, template_of(revision), revision.metadata.name or "", ordinal)
        what = f"Create Pod {name} in StatefulSet {owner.metadata.name}"
        done = Emit(ref_of(owner), "Normal", "SuccessfulCreate", f"{what} successful")
        failed = Emit(ref_of(owner), "Warning", "FailedCreate", f"{what} failed error: {{error}}")
        self.effects += pvcs.missing(owner, name, self._claims)
        self.effects.append(Create(pod, done=done, failed=failed))
        self.waiting_for = self.waiting_for or f"pod {name} to become available"
        return True

    def _revision_for(self, ordinal: int) -> api.ControllerRevision:
        """What is made anew below the partition keeps the old revision."""
        owner = self._owner
        strategy = owner.spec.updateStrategy
        if not is_rolling(owner):
            return self._revisions.update
        if strategy is None or strategy.rollingUpdate is None:
            kept = owner.status.currentReplicas or 0
        else:
            kept = partition(owner)
        return self._revisions.current if ordinal < start(owner) + kept else self._revisions.update

    def _recreate(self, pod: api.Pod) -> None:
        where = f"{self._owner.metadata.namespace}/{self._owner.metadata.name}"
        failed = pod.status.phase == "Failed"
        word, reason = (
            ("failed", "RecreatingFailedPod") if failed else ("terminated", "RecreatingTerminatedPod")
        )
        message = f"StatefulSet {where} is recreating {word} Pod {pod.metadata.name}"
        self.effects.append(Emit(ref_of(self._owner), "Warning" if failed else "Normal", reason, message))
        self._remove(pod)

    def _fit(self, ordinal: int, pod: api.Pod) -> None:
        """Give the pod back the labels of its identity, and its claims to whom they belong."""
        wanted = labels(pod.metadata.name or "", ordinal)
        if any(pod.metadata.labels.get(key) != value for key, value in wanted.items()):
            meta = {"uid": pod.metadata.uid, "labels": wanted}
            self.effects.append(Patch(ref_of(pod), {"metadata": meta}))
        self.effects += pvcs.settle(self._owner, pod, self._claims)

    def _condemn(self, pod: api.Pod) -> bool:
        """Remove a pod that is too much; gives whether the ones before it wait."""
        ordered = not is_parallel(self._owner)
        if is_leaving(pod):
            return self._wait(f"pod {pod.metadata.name} to end", ordered)
        if ordered and not is_available(self._owner, pod, self._now) and pod is not self._first_unhealthy():
            return self._wait(f"pod {pod.metadata.name} to become available before it is removed", ordered)
        self._remove(pod)
        return self._wait(f"pod {pod.metadata.name} to end", ordered)

    def _first_unhealthy(self) -> api.Pod | None:
        everyone = [*self._replicas.values(), *self._condemned]
        return next((p for p in everyone if p is not None and not _is_healthy(p)), None)

    def _update(self) -> None:
        """Replace what is not of the update revision, highest ordinal first, `maxUnavailable` at a time.

        A pod that is unavailable anyhow takes nothing from that limit, but waits for those above it.
        """
        owner, most = self._owner, max_unavailable(self._owner)
        pods = [(ordinal, pod) for ordinal, pod in self._replicas.items() if pod is not None]
        down = {ordinal for ordinal, pod in pods if not self._is_up(pod)}
        unavailable = len(self._replicas) - len(pods) + len(down)
        above = len(self._replicas) - len(pods)
        for ordinal, pod in reversed(pods):
            if ordinal < start(owner) + partition(owner) or above >= most:
                break
            if revision_of(pod) != self._revisions.update.metadata.name and not is_leaving(pod):
                if ordinal not in down and unavailable >= most:
                    break
                self._remove(pod)
                unavailable += ordinal not in down
                down.add(ordinal)
            above += ordinal in down
        if above:
            self.waiting_for = self.waiting_for or "updated pods to become available"

    def _is_up(self, pod: api.Pod) -> bool:
        return is_available(self._owner, pod, self._now) and not is_leaving(pod)

    def _remove(self, pod: api.Pod) -> None:
        about = ref_of(self._owner)
        ref = msgspec.structs.replace(ref_of(pod), resource_version="")
        what = f"Delete Pod {pod.metadata.name} in StatefulSet {self._owner.metadata.name}"
        done = Emit(about, "Normal", "SuccessfulDelete", f"{what} successful")
        failed = Emit(about, "Warning", "FailedDelete", f"{what} failed error: {{error}}")
        self.effects.append(Remove(ref, done=done, failed=failed))

    def _wait(self, sentence: str, ordered: bool) -> bool:
        self.waiting_for = self.waiting_for or sentence
        return ordered


def _is_healthy(pod: api.Pod) -> bool:
    return is_running_and_ready(pod) and not is_leaving(pod)
