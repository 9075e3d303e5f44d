"""The pod resources API of kubelet: what monitoring agents ask which pod has which devices.

`pod-resources/kubelet.sock` below the node's directory, for whom the agent runs as (root): the directory and
the socket are closed to others, as kubelet's are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.node.drivers.claims import Claims
from sampan.node.drivers.deviceplugins import DevicePlugins
from sampan.node.drivers.podresources import device_fields, listed_pods, old_pod_fields, pod_fields
from sampan.node.drivers.server import Answer, Refusal, Server, surely
from sampan.node.runtimes.cri.messages import message
from sampan.schema import api

DIRECTORY: Final = "pod-resources"
SOCKET: Final = "kubelet.sock"
DIRECTORY_MODE: Final = 0o750
SOCKET_MODE: Final = 0o755
# How many calls there may be in a second, and at once, as with kubelet; further ones are refused.
CALLS_A_SECOND: Final = 100.0
MOST_AT_ONCE: Final = 10

_log = logging.getLogger(__name__)


class PodResourcesServer:
    """Answers from what the node's claims and device plugins know."""

    def __init__(self, clock: Clock, root_dir: str, claims: Claims, plugins: DevicePlugins) -> None:
        self._claims = claims
        self._plugins = plugins
        self._directory = Path(root_dir) / DIRECTORY
        self._limit = Limit(clock)

    async def run(self, pods: Callable[[], Iterable[api.Pod]]) -> None:
        """Serve until cancelled. A socket that cannot be had is logged, and the node goes on without it."""
        lister = Lister(pods, self._claims, self._plugins)
        methods: dict[str, dict[str, Answer]] = {
            "v1.PodResourcesLister": {
                "List": lister.list,
                "GetAllocatableResources": lister.allocatable,
                "Get": lister.get,
            },
            "v1alpha1.PodResourcesLister": {"List": lister.list_old},
        }
        server = Server(str(self._directory / SOCKET), methods, allow=self._limit.allow)
        try:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._directory.chmod(DIRECTORY_MODE)
                await server.start()
                (self._directory / SOCKET).chmod(SOCKET_MODE)
            except OSError as problem:
                _log.warning("the pod resources API is not served at %s: %s", server.path, problem)
            await asyncio.Event().wait()
        finally:
            await surely(server.stop())


class Limit:
    """A bucket of calls that fills up again with time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: float = MOST_AT_ONCE
        self._at_s = clock.monotonic_s()

    def allow(self) -> bool:
        """Whether there may be one more call now; it counts if so."""
        now_s = self._clock.monotonic_s()
        self._calls = min(MOST_AT_ONCE, self._calls + (now_s - self._at_s) * CALLS_A_SECOND)
        self._at_s = now_s
        if self._calls < 1:
            return False
        self._calls -= 1
        return True


class Lister:
    """The methods of `PodResourcesLister`."""

    def __init__(self, pods: Callable[[], Iterable[api.Pod]], claims: Claims, plugins: DevicePlugins) -> None:
        self._pods = pods
        self._claims = claims
        self._plugins = plugins

    async def list(self, _: Any) -> Any:
        found = [self._of(pod) for pod in listed_pods(self._pods())]
        return message("v1.ListPodResourcesResponse")(pod_resources=found)

    async def list_old(self, _: Any) -> Any:
        pods = [pod for pod in self._pods() if pod.spec.nodeName]
        found = [old_pod_fields(pod, self._plugins.held_by(pod)) for pod in pods]
        return message("v1alpha1.ListPodResourcesResponse")(pod_resources=found)

    async def allocatable(self, _: Any) -> Any:
        found = [
            fields
            for resource, devices in sorted(self._plugins.allocatable().items())
            for fields in device_fields(resource, devices, devices)
        ]
        return message("v1.AllocatableResourcesResponse")(devices=found)

    async def get(self, request: Any) -> Any:
        name, namespace = request.pod_name, request.pod_namespace
        for pod in self._pods():
            if (pod.metadata.namespace, pod.metadata.name) == (namespace, name) and pod.spec.nodeName:
                return message("v1.GetPodResourcesResponse")(pod_resources=self._of(pod))
        raise Refusal(f"pod {name} in namespace {namespace} not found", code="UNKNOWN")

    def _of(self, pod: api.Pod) -> dict[str, Any]:
        return pod_fields(pod, self._plugins.held_by(pod), self._claims.prepared_for(pod))
