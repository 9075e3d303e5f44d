"""All that a node does for drivers, put together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.node.config import AgentConfig
from sampan.node.drivers.claims import TYPE as CLAIMS
from sampan.node.drivers.claims import Claims
from sampan.node.drivers.csi import TYPE as CSI
from sampan.node.drivers.csi import CsiDrivers
from sampan.node.drivers.deviceplugins import TYPE as DEVICE_PLUGIN
from sampan.node.drivers.deviceplugins import DevicePlugins
from sampan.node.drivers.edits import Edits, merged
from sampan.node.drivers.podresourceserver import PodResourcesServer
from sampan.node.drivers.registry import Handler, Registry
from sampan.node.drivers.slices import SliceKeeper
from sampan.schema import api

# Below the node's directory, as below kubelet's.
REGISTRY: Final = "plugins_registry"
PLUGINS: Final = "plugins"


class Drivers:
    """Implements PodResources."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        config: AgentConfig,
        changed: Callable[[], None],
        health_changed: Callable[[Collection[str]], None],
    ) -> None:
        """`changed` is called whenever what drivers add to the node's status has changed, `health_changed`
        with pods (uids) whose devices may be in another state now.
        """
        root = config.root_dir
        self._root = Path(root)
        self.claims = Claims(client, clock, root, health_changed=health_changed)
        self._slices = SliceKeeper(client, clock, config.node_name, self.claims)
        self.plugins = DevicePlugins(clock, root, changed, health_changed=health_changed)
        self.csi = CsiDrivers(client, clock, config.node_name, root, changed)
        self._pod_resources = PodResourcesServer(clock, root, self.claims, self.plugins)
        handlers: dict[str, Handler] = {CLAIMS: self._slices, DEVICE_PLUGIN: self.plugins, CSI: self.csi}
        self.registry = Registry(f"{root}/{REGISTRY}", clock, handlers)

    def work(self, pods: Callable[[], Iterable[api.Pod]]) -> Iterable[Coroutine[Any, Any, None]]:
        """What is to run beside the agent, until cancelled, once the node's pods are known."""
        for name in (REGISTRY, PLUGINS):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        return (
            self.registry.run(),
            self.claims.run(pods),
            self.claims.health.run(),
            self._slices.run(),
            self.plugins.run(pods),
            self.csi.run(pods),
            self._pod_resources.run(pods),
        )

    def amounts(self) -> Mapping[str, tuple[int, int]]:
        """Capacity and allocatable of the resources that drivers offer."""
        return self.plugins.amounts()

    async def prepare(self, pod: api.Pod) -> None:
        await self.claims.prepare(pod)
        await self.plugins.prepare(pod)

    async def edits(self, pod: api.Pod, container: api.Container) -> Edits:
        return merged((await self.claims.edits(pod, container), await self.plugins.edits(pod, container)))

    def health(self, pod: api.Pod) -> Mapping[str, tuple[api.ResourceStatus, ...]]:
        found = dict(self.plugins.health_of(pod))
        for name, statuses in self.claims.health_of(pod).items():
            found[name] = (*found.get(name, ()), *statuses)
        return found

    async def release(self, pod: api.Pod) -> None:
        await self.claims.release(pod)
        await self.plugins.release(pod)
