"""Looks each minute at what the targets of VerticalPodAutoscalers use, and says what they should ask for.

It does nothing while no definition of VerticalPodAutoscaler is installed. What it has seen is kept in memory:
a new process begins to watch anew, with wide bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from sampan.autoscaler.vertical.objects import PATH, PLURAL, Vpa, Vpas, policy_of, status_of
from sampan.autoscaler.vertical.recommend import Recommendation, Watched, recommend, to_resize
from sampan.base.clock import Clock
from sampan.client.client import STRATEGIC, Client
from sampan.client.discovery import Discovery, UnknownKind
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import Partial, Resource
from sampan.controllers.horizontalpodautoscaler.sources import PodMetrics, usage_of_pods
from sampan.machinery.quantity import quantity
from sampan.schema import api, codec

EVERY_S: Final = 60.0
# Containers that are watched; of more than these, the ones looked at last are not recommended for.
WATCHED_MOST: Final = 10_000
_RESOURCE: Final = Resource("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", PLURAL, True, Partial, ())

# A container's end: the pod's uid, the container's name, and when it was.
End = tuple[str, str, Any]

_log = logging.getLogger(__name__)


class Recommender:
    """Watches, recommends, and resizes where it is asked to."""

    def __init__(self, client: Client, clock: Clock, every_s: float = EVERY_S) -> None:
        self._client = client
        self._clock = clock
        self._every_s = every_s
        self._discovery = Discovery(client)
        # By the autoscaler's uid and the container's name.
        self._watched: dict[tuple[str, str], Watched] = {}
        # The ends by memory that were counted, by the autoscaler's uid: of pods that are still there.
        self._ends: dict[str, set[End]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._clock.sleep(self._every_s)
            try:
                await self.look()
            except (ApiError, ConnectionError, TimeoutError) as problem:
                _log.warning("the vertical recommender looks again later: %s", problem)

    async def look(self) -> None:
        """Look once at every autoscaler."""
        try:
            found = await self._client.read(f"{PATH}/{PLURAL}", Vpas)
        except ApiError as error:
            if is_not_found(error):
                return
            raise
        present = {vpa.metadata.uid for vpa in found.items}
        self._watched = {key: one for key, one in self._watched.items() if key[0] in present}
        self._ends = {uid: ends for uid, ends in self._ends.items() if uid in present}
        for vpa in found.items:
            try:
                await self._one(vpa)
            except (ApiError, UnknownKind, ValueError) as problem:
                name = f"{vpa.metadata.namespace}/{vpa.metadata.name}"
                _log.warning("the vertical autoscaler %s cannot be followed now: %s", name, problem)
                self._discovery.forget()

    async def _one(self, vpa: Vpa) -> None:
        namespace = vpa.metadata.namespace
        selector = await self._selector(vpa)
        if not selector:
            raise ValueError("its target has no selector")
        pods = (await self._client.list(api.Pod, namespace, labels=selector)).items
        self._observe(vpa, pods, await usage_of_pods(self._client, namespace, selector))
        advice = self._advice(vpa, pods)
        status = status_of(advice)
        if advice and vpa.status.get("recommendation") != status["recommendation"]:
            patch = {"status": status}
            await self._client.patch(_RESOURCE, vpa.metadata.name, namespace, patch, subresource="status")
        if vpa.in_place:
            for pod in pods:
                await self._resize(pod, advice)

    async def _selector(self, vpa: Vpa) -> str:
        ref = vpa.spec.target_ref
        resource = await self._discovery.resource(ref.api_version, ref.kind)
        path = resource.path(vpa.metadata.namespace, ref.name, "scale")
        return (await self._client.read(path, api.Scale)).status.selector or ""

    def _observe(self, vpa: Vpa, pods: Iterable[api.Pod], usage: Iterable[PodMetrics]) -> None:
        now = self._clock.now()
        names = set()
        before = self._ends.get(vpa.metadata.uid, set())
        ends: set[End] = set()
        for one in usage:
            pod = one.metadata.name
            for container in one.containers:
                watched = self._of(vpa, container.name)
                if watched is None:
                    continue
                at = one.timestamp or now
                if "cpu" in container.usage:
                    watched.cpu_used(pod, float(quantity(container.usage["cpu"]).value), at)
                if "memory" in container.usage:
                    watched.memory_used(pod, float(quantity(container.usage["memory"]).value), at)
        for made in pods:
            names.add(made.metadata.name or "")
            ends |= self._out_of_memory(vpa, made, before)
        self._ends[vpa.metadata.uid] = ends
        for key, watched in self._watched.items():
            if key[0] == vpa.metadata.uid:
                watched.forget_pods(names)

    def _out_of_memory(self, vpa: Vpa, pod: api.Pod, before: set[End]) -> set[End]:
        """Count the ends that were not counted `before`; all that the pod tells of."""
        found: set[End] = set()
        limits = {c.name: c.resources.limits.get("memory") for c in pod.spec.containers}
        for status in pod.status.containerStatuses:
            ended = status.lastState.terminated if status.lastState is not None else None
            limit = limits.get(status.name)
            if ended is None or ended.reason != "OOMKilled" or limit is None:
                continue
            end = (pod.metadata.uid or "", status.name, ended.finishedAt)
            watched = self._of(vpa, status.name)
            found.add(end)
            if watched is not None and end not in before:
                watched.out_of_memory(pod.metadata.name or "", float(limit.value), self._clock.now())
        return found

    def _of(self, vpa: Vpa, container: str) -> Watched | None:
        key = (vpa.metadata.uid, container)
        if key not in self._watched:
            if len(self._watched) >= WATCHED_MOST:
                return None
            self._watched[key] = Watched()
        return self._watched[key]

    def _advice(self, vpa: Vpa, pods: list[api.Pod]) -> dict[str, Recommendation]:
        names = {container.name for pod in pods for container in pod.spec.containers}
        found: dict[str, Recommendation] = {}
        for name in sorted(names):
            watched = self._watched.get((vpa.metadata.uid, name))
            if watched is None:
                continue
            made = recommend(watched, max(len(names), 1), policy_of(vpa, name))
            if made is not None:
                found[name] = made
        return found

    async def _resize(self, pod: api.Pod, advice: dict[str, Recommendation]) -> None:
        changed = []
        for container in pod.spec.containers:
            one = advice.get(container.name)
            if one is None:
                continue
            resources = to_resize(container.resources.requests, container.resources.limits, one)
            if resources is not None:
                changed.append({"name": container.name, "resources": codec.to_builtins(resources)})
        if not changed or pod.metadata.deletionTimestamp is not None:
            return
        meta = pod.metadata
        await self._client.patch(
            api.Pod,
            meta.name or "",
            meta.namespace or "",
            {"spec": {"containers": changed}},
            patch_type=STRATEGIC,
            subresource="resize",
        )
