"""Small drivers on unix sockets, as a node meets them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sampan.node.drivers.server import Refusal, Server
from sampan.node.drivers.sockets import DriverClient
from sampan.node.drivers.tables import DRA_V1
from sampan.node.runtimes.cri.messages import message
from sampan.node.volumes.mounting import mount_tmpfs, unmount


class Registrar:
    """The registration socket of a plugin."""

    def __init__(self, path: str, type_: str, name: str, endpoint: str, versions: tuple[str, ...]) -> None:
        self.told: list[tuple[bool, str]] = []
        self._info = {"type": type_, "name": name, "endpoint": endpoint, "supported_versions": versions}
        service = "pluginregistration.Registration"
        self.server = Server(
            path, {service: {"GetInfo": self._get_info, "NotifyRegistrationStatus": self._notify}}
        )

    async def _get_info(self, _: Any) -> Any:
        return message("pluginregistration.PluginInfo")(**self._info)

    async def _notify(self, status: Any) -> Any:
        self.told.append((status.plugin_registered, status.error))
        return message("pluginregistration.RegistrationStatusResponse")()


class HealthReports:
    """Streams the health of devices of the pool `node-1`: a report at once, and at each `say`."""

    def __init__(self, version: str) -> None:
        self.served: dict[str, Any] = {
            f"{version}.DRAResourceHealth": {"NodeWatchResources": self._stream},
        }
        self.streams = 0
        self._devices: list[Mapping[str, Any]] = []
        self._version = version
        self._said = asyncio.Event()
        self._over = False

    def say(self, **devices: Mapping[str, Any]) -> None:
        """By name (with _ for -), what the report says of the device."""
        self._devices = [
            {"device": {"pool_name": "node-1", "device_name": name.replace("_", "-")}, **more}
            for name, more in devices.items()
        ]
        self._said.set()

    def end(self) -> None:
        """End the stream; the next one begins anew."""
        self._over = True
        self._said.set()

    async def _stream(self, _: Any) -> Any:
        self.streams += 1
        self._over = False
        while not self._over:
            self._said.clear()
            yield message(f"{self._version}.NodeWatchResourcesResponse")(devices=self._devices)
            await self._said.wait()


class DraDriver:
    """Prepares claims: a CDI file for each, with one device for each request of `requests`."""

    def __init__(
        self,
        root: Path,
        cdi_dir: Path,
        name: str = "gpu.example.com",
        *,
        edits: Mapping[str, Any] | None = None,
        health: str = "",
    ) -> None:
        """`health`: the version of the service by which it reports the health of its devices."""
        self.name = name
        self.calls: list[tuple[str, str]] = []
        self.failing = ""
        self.requests: tuple[str, ...] = ("one",)
        self._cdi_dir = cdi_dir
        self._edits = edits or {}
        endpoint = str(root / "plugins" / name / "dra.sock")
        service = f"{DRA_V1}.DRAPlugin"
        methods = {"NodePrepareResources": self._prepare, "NodeUnprepareResources": self._unprepare}
        self.reports = HealthReports(health or "v1")
        self.server = Server(endpoint, {service: methods, **(self.reports.served if health else {})})
        self.registrar = Registrar(
            str(root / "plugins_registry" / f"{name}-reg.sock"),
            "DRAPlugin",
            name,
            endpoint,
            ("v1.DRAPlugin", *(self.reports.served if health else ())),
        )

    async def start(self) -> None:
        await self.server.start()
        await self.registrar.server.start()

    async def stop(self) -> None:
        await self.registrar.server.stop()
        await self.server.stop()

    async def _prepare(self, request: Any) -> Any:
        answers = {}
        for claim in request.claims:
            self.calls.append(("prepare", claim.name))
            answers[claim.uid] = {"error": self.failing} if self.failing else self._prepared(claim)
        return message(f"{DRA_V1}.NodePrepareResourcesResponse")(
            claims=_messages(answers, "NodePrepareResourceResponse")
        )

    def _prepared(self, claim: Any) -> dict[str, Any]:
        devices = [
            {
                "name": f"{claim.uid}-{request}",
                "containerEdits": {**self._edits, "env": [f"GPU_{request.upper()}={claim.name}"]},
            }
            for request in self.requests
        ]
        kind = f"{self.name}/gpu"
        spec = {
            "cdiVersion": "0.6.0",
            "kind": kind,
            "devices": devices,
            "containerEdits": {"env": ["CDI=yes"]},
        }
        self._cdi_dir.mkdir(parents=True, exist_ok=True)
        (self._cdi_dir / f"{claim.uid}.json").write_text(json.dumps(spec))
        return {
            "devices": [
                {
                    "request_names": [request],
                    "pool_name": "node-1",
                    "device_name": f"gpu-{request}",
                    "cdi_device_ids": [f"{kind}={claim.uid}-{request}"],
                }
                for request in self.requests
            ]
        }

    async def _unprepare(self, request: Any) -> Any:
        answers: dict[str, Any] = {}
        for claim in request.claims:
            if self.failing:
                raise Refusal(self.failing)
            self.calls.append(("unprepare", claim.name))
            (self._cdi_dir / f"{claim.uid}.json").unlink(missing_ok=True)
            answers[claim.uid] = {}
        return message(f"{DRA_V1}.NodeUnprepareResourcesResponse")(
            claims=_messages(answers, "NodeUnprepareResourceResponse")
        )


def _messages(answers: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {uid: message(f"{DRA_V1}.{kind}")(**fields) for uid, fields in answers.items()}


class Beside:
    """Runs drivers on an event loop of their own, for tests that are not on one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="drivers", daemon=True)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


