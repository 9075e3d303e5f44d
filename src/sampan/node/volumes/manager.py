"""The disk side of pods on a real node: makes volumes, keeps them fresh, mounts, cleans up."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.node.config import AgentConfig
from sampan.node.drivers.csi import CsiDrivers
from sampan.node.errors import ClaimError, ConfigError, VolumeError
from sampan.node.expansion import expand_strictly
from sampan.node.hosts import etc_hosts
from sampan.node.model import NodeFacts
from sampan.node.names import CONTAINER_NAME, MESSAGE_POLICY, key_of, log_directory, log_path, pod_directory
from sampan.node.references import read_all
from sampan.node.runtimes.runtime import Container, Mount
from sampan.node.specs import DEFAULT_MESSAGE_PATH
from sampan.node.volumes.certificates import PodCertificates
from sampan.node.volumes.last_words import read_last_words
from sampan.node.volumes.mounting import mounts_below, unmount
from sampan.node.volumes.plan import Objects, token_key, volume_needs
from sampan.node.volumes.plugins import PLUGINS, Prepared, VolumePlugin, VolumeTask, plugin_for
from sampan.node.volumes.subpath import check_subpath, pin_subpath
from sampan.node.volumes.tokens import Tokens
from sampan.node.volumes.watched import WatchedObjects
from sampan.schema import api

PODS_DIRECTORY_MODE: Final = 0o750
HOSTS_FILE: Final = "/etc/hosts"
ReadObjects = Callable[[api.Pod, api.Volume], Awaitable[Objects]]
_log = logging.getLogger(__name__)


class _NotWanted(Exception):
    """The pod whose volume was to be freshened is gone."""


class VolumeManager:
    """Implements `PodFiles` below `config.root_dir`."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        config: AgentConfig,
        *,
        plugins: tuple[VolumePlugin, ...] = PLUGINS,
        csi: CsiDrivers | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._config = config
        self._plugins = plugins
        self._csi = csi
        self._prepared: dict[str, dict[str, Prepared]] = {}
        self._nodes: dict[str, NodeFacts] = {}
        self._tokens = Tokens(client, clock)
        self._certificates = PodCertificates(client, clock, config.node_name)
        self._watched = WatchedObjects(client, clock, self._object_changed)
        self._pods: dict[str, api.Pod] = {}
        self._stale: set[str] = set()
        self._wake = asyncio.Event()

    # --- preparing and keeping fresh ------------------------------------------------------------------

    async def prepare(self, pod: api.Pod, node: NodeFacts) -> None:
        """Make every volume of the pod. Raises VolumeError with what went wrong for the first that failed."""
        uid = pod.metadata.uid or ""
        self._directory(uid).mkdir(parents=True, exist_ok=True)
        # Tokens and Secrets lie below: nobody but the owner looks in, as under /var/lib/kubelet.
        Path(self._config.pods_dir).chmod(PODS_DIRECTORY_MODE)
        held = self._prepared.setdefault(uid, {})
        results = await asyncio.gather(
            *(self._make(pod, volume, node) for volume in pod.spec.volumes), return_exceptions=True
        )
        for volume, result in zip(pod.spec.volumes, results, strict=True):
            if isinstance(result, Prepared):
                held[volume.name] = result
            elif isinstance(result, ClaimError):
                name = volume.name
                raise VolumeError(
                    f"Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], "
                    f"failed to process volumes=[{name}]: {result}"
                )
            elif isinstance(result, (VolumeError, ApiError, OSError, TimeoutError)):
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {result}')
            else:
                raise result
        self._nodes[uid] = node
        self._pods[uid] = pod
        self._watched.want(uid, pod.metadata.namespace or "", [volume_needs(v) for v in pod.spec.volumes])

    async def _make(
        self, pod: api.Pod, volume: api.Volume, node: NodeFacts, *, objects: ReadObjects | None = None
    ) -> Prepared:
        plugin = plugin_for(volume, self._plugins)
        directory = self._place(pod, volume, plugin)
        task = VolumeTask(
            pod=pod,
            volume=volume,
            directory=directory,
            node=node,
            client=self._client,
            clock=self._clock,
            objects=objects or self._objects,
            local_path_dir=self._config.local_path_dir,
            root_dir=self._config.root_dir,
            csi=self._csi,
        )
        return await plugin.prepare(task)

    async def _objects(self, pod: api.Pod, volume: api.Volume) -> Objects:
        needs = volume_needs(volume)
        namespace = pod.metadata.namespace or ""
        maps, secrets, tokens = await asyncio.gather(
            read_all(self._client, api.ConfigMap, namespace, needs.config_maps),
            read_all(self._client, api.Secret, namespace, needs.secrets),
            asyncio.gather(*(self._tokens.token(pod, t) for t in needs.tokens)),
        )
        held = {token_key(p): token for p, token in zip(needs.tokens, tokens, strict=True)}
        bundles = (await self._client.list(api.ClusterTrustBundle)).items if needs.trust_bundles else ()
        sources = volume.projected.sources if volume.projected is not None else []
        credentials = {
            index: await self._certificates.credentials(pod, volume.name, index, part.podCertificate)
            for index, part in enumerate(sources)
            if part.podCertificate is not None
        }
        return Objects(
            config_maps=maps,
            secrets=secrets,
            tokens=held,
            trust_bundles=tuple(bundles),
            credentials=credentials,
        )

    async def _objects_while_wanted(self, pod: api.Pod, volume: api.Volume) -> Objects:
        found = await self._objects(pod, volume)
        # The pod may have gone meanwhile: writing now would bring its directory back.
        if pod.metadata.uid not in self._pods:
            raise _NotWanted
        return found

    def refresh(self, pod: api.Pod) -> None:
        uid = pod.metadata.uid or ""
        if uid in self._pods:
            self._pods[uid] = pod
            self._object_changed(uid)

    def _object_changed(self, uid: str) -> None:
        self._stale.add(uid)
        self._wake.set()

    async def run(self, pods: Callable[[], Iterable[api.Pod]]) -> None:
        """Keep volumes fresh: at once when an object changed, all of them now and then; until cancelled."""
        slow = asyncio.get_running_loop().create_task(self._mark_all())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                stale, self._stale = self._stale, set()
                for uid in stale:
                    await self._freshen(uid)
        finally:
            slow.cancel()
            self._watched.close()

    async def _mark_all(self) -> None:
        # Tokens near their end, and whatever a watch may have missed.
        while True:
            await self._clock.sleep(self._config.volume_sync_s)
            self._stale.update(self._pods)
            self._wake.set()

    async def _freshen(self, uid: str) -> None:
        pod, node = self._pods.get(uid), self._nodes.get(uid)
        if pod is None or node is None:
            return
        for volume in pod.spec.volumes:
            try:
                if plugin_for(volume, self._plugins).written:
                    await self._make(pod, volume, node, objects=self._objects_while_wanted)
            except _NotWanted:
                return
            except (VolumeError, ApiError, OSError, TimeoutError) as error:
                _log.warning("volume %s of pod %s was not updated: %s", volume.name, key_of(pod), error)

    def image_directory(self, pod: api.Pod, volume: api.Volume) -> str:
        return str(self._place(pod, volume, plugin_for(volume, self._plugins)))

    def _place(self, pod: api.Pod, volume: api.Volume, plugin: VolumePlugin) -> Path:
        return self._directory(pod.metadata.uid or "") / "volumes" / plugin.directory / volume.name

    # --- mounts ---------------------------------------------------------------------------------------

    async def mounts(
        self,
        pod: api.Pod,
        container: api.Container,
        attempt: int,
        env: Mapping[str, str],
        node: NodeFacts,
        pod_ips: tuple[str, ...],
    ) -> list[Mount]:
        uid = pod.metadata.uid or ""
        prepared = self._prepared.get(uid, {})
        found: list[Mount] = []
        for index, wanted in enumerate(container.volumeMounts):
            volume = prepared.get(wanted.name)
            if volume is None:
                raise ConfigError(
                    f'cannot find volume "{wanted.name}" to mount into container "{container.name}"'
                )
            place = (
                self._directory(uid) / "volume-subpaths" / wanted.name / container.name / f"{attempt}-{index}"
            )
            found.append(_mount(wanted, volume, env, place, container.name))
        taken = {m.container_path for m in found}
        if HOSTS_FILE not in taken:
            found.append(Mount(self._write_hosts(pod, node, pod_ips), HOSTS_FILE))
        message_path = container.terminationMessagePath or DEFAULT_MESSAGE_PATH
        if message_path not in taken:
            found.append(Mount(self._message_file(uid, container.name, attempt), message_path))
        return found

    def _write_hosts(self, pod: api.Pod, node: NodeFacts, pod_ips: tuple[str, ...]) -> str:
        host_file = ""
        if pod.spec.hostNetwork:
            with suppress(OSError):
                host_file = Path(HOSTS_FILE).read_text()
        text = etc_hosts(pod, node.name, self._config.cluster_domain, pod_ips, host_file)
        path = self._directory(pod.metadata.uid or "") / "etc-hosts"
        path.parent.mkdir(parents=True, exist_ok=True)
        # In place: running containers have this very file mounted.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o644)
        return str(path)

    def _message_file(self, uid: str, container: str, attempt: int) -> str:
        path = self._directory(uid) / "containers" / container / str(attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        return str(path)

    def termination_message(self, uid: str, container: Container) -> str:
        name = container.labels.get(CONTAINER_NAME, container.name)
        message = self._directory(uid) / "containers" / name / str(container.attempt)
        fallback = container.annotations.get(MESSAGE_POLICY) == "FallbackToLogsOnError"
        log = self._log_file(container)
        return (
            read_last_words(message, log if fallback and container.exit_code != 0 else None)
            or container.message
        )

    def _log_file(self, container: Container) -> Path:
        labels = container.labels
        namespace = labels.get("io.kubernetes.pod.namespace", "")
        pod, uid = labels.get("io.kubernetes.pod.name", ""), labels.get("io.kubernetes.pod.uid", "")
        directory = f"{self._config.log_dir}/{namespace}_{pod}_{uid}"
        return Path(directory) / log_path(container.name, container.attempt)

    # --- cleaning up ----------------------------------------------------------------------------------

    async def remove(self, pod: api.Pod) -> None:
        uid = pod.metadata.uid or ""
        for held in (self._prepared, self._nodes, self._pods):
            held.pop(uid, None)
        self._tokens.forget(uid)
        self._certificates.forget(uid)
        self._watched.drop(uid)
        directory = self._directory(uid)
        _remove_tree(directory / "volume-subpaths")  # first: what is mounted below a volume keeps it busy
        if self._csi is not None:
            await self._csi.release(uid)
        _remove_tree(directory / "volumes")

    async def forget(self, pod: api.Pod) -> None:
        uid = pod.metadata.uid or ""
        _remove_tree(self._directory(uid))
        shutil.rmtree(log_directory(self._config.log_dir, key_of(pod)), ignore_errors=True)

    def _directory(self, uid: str) -> Path:
        return Path(pod_directory(self._config.pods_dir, uid))


def _mount(
    wanted: api.VolumeMount, volume: Prepared, env: Mapping[str, str], place: Path, container: str
) -> Mount:
    subpath = wanted.subPath or ""
    if wanted.subPathExpr:
        subpath = expand_strictly(wanted.subPathExpr, env)
    host_path = volume.path
    if subpath:
        check_subpath(subpath)
        try:
            host_path = pin_subpath(Path(volume.path), subpath, place)
        except (ConfigError, OSError) as error:
            # Why is for the log only: it would tell the pod's owner about files of the host.
            _log.warning("subPath %r of volume %s cannot be used: %s", subpath, wanted.name, error)
            raise ConfigError(
                f'failed to prepare subPath for volumeMount "{wanted.name}" of container "{container}"'
            ) from error
    propagation: Any = wanted.mountPropagation or "None"
    return Mount(host_path, wanted.mountPath, bool(wanted.readOnly) or volume.readonly, propagation)


def _remove_tree(root: Path) -> None:
    """Unmount what is mounted below `root`, then delete it; never reaches into what is mounted."""
    if not root.exists():
        return
    for point in mounts_below(root.resolve()):
        with suppress(OSError):
            unmount(point)
    if mounts_below(root.resolve()):
        raise VolumeError(f"{root} has mounts that cannot be unmounted")
    shutil.rmtree(root, ignore_errors=True)
