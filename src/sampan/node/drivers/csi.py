"""CSI drivers on this node: registered in the CSINode, and asked to stage and publish the volumes of pods.

As kubelet's CSI plugin. What is staged and published is in a file, so that an agent that begins again takes
away what it made before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from sampan.base.clock import Clock, kube_time
from sampan.base.waiting import first_done
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.node.drivers import checkpoint
from sampan.node.drivers.csinode import Announcer
from sampan.node.drivers.csiplan import (
    EXPAND,
    MOUNT_GROUP,
    STAGE,
    TOKENS,
    Volume,
    attachment_name,
    best_version,
    capability,
    context,
    gets_group,
    grown,
    growth,
    staging_path,
    target_path,
    token_text,
)
from sampan.node.drivers.registry import RegistrationError
from sampan.node.drivers.sockets import KUBELET_DIR, DriverClient, real_path
from sampan.node.errors import VolumeError
from sampan.node.references import get_or_none
from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.node.volumes.mounting import can_mount, mounts_below, unmount
from sampan.node.volumes.ownership import own
from sampan.node.volumes.tokens import Tokens
from sampan.schema import api

TYPE: Final = "CSIPlugin"
SERVICE: Final = "csi.v1.Node"
# As kubelet has it.
CALL_TIMEOUT_S: Final = 120.0
SWEEP_S: Final = 60.0

_log = logging.getLogger(__name__)


class Mounted(msgspec.Struct, frozen=True):
    """A volume that is published for a pod, or about to be. Paths are as the driver knows them."""

    pod: str
    name: str
    driver: str
    handle: str
    target: str
    staging: str = ""
    done: bool = False
    unique_name: str = ""


class _Driver(msgspec.Struct, frozen=True):
    client: DriverClient
    capabilities: frozenset[int]
    root: str  # what the driver takes for kubelet's directory
    endpoint: str


class CsiDrivers:
    """The registry's Handler for CSI drivers, and what mounts their volumes."""

    def __init__(
        self, client: Client, clock: Clock, node: str, root_dir: str, changed: Callable[[], None]
    ) -> None:
        """`changed` is called whenever other volumes are in use."""
        self._client = client
        self._clock = clock
        self._node = node
        self._root_dir = root_dir
        self._changed = changed
        self._announcer = Announcer(client, node)
        self._drivers: dict[str, _Driver] = {}
        self._file = Path(root_dir) / "csi_state"
        saved = checkpoint.load(self._file, tuple[Mounted, ...], ())
        self._mounted = {(each.pod, each.name): each for each in saved}
        # What was published by this run, for those drivers that want that again and again.
        self._published: dict[tuple[str, str], tuple[api.Pod, Volume]] = {}
        self._tokens = Tokens(client, clock)
        self._came = asyncio.Event()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def in_use(self) -> list[str]:
        """The volumes that pods of the node use, as its status names them."""
        return sorted({each.unique_name for each in self._mounted.values()} - {""})

    # --- drivers --------------------------------------------------------------------------------------

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        if not best_version(versions):
            raise RegistrationError(
                f"the CSI driver {name} has the versions {', '.join(versions) or 'none'}; this node wants 1.x"
            )
        client = DriverClient(real_path(endpoint, self._root_dir))
        try:
            info = await client.call(SERVICE, "NodeGetInfo", timeout_s=CALL_TIMEOUT_S)
            answer = await client.call(SERVICE, "NodeGetCapabilities", timeout_s=CALL_TIMEOUT_S)
            if not info.node_id:
                raise RegistrationError(f"the CSI driver {name} gives its node no id")
            await self._announcer.announce(name, info)
        except BaseException:
            await client.close()
            raise
        in_pod = endpoint.startswith(KUBELET_DIR + "/")
        before = self._drivers.get(name)
        self._drivers[name] = _Driver(
            client,
            frozenset(each.rpc.type for each in answer.capabilities),
            KUBELET_DIR if in_pod else self._root_dir,
            endpoint,
        )
        self._came.set()
        if before is not None:
            await before.client.close()

    async def deregister(self, name: str, endpoint: str) -> None:
        driver = self._drivers.get(name)
        # An update registers the new driver before the old one's socket goes.
        if driver is None or driver.endpoint != endpoint:
            return
        del self._drivers[name]
        await driver.client.close()
        try:
            await self._announcer.withdraw(name)
        except (ApiError, OSError, TimeoutError) as problem:
            _log.warning("the CSINode %s still has the driver %s: %s", self._node, name, problem)

    # --- volumes --------------------------------------------------------------------------------------

    async def mount(self, pod: api.Pod, name: str, volume: Volume) -> str:
        """Stage and publish the volume for the pod; gives where it is. Raises VolumeError and ApiError.

        `name` is what the pod calls it.
        """
        uid = pod.metadata.uid or ""
        driver = self._driver(volume.driver)
        known = self._mounted.get((uid, name))
        target = target_path(uid, volume)
        host_target = f"{self._root_dir}/{target}"
        if known is not None and known.done:
            self._published[uid, name] = pod, volume
            return host_target
        info = await get_or_none(self._client, api.CSIDriver, volume.driver)
        spec = info.spec if info is not None else api.CSIDriverSpec()
        if volume.ephemeral and "Ephemeral" not in spec.volumeLifecycleModes:
            raise VolumeError(
                f"kubernetes.io/csi: driver {volume.driver} does not support ephemeral inline volumes"
            )
        staging = ""
        if STAGE in driver.capabilities and not volume.ephemeral:
            staging = f"{driver.root}/{staging_path(volume)}"
        mounted = Mounted(
            pod=uid,
            name=name,
            driver=volume.driver,
            handle=volume.handle,
            target=f"{driver.root}/{target}",
            staging=staging,
            unique_name="" if volume.ephemeral else volume.unique_name,
        )
        async with self._lock(f"{volume.driver}^{volume.handle}"):
            self._note(mounted)  # before the driver is asked: whatever comes, it will be undone
            published = {}
            if spec.attachRequired is not False and not volume.ephemeral:
                published = await self._attached(volume)
            asked = self._asked(pod, volume, driver, published)
            if staging:
                Path(self._root_dir, staging_path(volume)).mkdir(parents=True, exist_ok=True)
                await self._stage(driver, volume, staging, asked)
            Path(host_target).parent.mkdir(parents=True, exist_ok=True)
            await self._publish(driver, pod, volume, mounted, asked, spec)
            # Before it counts as mounted: nobody would do it later.
            await self._give_to_group(pod, volume, driver, spec, host_target)
            self._note(msgspec.structs.replace(mounted, done=True))
            self._published[uid, name] = pod, volume
        await self._expand((uid, name))
        return host_target

    async def _expand(self, key: tuple[str, str]) -> None:
        """Have the driver make use of what its volume has grown by, and say so in the claim."""
        if key not in self._published:  # released meanwhile
            return
        volume = self._published[key][1]
        mounted, driver = self._mounted.get(key), self._drivers.get(volume.driver)
        if mounted is None or not mounted.done or driver is None or volume.claim is None or volume.readonly:
            return
        if EXPAND not in driver.capabilities:
            return
        claim = await get_or_none(self._client, api.PersistentVolumeClaim, volume.claim[1], volume.claim[0])
        held = await get_or_none(self._client, api.PersistentVolume, volume.spec_name)
        wanted = growth(claim, held) if claim is not None and held is not None else None
        if claim is None or wanted is None:
            return
        async with self._lock(f"{mounted.driver}^{mounted.handle}"):
            if self._mounted.get(key) != mounted:
                return
            fields: dict[str, Any] = {
                "volume_id": mounted.handle,
                "volume_path": mounted.target,
                "capacity_range": {"required_bytes": wanted.whole()},
                "volume_capability": capability(volume, driver.capabilities, None),
            }
            if mounted.staging:
                fields["staging_target_path"] = mounted.staging
            await self._call(driver, "NodeExpandVolume", **fields)
        await self._client.patch(
            api.PersistentVolumeClaim,
            volume.claim[1],
            volume.claim[0],
            grown(claim, wanted),
            subresource="status",
        )

    async def _look_after(self) -> None:
        """What is to be done now and then for the volumes that are published."""
        for key in list(self._published):
            try:
                await self._publish_again(key)
                await self._expand(key)
            except (ApiError, VolumeError, OSError, TimeoutError) as problem:
                _log.warning("volume %s of pod %s: %s", key[1], key[0], problem)

    async def release(self, pod_uid: str) -> None:
        """Unpublish what the pod has, and unstage what nobody else has. Raises VolumeError."""
        self._tokens.forget(pod_uid)
        for key in [key for key in self._mounted if key[0] == pod_uid]:
            mounted = self._mounted.get(key)
            if mounted is None:
                continue
            async with self._lock(f"{mounted.driver}^{mounted.handle}"):
                still = self._mounted.get(key)  # somebody else may have been faster
                if still is not None:
                    await self._unmount(key, still)

    async def run(self, pods: Callable[[], Iterable[api.Pod]]) -> None:
        """Release what pods had that are gone without a trace; until cancelled."""
        while True:
            self._came.clear()
            known = {pod.metadata.uid for pod in pods()}
            for uid in {pod for pod, _ in self._mounted} - known:
                try:
                    await self.release(uid)
                except (VolumeError, OSError) as problem:
                    _log.warning("%s", problem)
            await self._look_after()
            await first_done(self._came.wait(), self._clock.sleep(SWEEP_S))

    # --- within ---------------------------------------------------------------------------------------

    def _driver(self, name: str) -> _Driver:
        found = self._drivers.get(name)
        if found is None:
            raise VolumeError(f"driver name {name} not found in the list of registered CSI drivers")
        return found

    def _lock(self, volume: str) -> asyncio.Lock:
        lock = self._locks.get(volume)
        if lock is None:
            lock = self._locks[volume] = asyncio.Lock()
        return lock

    async def _attached(self, volume: Volume) -> dict[str, str]:
        """What the driver's controller said when it attached the volume. Raises VolumeError until it has."""
        name = attachment_name(volume, self._node)
        found = await get_or_none(self._client, api.VolumeAttachment, name)
        if found is None or not found.status.attached:
            why = found.status.attachError.message if found is not None and found.status.attachError else ""
            raise VolumeError(
                f"rpc error: volume attachment {name} is not attached yet" + (f": {why}" if why else "")
            )
        return dict(found.status.attachmentMetadata)

    def _asked(
        self, pod: api.Pod, volume: Volume, driver: _Driver, published: dict[str, str]
    ) -> dict[str, Any]:
        """What staging and publishing have in common."""
        security = pod.spec.securityContext
        group = security.fsGroup if security is not None else None
        return {
            "volume_id": volume.handle,
            "publish_context": published,
            "volume_capability": capability(volume, driver.capabilities, group),
            "volume_context": context(volume, pod, False),
        }

    async def _secrets(self, ref: tuple[str, str] | None) -> dict[str, str]:
        if ref is None:
            return {}
        secret = await self._client.get(api.Secret, ref[1], ref[0])
        return {key: value.decode(errors="replace") for key, value in secret.data.items()}

    async def _token_text(self, pod: api.Pod, spec: api.CSIDriverSpec) -> dict[str, str]:
        """The tokens of the pod's account that the driver asks for."""
        found: dict[str, tuple[str, str]] = {}
        for wanted in spec.tokenRequests:
            held = await self._tokens.held(
                pod,
                api.ServiceAccountTokenProjection(
                    audience=wanted.audience, expirationSeconds=wanted.expirationSeconds, path="token"
                ),
            )
            end = kube_time(held.expires_at).isoformat().replace("+00:00", "Z")
            found[wanted.audience] = held.token, end
        return {TOKENS: token_text(found)} if found else {}

    async def _publish_again(self, key: tuple[str, str]) -> None:
        """Publish anew where the driver wants that now and then (`requiresRepublish`), with fresh tokens."""
        if key not in self._published:  # released meanwhile
            return
        pod, volume = self._published[key]
        mounted, driver = self._mounted.get(key), self._drivers.get(volume.driver)
        if mounted is None or not mounted.done or driver is None:
            return
        info = await get_or_none(self._client, api.CSIDriver, volume.driver)
        if info is None or not info.spec.requiresRepublish:
            return
        async with self._lock(f"{mounted.driver}^{mounted.handle}"):
            if self._mounted.get(key) != mounted:
                return
            attaches = info.spec.attachRequired is not False and not volume.ephemeral
            published = await self._attached(volume) if attaches else {}
            asked = self._asked(pod, volume, driver, published)
            await self._publish(driver, pod, volume, mounted, asked, info.spec)

    async def _stage(self, driver: _Driver, volume: Volume, staging: str, asked: dict[str, Any]) -> None:
        others = [
            m
            for m in self._mounted.values()
            if (m.driver, m.handle) == (volume.driver, volume.handle) and m.done and m.staging
        ]
        if others:
            return
        secrets = await self._secrets(volume.stage_secret)
        await self._call(driver, "NodeStageVolume", **asked, staging_target_path=staging, secrets=secrets)

    async def _publish(
        self,
        driver: _Driver,
        pod: api.Pod,
        volume: Volume,
        mounted: Mounted,
        asked: dict[str, Any],
        spec: api.CSIDriverSpec,
    ) -> None:
        tokens = await self._token_text(pod, spec)
        in_secrets = bool(spec.serviceAccountTokenInSecrets)
        fields = {
            **asked,
            "target_path": mounted.target,
            "readonly": volume.readonly,
            "secrets": await self._secrets(volume.publish_secret) | (tokens if in_secrets else {}),
            "volume_context": context(volume, pod, bool(spec.podInfoOnMount))
            | ({} if in_secrets else tokens),
        }
        if mounted.staging:
            fields["staging_target_path"] = mounted.staging
        await self._call(driver, "NodePublishVolume", **fields)

    async def _give_to_group(
        self, pod: api.Pod, volume: Volume, driver: _Driver, spec: api.CSIDriverSpec, path: str
    ) -> None:
        security = pod.spec.securityContext
        group = security.fsGroup if security is not None else None
        if group is None or volume.readonly or not can_mount() or MOUNT_GROUP in driver.capabilities:
            return
        if gets_group(volume, spec.fsGroupPolicy or ""):
            policy = security.fsGroupChangePolicy if security is not None else None
            await asyncio.to_thread(own, Path(path), group, policy)

    async def _unmount(self, key: tuple[str, str], mounted: Mounted) -> None:
        driver = self._driver(mounted.driver)
        await self._call(driver, "NodeUnpublishVolume", volume_id=mounted.handle, target_path=mounted.target)
        _remove(Path(real_path(mounted.target, self._root_dir)))
        same = [
            other
            for other_key, other in self._mounted.items()
            if other_key != key and (other.driver, other.handle) == (mounted.driver, mounted.handle)
        ]
        if mounted.staging and not same:
            await self._call(
                driver, "NodeUnstageVolume", volume_id=mounted.handle, staging_target_path=mounted.staging
            )
            _remove(Path(real_path(mounted.staging, self._root_dir)))
        self._mounted.pop(key, None)
        self._published.pop(key, None)
        checkpoint.save(self._file, tuple(self._mounted.values()))
        self._changed()

    def _note(self, mounted: Mounted) -> None:
        is_new = (mounted.pod, mounted.name) not in self._mounted
        self._mounted[mounted.pod, mounted.name] = mounted
        checkpoint.save(self._file, tuple(self._mounted.values()))
        if is_new:
            self._changed()

    async def _call(self, driver: _Driver, method: str, **fields: Any) -> Any:
        try:
            return await driver.client.call(SERVICE, method, timeout_s=CALL_TIMEOUT_S, **fields)
        except RuntimeFailure as failure:
            raise VolumeError(f"rpc error: {method}: {failure}") from failure


def _remove(place: Path) -> None:
    """Remove the empty directory (or file) that a driver left, and what it left mounted there."""
    if not place.exists():
        return
    for point in mounts_below(place.resolve()):
        with suppress(OSError):
            unmount(point)
    with suppress(OSError):
        place.rmdir() if place.is_dir() else place.unlink()