class DevicePlugin:
    """A device plugin that registers at kubelet.sock."""

    def __init__(
        self,
        directory: Path,
        resource: str,
        devices: Mapping[str, bool],
        *,
        prefers: tuple[str, ...] = (),
        pre_start: bool = False,
        version: str = "v1beta1",
        near: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        """`near`: the NUMA nodes of devices."""
        self._near = near or {}
        self.allocated: list[tuple[str, ...]] = []
        self.started: list[tuple[str, ...]] = []
        self.failing = ""
        self._directory = directory
        self._resource = resource
        self._devices = dict(devices)
        self._prefers = prefers
        self._options = {"get_preferred_allocation_available": bool(prefers), "pre_start_required": pre_start}
        self._version = version
        self._changed = asyncio.Event()
        methods: Mapping[str, Any] = {
            "ListAndWatch": self._list_and_watch,
            "Allocate": self._allocate,
            "GetPreferredAllocation": self._preferred,
            "PreStartContainer": self._pre_start,
        }
        self.server = Server(str(directory / "cam.sock"), {"v1beta1.DevicePlugin": methods})

    async def start(self) -> None:
        await self.server.start()
        client = DriverClient(str(self._directory / "kubelet.sock"))
        try:
            await client.call(
                "v1beta1.Registration",
                "Register",
                version=self._version,
                endpoint="cam.sock",
                resource_name=self._resource,
                options=self._options,
            )
        finally:
            await client.close()

    async def stop(self) -> None:
        await self.server.stop()

    def list(self, devices: Mapping[str, bool]) -> None:
        self._devices = dict(devices)
        self._changed.set()

    async def _list_and_watch(self, _: Any) -> Any:
        while True:
            self._changed.clear()
            listed = [
                {"ID": name, "health": "Healthy" if is_well else "Unhealthy", **self._topology(name)}
                for name, is_well in self._devices.items()
            ]
            yield message("v1beta1.ListAndWatchResponse")(devices=listed)
            await self._changed.wait()

    def _topology(self, device: str) -> dict[str, Any]:
        nodes = self._near.get(device)
        return {"topology": {"nodes": [{"ID": node} for node in nodes]}} if nodes else {}

    async def _allocate(self, request: Any) -> Any:
        if self.failing:
            raise Refusal(self.failing)
        devices = tuple(request.container_requests[0].devices_ids)
        self.allocated.append(devices)
        names = ",".join(devices)
        given = {
            "envs": {"CAM": names},
            "mounts": [{"container_path": "/opt/cam", "host_path": "/tmp", "read_only": True}],
            "devices": [
                {"container_path": f"/dev/cam-{name}", "host_path": "/dev/null", "permissions": "rw"}
                for name in devices
            ],
            "annotations": {"cam": names},
        }
        return message("v1beta1.AllocateResponse")(container_responses=[given])

    async def _preferred(self, request: Any) -> Any:
        answer = {"deviceIDs": self._prefers}
        return message("v1beta1.PreferredAllocationResponse")(container_responses=[answer])

    async def _pre_start(self, request: Any) -> Any:
        self.started.append(tuple(request.devices_ids))
        return message("v1beta1.PreStartContainerResponse")()


class CsiDriver:
    """A CSI driver whose volumes are directories, or file systems where it `mounts`.

    A staged volume has a file `staged`, a published one has `published`.
    """

    def __init__(
        self,
        root: Path,
        name: str = "disk.example.com",
        *,
        stages: bool = True,
        most: int = 0,
        topology: Mapping[str, str] | None = None,
        mounts: bool = False,
    ) -> None:
        self.name = name
        self.calls: list[tuple[str, str]] = []
        self.requests: list[Any] = []
        self.failing = ""
        self._stages = stages
        self._most = most
        self._topology = dict(topology or {})
        self._mounts = mounts
        endpoint = str(root / "plugins" / name / "csi.sock")
        methods = {
            "NodeGetInfo": self._info,
            "NodeGetCapabilities": self._capabilities,
            "NodeStageVolume": self._stage,
            "NodeUnstageVolume": self._unstage,
            "NodePublishVolume": self._publish,
            "NodeUnpublishVolume": self._unpublish,
            "NodeExpandVolume": self._expand,
        }
        self.server = Server(endpoint, {"csi.v1.Node": methods})
        socket = str(root / "plugins_registry" / f"{name}-reg.sock")
        self.registrar = Registrar(socket, "CSIPlugin", name, endpoint, ("1.0.0",))

    async def start(self) -> None:
        await self.server.start()
        await self.registrar.server.start()

    async def stop(self) -> None:
        await self.registrar.server.stop()
        await self.server.stop()

    async def _info(self, _: Any) -> Any:
        return message("csi.v1.NodeGetInfoResponse")(
            node_id="id-of-node-1",
            max_volumes_per_node=self._most,
            accessible_topology={"segments": self._topology},
        )

    async def _capabilities(self, _: Any) -> Any:
        found = [{"rpc": {"type": 3}}, *([{"rpc": {"type": 1}}] if self._stages else [])]
        return message("csi.v1.NodeGetCapabilitiesResponse")(capabilities=found)

    def _note(self, what: str, request: Any) -> None:
        if self.failing:
            raise Refusal(self.failing)
        self.calls.append((what, request.volume_id))
        self.requests.append(request)

    async def _stage(self, request: Any) -> Any:
        self._note("stage", request)
        place = Path(request.staging_target_path)
        assert place.is_dir()
        (place / "staged").write_text(request.volume_id)
        return message("csi.v1.NodeStageVolumeResponse")()

    async def _unstage(self, request: Any) -> Any:
        self._note("unstage", request)
        (Path(request.staging_target_path) / "staged").unlink(missing_ok=True)
        return message("csi.v1.NodeUnstageVolumeResponse")()

    async def _publish(self, request: Any) -> Any:
        self._note("publish", request)
        assert request.volume_capability.HasField("mount")
        place = Path(request.target_path)
        assert place.parent.is_dir()
        place.mkdir(exist_ok=True)
        if self._mounts:
            mount_tmpfs(place, 1 << 20, 0o777)
        (place / "published").write_text(request.volume_id + "\n")
        return message("csi.v1.NodePublishVolumeResponse")()

    async def _unpublish(self, request: Any) -> Any:
        self._note("unpublish", request)
        place = Path(request.target_path)
        if self._mounts and place.exists():
            with suppress(OSError):
                unmount(place)
        if place.is_dir():
            (place / "published").unlink(missing_ok=True)
            place.rmdir()
        return message("csi.v1.NodeUnpublishVolumeResponse")()

    async def _expand(self, request: Any) -> Any:
        self._note("expand", request)
        size = request.capacity_range.required_bytes
        return message("csi.v1.NodeExpandVolumeResponse")(capacity_bytes=size)
