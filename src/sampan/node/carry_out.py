"""Carries out the instructions of the pod machine: the only place that makes the runtime do anything."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_lost
from sampan.node.config import SANDBOXES_LEAST, AgentConfig
from sampan.node.dns import Resolver, parse_resolv_conf, pod_resolver
from sampan.node.drivers.edits import edited
from sampan.node.drivers.resources import PodResources
from sampan.node.env import EnvSources, container_env, env_needs
from sampan.node.errors import ConfigError
from sampan.node.files import NoFiles, PodFiles
from sampan.node.hooks import run_hook
from sampan.node.host_ports import HostPorts, opened
from sampan.node.image_credentials import credentials_for
from sampan.node.image_volumes import volume_name
from sampan.node.messages import (
    ContainerUp,
    EnsureImage,
    FinishDeletion,
    ImageReady,
    Instruction,
    PostStart,
    PrepareVolumes,
    RemoveContainer,
    RemoveSandbox,
    RemoveVolumes,
    ResizeContainer,
    RunSandbox,
    SandboxUp,
    StartContainer,
    StopContainer,
    StopSandbox,
)
from sampan.node.model import NodeFacts
from sampan.node.references import read_all, runtime_handler
from sampan.node.resources import container_resources, qos_class
from sampan.node.runtimes.runtime import Image, Runtime, RuntimeFailure, SandboxSpec
from sampan.node.runup import default_pull_policy
from sampan.node.service_env import service_env
from sampan.node.specs import container_spec, sandbox_spec
from sampan.node.status_writer import StatusWriter
from sampan.node.turn import spec_of
from sampan.node.views import sandbox_of
from sampan.schema import api

IMAGES_KNOWN: Final = 1024
# A container whose preStop used up the grace still gets this much between TERM and KILL.
LEAST_AFTER_HOOK_S: Final = 2.0
POST_START_LIMIT_S: Final = 3600.0
PULL_REASONS: Final = ("ErrImagePull", "InvalidImageName", "RegistryUnavailable", "ErrImageNeverPull")

# What needs nothing but the runtime, for most pods.
_RUNTIME_ONLY: Final = frozenset(
    {
        PrepareVolumes,
        RemoveVolumes,
        EnsureImage,
        RunSandbox,
        StartContainer,
        StopContainer,
        RemoveContainer,
        StopSandbox,
        RemoveSandbox,
    }
)

_log = logging.getLogger(__name__)


class PodView(Protocol):
    """What carrying out needs of a pod: its newest object, its node, and a way to record events."""

    @property
    def pod(self) -> api.Pod: ...

    @property
    def node(self) -> NodeFacts: ...

    def note(self, type_: str, reason: str, message: str, container: str = "") -> None: ...


class CarryOut:
    """Turns instructions into calls. Answers with the instruction's result, or raises."""

    def __init__(
        self,
        config: AgentConfig,
        runtime: Runtime,
        client: Client,
        clock: Clock,
        files: PodFiles,
        statuses: StatusWriter,
        services: Callable[[], Iterable[api.Service]],
        resources: PodResources,
        host_ports: HostPorts | None = None,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._client = client
        self._clock = clock
        self._files = files
        self._statuses = statuses
        self._services = services
        self._resources = resources
        self._host_ports = host_ports
        # Whether the runtime pretends: it runs nothing, writes nothing, and need not wait.
        self.pretends = (
            getattr(runtime, "answers_at_once", False) and isinstance(files, NoFiles) and host_ports is None
        )
        self._slots = asyncio.Semaphore(config.concurrency)
        # A sandbox costs processor time. Where too many are made at once, all of a crowd of pods are up at
        # the very end; this way the first of them run while the last still wait.
        at_once = config.sandboxes or max(2 * (os.cpu_count() or 1), SANDBOXES_LEAST)
        self._sandboxes = asyncio.Semaphore(at_once)
        self._pulls = asyncio.Semaphore(config.pulls)
        self._images: OrderedDict[str, Image] = OrderedDict()
        self._methods: dict[type[Instruction], Callable[[PodView, Any], Awaitable[Any]]] = {
            PrepareVolumes: self._prepare_volumes,
            RemoveVolumes: self._remove_volumes,
            EnsureImage: self._ensure_image,
            RunSandbox: self._run_sandbox,
            StartContainer: self._start_container,
            PostStart: self._post_start,
            StopContainer: self._stop_container,
            RemoveContainer: self._remove_container,
            StopSandbox: self._stop_sandbox,
            RemoveSandbox: self._remove_sandbox,
            ResizeContainer: self._resize,
            FinishDeletion: self._finish_deletion,
        }

    def answers_at_once(self, pod: api.Pod, order: Instruction) -> bool:
        """Whether to carry it out takes no time and asks nobody but a runtime that does not wait either."""
        if not self.pretends or type(order) not in _RUNTIME_ONLY:
            return False
        if isinstance(order, StopContainer):
            return not order.pre_stop
        if isinstance(order, EnsureImage):
            return not (pod.spec.imagePullSecrets or any(v.image is not None for v in pod.spec.volumes))
        if isinstance(order, StartContainer):
            spec = spec_of(pod, order.container)
            needs = env_needs(spec) if spec is not None else None
            if needs is None or needs.config_maps or needs.secrets:
                return False
        return not pod.spec.runtimeClassName

    async def run(self, view: PodView, instruction: Instruction) -> Any:
        """Carry it out. Raises RuntimeFailure, ConfigError, VolumeError, ApiError, OSError, TimeoutError."""
        return await self._methods[type(instruction)](view, instruction)

    async def _prepare_volumes(
        self, view: PodView, _: PrepareVolumes
    ) -> Mapping[str, tuple[api.ResourceStatus, ...]]:
        await self._files.prepare(view.pod, view.node)
        await self._resources.prepare(view.pod)
        return self._resources.health(view.pod)

    async def _remove_volumes(self, view: PodView, _: RemoveVolumes) -> None:
        await self._resources.release(view.pod)
        await self._files.remove(view.pod)
        for volume in view.pod.spec.volumes:
            if volume.image is not None:
                await self._runtime.release_image(volume_name(view.pod, volume))

    # --- images ---------------------------------------------------------------------------------------

    async def _ensure_image(self, view: PodView, order: EnsureImage) -> ImageReady:
        image = await self._have(view, order.container, order.image, order.pull_policy)
        self._images[image.id] = image
        self._images.move_to_end(image.id)
        if len(self._images) > IMAGES_KNOWN:
            self._images.popitem(last=False)
        return ImageReady(image.id, await self._image_volumes(view, order.container))

    async def _image_volumes(self, view: PodView, container: str) -> dict[str, str]:
        """Mount the images that the container has as volumes; their digests by the volume's name.

        As kubelet does here and not with the other volumes: what fails is an image's trouble, and is shown
        and tried again as one.
        """
        wanted = {v.name: v for v in view.pod.spec.volumes if v.image is not None}
        spec = spec_of(view.pod, container) if wanted else None
        found = {}
        for mount in spec.volumeMounts if spec is not None else ():
            volume = wanted.get(mount.name)
            if volume is None or volume.image is None or not volume.image.reference:
                continue
            reference = volume.image.reference
            policy = volume.image.pullPolicy or default_pull_policy(reference)
            image = await self._have(view, container, reference, policy)
            directory = self._files.image_directory(view.pod, volume)
            await self._runtime.mount_image(image, volume_name(view.pod, volume), directory)
            found[volume.name] = image.digests[0] if image.digests else image.id
        return found

    async def _have(self, view: PodView, name: str, image: str, pull_policy: str) -> Image:
        """The image, pulled for the container `name` where the policy wants that."""
        if pull_policy != "Always":
            found = await self._runtime.find_image(image)
            if found is not None:
                message = (
                    f'Container image "{image}" already present on machine and can be accessed by the pod'
                )
                view.note("Normal", "Pulled", message, name)
                return found
            if pull_policy == "Never":
                raise RuntimeFailure(
                    "ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never'
                )
        view.note("Normal", "Pulling", f'Pulling image "{image}"', name)
        secrets = await self._pull_secrets(view.pod)
        asked_s = self._clock.monotonic_s()
        async with self._pulls:
            begun_s = self._clock.monotonic_s()
            pulled = await self._pull(image, secrets)
        now_s = self._clock.monotonic_s()
        message = (
            f'Successfully pulled image "{image}" in {_elapsed(now_s - begun_s)} '
            f"({_elapsed(now_s - asked_s)} including waiting). Image size: {pulled.size_bytes} bytes."
        )
        view.note("Normal", "Pulled", message, name)
        return pulled

    async def _pull(self, image: str, secrets: Iterable[api.Secret]) -> Image:
        try:
            return await self._runtime.pull_image(image, credentials_for(image, secrets))
        except RuntimeFailure as failure:
            reason = failure.reason if failure.reason in PULL_REASONS else "ErrImagePull"
            raise RuntimeFailure(reason, str(failure)) from failure

    async def _pull_secrets(self, pod: api.Pod) -> list[api.Secret]:
        names = [ref.name for ref in pod.spec.imagePullSecrets if ref.name]
        if not names:
            return []
        found = await read_all(self._client, api.Secret, pod.metadata.namespace or "", names)
        return list(found.values())

    # --- sandbox --------------------------------------------------------------------------------------

    async def _run_sandbox(self, view: PodView, order: RunSandbox) -> SandboxUp:
        spec = await self._sandbox_spec(view, order.attempt)
        async with self._sandboxes:
            sandbox_id = await self._runtime.run_sandbox(spec)
        if spec.host_network:
            return SandboxUp(sandbox_id, view.node.ips)
        sandbox = await sandbox_of(self._runtime, spec.uid, sandbox_id)
        return SandboxUp(sandbox_id, sandbox.ips if sandbox is not None else ())

    async def _sandbox_spec(self, view: PodView, attempt: int) -> SandboxSpec:
        pod = view.pod
        handler = await runtime_handler(self._client, pod)
        return sandbox_spec(pod, attempt, self._config, self._resolver(pod), handler, view.node.name)

    def _resolver(self, pod: api.Pod) -> Resolver:
        host = Resolver()
        if self._config.root_dir:
            try:
                host = parse_resolv_conf(Path(self._config.resolv_conf).read_text())
            except OSError:
                host = Resolver()
        return pod_resolver(pod, host, self._config.cluster_dns, self._config.cluster_domain)

    async def _stop_sandbox(self, view: PodView, order: StopSandbox) -> None:
        await self._runtime.stop_sandbox(order.sandbox_id)

    async def _remove_sandbox(self, view: PodView, order: RemoveSandbox) -> None:
        # Removing stops as well: stopping first would take the network down twice.
        await self._runtime.remove_sandbox(order.sandbox_id)

    # --- containers -----------------------------------------------------------------------------------

    async def _start_container(self, view: PodView, order: StartContainer) -> ContainerUp:
        pod, name = view.pod, order.container
        spec = spec_of(pod, name)
        if spec is None:
            raise ConfigError(f"container {name} is not in the pod's spec any more")
        await opened(self._host_ports, pod, order.ips, view.node.ips)
        async with self._slots:
            env = await self._environment(view, spec, order.ips)
            image = self._images.get(order.image_ref) or await self._runtime.find_image(order.image_ref)
            mounts = await self._files.mounts(pod, spec, order.attempt, env, view.node, order.ips)
            made = container_spec(
                pod,
                spec,
                order.attempt,
                image_ref=order.image_ref,
                image=image,
                env=env,
                mounts=mounts,
                node=view.node,
                node_memory_bytes=view.node.allocatable_memory_bytes,
                target_id=order.target_id,
            )
            made = edited(made, await self._resources.edits(pod, spec))
            home = await self._sandbox_spec(view, 0)
            container_id = await self._runtime.create_container(order.sandbox_id, home, made)
            view.note("Normal", "Created", "Container created", name)
            shown = image.digests[0] if image is not None and image.digests else order.image_ref
            try:
                started_at = await self._runtime.start_container(container_id)
            except RuntimeFailure as failure:
                return ContainerUp(
                    container_id, self._clock.now(), shown, spec.resources, str(failure) or failure.reason
                )
            except BaseException:
                await self._runtime.remove_container(container_id)
                raise
        view.note("Normal", "Started", "Container started", name)
        return ContainerUp(container_id, started_at, shown, spec.resources)

    async def _environment(self, view: PodView, spec: api.Container, ips: tuple[str, ...]) -> dict[str, str]:
        pod = view.pod
        namespace = pod.metadata.namespace or ""
        needs = env_needs(spec)
        maps, secrets = {}, {}
        if needs.config_maps:
            maps = await read_all(self._client, api.ConfigMap, namespace, needs.config_maps)
        if needs.secrets:
            secrets = await read_all(self._client, api.Secret, namespace, needs.secrets)
        links = pod.spec.enableServiceLinks is not False
        services = service_env(self._services(), namespace, links)
        sources = EnvSources(config_maps=maps, secrets=secrets, services=services)
        return container_env(pod, spec, sources, view.node, ips)

    async def _post_start(self, view: PodView, order: PostStart) -> None:
        spec = spec_of(view.pod, order.container)
        handler = spec.lifecycle.postStart if spec is not None and spec.lifecycle is not None else None
        if spec is None or handler is None:
            return
        try:
            await run_hook(
                self._runtime, self._clock, spec, handler, order.container_id, order.ips, POST_START_LIMIT_S
            )
        except (RuntimeFailure, TimeoutError, OSError, ValueError) as error:
            _log.warning("the postStart hook of %s failed: %s", order.container_id, error)
            raise

    async def _stop_container(self, view: PodView, order: StopContainer) -> None:
        left_s = order.grace_s
        if order.pre_stop:
            begun_s = self._clock.monotonic_s()
            await self._pre_stop(view, order)
            left_s = max(order.grace_s - (self._clock.monotonic_s() - begun_s), LEAST_AFTER_HOOK_S)
        await self._runtime.stop_container(order.container_id, left_s)

    async def _pre_stop(self, view: PodView, order: StopContainer) -> None:
        spec = spec_of(view.pod, order.container)
        handler = spec.lifecycle.preStop if spec is not None and spec.lifecycle is not None else None
        if spec is None or handler is None:
            return
        try:
            await run_hook(
                self._runtime, self._clock, spec, handler, order.container_id, order.ips, order.grace_s
            )
        except (RuntimeFailure, TimeoutError, OSError, ValueError) as error:
            # What the hook said may be secret: not for the Event.
            _log.warning("the preStop hook of %s failed: %s", order.container_id, error)
            view.note("Warning", "FailedPreStopHook", "PreStopHook failed", order.container)

    async def _remove_container(self, view: PodView, order: RemoveContainer) -> None:
        await self._runtime.remove_container(order.container_id)

    async def _resize(self, view: PodView, order: ResizeContainer) -> api.ResourceRequirements:
        spec = spec_of(view.pod, order.container)
        if spec is not None:
            memory = view.node.allocatable_memory_bytes
            values = container_resources(spec, qos_class(view.pod), memory)
            await self._runtime.update_resources(order.container_id, values)
        return order.resources

    # --- the API object -------------------------------------------------------------------------------

    async def _finish_deletion(self, view: PodView, _: FinishDeletion) -> None:
        meta = view.pod.metadata
        await self._statuses.flush(meta.uid or "")
        try:
            await self._client.delete(
                api.Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "", grace_s=0
            )
        except ApiError as error:
            if not is_lost(error):
                raise


def _elapsed(seconds: float) -> str:
    """Seconds as Go writes short durations: `512ms`, `2.5s`."""
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{round(seconds, 3):g}s"
