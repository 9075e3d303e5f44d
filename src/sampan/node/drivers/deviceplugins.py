"""Device plugins: what they have is in the node's status, and is given to containers that ask for it.

As kubelet's device manager (v1beta1): a plugin registers at `device-plugins/kubelet.sock`, or by plugin
registration, and lists its devices on a stream. What containers have is in a file, so that an agent that
begins again knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sampan.base.clock import Clock
from sampan.kinds.core.allocated_validation import HEALTHY
from sampan.kinds.core.resources import is_extended
from sampan.node.drivers import cdifiles, checkpoint
from sampan.node.drivers.cdi import CdiError, File, edits_of
from sampan.node.drivers.deviceplan import Held, TooFew, Wanted, amounts, choice, chosen, wanted
from sampan.node.drivers.edits import NONE, Edits, merged
from sampan.node.drivers.health import plugin_statuses
from sampan.node.drivers.registry import RegistrationError
from sampan.node.drivers.server import Refusal, Server, surely
from sampan.node.drivers.sockets import DriverClient, real_path
from sampan.node.runtimes.cri.client import UNAVAILABLE
from sampan.node.runtimes.cri.messages import message
from sampan.node.runtimes.runtime import DeviceNode, Mount, RuntimeFailure
from sampan.schema import api

TYPE: Final = "DevicePlugin"
VERSION: Final = "v1beta1"
SERVICE: Final = "v1beta1.DevicePlugin"
DIRECTORY: Final = "device-plugins"
SOCKET: Final = "kubelet.sock"
FAILED: Final = "UnexpectedAdmissionError"
# As kubelet has them.
CONNECT_TIMEOUT_S: Final = 10.0
CONNECT_RETRY_S: Final = 0.2
PRE_START_TIMEOUT_S: Final = 30.0
# How long what a plugin had still counts as the node's capacity once it has stopped.
STOPPED_S: Final = 300.0

_log = logging.getLogger(__name__)


class _State(msgspec.Struct, frozen=True):
    """What is saved: what containers have, and which resources there were."""

    held: tuple[Held, ...] = ()
    resources: tuple[str, ...] = ()


class _Plugin:
    """One plugin that has registered."""

    def __init__(self, endpoint: str, preferring: bool, pre_start: bool) -> None:
        self.endpoint = endpoint
        self.client = DriverClient(endpoint)
        self.preferring = preferring
        self.pre_start = pre_start
        self.task: asyncio.Task[None] | None = None


class DevicePlugins:
    """Implements PodResources for extended resources of plugins, and the registry's Handler for these."""

    def __init__(
        self,
        clock: Clock,
        root_dir: str,
        changed: Callable[[], None],
        *,
        cdi: Callable[[], Sequence[File]] = cdifiles.read,
        health_changed: Callable[[Collection[str]], None] = lambda pods: None,
    ) -> None:
        """`changed` is called whenever what the node offers has changed, `health_changed` with pods (uids)
        whose devices may be in another state now.
        """
        self._clock = clock
        self._root_dir = root_dir
        self._directory = Path(root_dir) / DIRECTORY
        self._changed = changed
        self._cdi = cdi
        self._health_changed = health_changed
        self._file = self._directory / "kubelet_internal_checkpoint"
        self._plugins: dict[str, _Plugin] = {}
        state = checkpoint.load(self._file, _State, _State())
        self._held = list(state.held)
        # Devices and whether they are healthy. Those of an earlier run are not known until they register.
        self._devices: dict[str, dict[str, bool]] = {name: {} for name in state.resources}
        # The last list of each, also once its plugin has stopped.
        self._listed: dict[str, dict[str, bool]] = {}
        self._nodes: dict[str, dict[str, tuple[int, ...]]] = {}
        # What has no plugin that lists it, with the plugin that stopped last.
        self._stopped: dict[str, _Plugin | None] = dict.fromkeys(state.resources)
        self._saved = set(state.resources)
        self._tasks: set[asyncio.Task[None]] = set()

    def amounts(self) -> Mapping[str, tuple[int, int]]:
        """Capacity and allocatable of every resource that plugins have, or had."""
        return amounts(self._devices, self._stopped)

    async def run(self, pods: Callable[[], Iterable[api.Pod]]) -> None:
        """Take registrations until cancelled."""
        known = {pod.metadata.uid for pod in pods()}
        self._held = [held for held in self._held if held.pod in known]
        server = Server(
            str(self._directory / SOCKET), {"v1beta1.Registration": {"Register": self._register_call}}
        )
        try:
            try:
                await server.start()
            except OSError as problem:
                _log.warning("device plugins cannot register at %s: %s", server.path, problem)
            await asyncio.Event().wait()
        finally:
            await surely(server.stop())
            for task in [p.task for p in self._plugins.values() if p.task is not None] + list(self._tasks):
                task.cancel()
            for plugin in self._plugins.values():
                await surely(plugin.client.close())

    # --- registration ---------------------------------------------------------------------------------

    async def _register_call(self, request: Any) -> Any:
        if request.version != VERSION:
            raise Refusal(
                f'requested API version "{request.version}" is not supported by kubelet. Supported version '
                f'is "{VERSION}"'
            )
        options = request.options
        endpoint = str(self._directory / Path(request.endpoint).name)
        try:
            self._add(
                request.resource_name,
                endpoint,
                options.get_preferred_allocation_available,
                options.pre_start_required,
            )
        except RegistrationError as problem:
            raise Refusal(str(problem)) from problem
        return message("v1beta1.Empty")()

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        if VERSION not in versions:
            raise RegistrationError(f"the device plugin {name} does not speak {VERSION}")
        client = DriverClient(real_path(endpoint, self._root_dir))
        try:
            options = await client.call(SERVICE, "GetDevicePluginOptions", timeout_s=CONNECT_TIMEOUT_S)
        finally:
            await client.close()
        self._add(
            name,
            real_path(endpoint, self._root_dir),
            options.get_preferred_allocation_available,
            options.pre_start_required,
        )

    async def deregister(self, name: str, endpoint: str) -> None:
        plugin = self._plugins.get(name)
        # An update registers the new one before the old one's socket goes.
        if plugin is not None and plugin.endpoint == real_path(endpoint, self._root_dir):
            self._begin(self._stop(name, plugin))

    def _add(self, name: str, endpoint: str, preferring: bool, pre_start: bool) -> None:
        if not is_extended(name):
            raise RegistrationError(f'the ResourceName "{name}" is invalid')
        before = self._plugins.get(name)
        plugin = self._plugins[name] = _Plugin(endpoint, preferring, pre_start)
        if before is not None:
            self._begin(self._end(before))
        plugin.task = asyncio.create_task(self._follow(name, plugin))

    async def _follow(self, name: str, plugin: _Plugin) -> None:
        """Keep the list of a plugin's devices until it ends."""
        try:
            await self._connected(plugin)
            async for listed in plugin.client.stream(SERVICE, "ListAndWatch"):
                self._take_list(name, listed)
            _log.info("the device plugin for %s ended its list", name)
        except (RuntimeFailure, OSError) as problem:
            _log.warning("the device plugin for %s is gone: %s", name, problem)
        self._begin(self._stop(name, plugin))

    def _take_list(self, name: str, listed: Any) -> None:
        before = self._listed.get(name)
        devices = {each.ID: each.health == HEALTHY for each in listed.devices}
        self._devices[name] = self._listed[name] = devices
        self._nodes[name] = {
            each.ID: tuple(node.ID for node in each.topology.nodes) for each in listed.devices
        }
        self._stopped.pop(name, None)
        if name not in self._saved:
            self._save()
        self._changed()
        users = {held.pod for held in self._held if held.resource == name} if devices != before else None
        if users:
            self._health_changed(users)

    async def _connected(self, plugin: _Plugin) -> None:
        """Give a plugin that has just registered a while to listen. Raises RuntimeFailure."""
        tries = int(CONNECT_TIMEOUT_S / CONNECT_RETRY_S)
        for left in reversed(range(tries)):
            try:
                await plugin.client.call(SERVICE, "GetDevicePluginOptions", timeout_s=CONNECT_TIMEOUT_S)
                return
            except RuntimeFailure as failure:
                if failure.reason != UNAVAILABLE:
                    return  # it listens, and does not know that question
                if not left:
                    raise
            await self._clock.sleep(CONNECT_RETRY_S)

    async def _stop(self, name: str, plugin: _Plugin) -> None:
        if self._plugins.get(name) is not plugin:
            return
        del self._plugins[name]
        self._stopped[name] = plugin
        self._changed()
        await self._end(plugin)
        await self._clock.sleep(STOPPED_S)
        if name not in self._plugins and self._stopped.get(name) is plugin:
            self._devices[name] = {}
            self._changed()

    @staticmethod
    async def _end(plugin: _Plugin) -> None:
        if plugin.task is not None and plugin.task is not asyncio.current_task():
            plugin.task.cancel()
            with suppress(asyncio.CancelledError):
                await plugin.task
        await plugin.client.close()

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- pods -----------------------------------------------------------------------------------------

    async def prepare(self, pod: api.Pod) -> None:
        uid = pod.metadata.uid or ""
        lent: dict[str, set[str]] = {}
        for want in wanted(pod, self._devices):
            held = self._of(uid, want.container, want.resource)
            if held is None or held.edits is None:
                held = await self._allocate(uid, want, lent.get(want.resource, set()))
            mine = lent.setdefault(want.resource, set())
            if want.lends:
                mine |= set(held.devices)
            else:
                mine -= set(held.devices)

    async def edits(self, pod: api.Pod, container: api.Container) -> Edits:
        uid = pod.metadata.uid or ""
        mine = [h for h in self._held if (h.pod, h.container) == (uid, container.name)]
        for held in mine:
            plugin = self._plugins.get(held.resource)
            if plugin is not None and plugin.pre_start:
                await plugin.client.call(
                    SERVICE, "PreStartContainer", timeout_s=PRE_START_TIMEOUT_S, devices_ids=held.devices
                )
        return merged(held.edits or NONE for held in mine) if mine else NONE

    def health_of(self, pod: api.Pod) -> Mapping[str, tuple[api.ResourceStatus, ...]]:
        """By container, how the devices are that it has."""
        return plugin_statuses(self.held_by(pod), self._listed)

    def held_by(self, pod: api.Pod) -> list[Held]:
        """What its plugins have given to the pod's containers."""
        return [each for each in self._held if each.pod == pod.metadata.uid and each.edits is not None]

    def allocatable(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """By resource, the healthy devices of plugins that are there, with their NUMA nodes."""
        return {
            name: {
                device: self._nodes[name][device]
                for device, is_well in self._devices[name].items()
                if is_well
            }
            for name in self._nodes
            if name not in self._stopped
        }

    async def release(self, pod: api.Pod) -> None:
        left = [held for held in self._held if held.pod != pod.metadata.uid]
        if len(left) != len(self._held):
            self._held = left
            self._save()

    def _of(self, pod: str, container: str, resource: str) -> Held | None:
        return next(
            (h for h in self._held if (h.pod, h.container, h.resource) == (pod, container, resource)), None
        )

    async def _allocate(self, pod: str, want: Wanted, lent: set[str]) -> Held:
        plugin = self._plugins.get(want.resource)
        if plugin is None:
            raise _failure(f"no healthy devices present; cannot allocate unhealthy devices {want.resource}")
        healthy = [device for device, is_well in self._devices[want.resource].items() if is_well]
        try:
            options = choice(want, healthy, self._held, lent)
        except TooFew as few:
            raise _failure(
                f"requested number of devices unavailable for {want.resource}. Requested: {want.count}, "
                f"Available: {few.available}"
            ) from few
        preferred: Sequence[str] = ()
        if plugin.preferring and len(options.available) > options.count:
            preferred = await self._preferred(plugin, want.resource, options)
            options = choice(want, healthy, self._held, lent)  # others may have chosen meanwhile
        devices = chosen(options, preferred)
        near = self._nodes.get(want.resource, {})
        nodes = {device: near[device] for device in devices if near.get(device)}
        held = Held(pod, want.container, want.resource, devices, nodes=nodes)
        self._held.append(held)  # taken from here on, before the plugin is asked
        try:
            edits = await self._ask(plugin, held)
        except BaseException:
            self._held.remove(held)
            raise
        self._held.remove(held)
        held = replace(held, edits=edits)
        self._held.append(held)
        self._save()
        return held

    async def _preferred(self, plugin: _Plugin, resource: str, options: Any) -> Sequence[str]:
        asked = {
            "available_deviceIDs": options.available,
            "must_include_deviceIDs": options.must,
            "allocation_size": options.count,
        }
        try:
            answer = await plugin.client.call(SERVICE, "GetPreferredAllocation", container_requests=[asked])
        except RuntimeFailure as failure:
            raise _failure(
                f"device plugin GetPreferredAllocation rpc failed with err: {failure}"
            ) from failure
        return tuple(answer.container_responses[0].deviceIDs) if answer.container_responses else ()

    async def _ask(self, plugin: _Plugin, held: Held) -> Edits:
        try:
            answer = await plugin.client.call(
                SERVICE, "Allocate", container_requests=[{"devices_ids": held.devices}]
            )
        except RuntimeFailure as failure:
            raise _failure(f"rpc error: {failure}") from failure
        if not answer.container_responses:
            raise _failure(f"no containers return in allocation response of {held.resource}")
        given = answer.container_responses[0]
        edits = Edits(
            env=dict(given.envs),
            mounts=tuple(Mount(m.host_path, m.container_path, m.read_only) for m in given.mounts),
            devices=tuple(
                DeviceNode(d.host_path, d.container_path, d.permissions or "mrw") for d in given.devices
            ),
            annotations=dict(given.annotations),
        )
        names = [each.name for each in given.cdi_devices]
        if not names:
            return edits
        try:
            return merged((edits, edits_of(names, await asyncio.to_thread(self._cdi))))
        except CdiError as problem:
            raise _failure(str(problem)) from problem

    def _save(self) -> None:
        held = tuple(each for each in self._held if each.edits is not None)
        checkpoint.save(self._file, _State(held, tuple(sorted(self._devices))))
        self._saved = set(self._devices)


def _failure(detail: str) -> RuntimeFailure:
    return RuntimeFailure(FAILED, f"Allocate failed due to {detail}, which is unexpected")
