"""The Runtime Protocol over CRI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sampan.base.clock import Clock, SystemClock
from sampan.node.images import reference as references
from sampan.node.runtimes.cri import attach, convert, exits, netns, tasks
from sampan.node.runtimes.cri.client import (
    IMAGES,
    PULL_TIMEOUT_S,
    RUNTIME,
    UNAVAILABLE,
    CriClient,
    DeadlineExceeded,
    NotFound,
)
from sampan.node.runtimes.cri.image_mounts import ImageMounts
from sampan.node.runtimes.runtime import (
    Container,
    ContainerSpec,
    Credentials,
    ExecResult,
    Image,
    Listing,
    Resources,
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    Session,
    State,
    Usage,
)

# Beyond a container's grace period, for the runtime's own work on a stop.
_STOP_MARGIN_S = 60.0
_EXEC_MARGIN_S = 10.0
# Status calls under way at once when a list finds many changes.
_STATUS_CALLS_AT_ONCE = 16


class CriRuntime:
    """Pods in a CRI runtime at `socket_path`.

    `owner` marks what this node makes and hides all else, for runtimes that several clusters share.
    `cgroup_parent` is where pods' cgroups go: a path, or a `.slice` under systemd.
    """

    def __init__(
        self, socket_path: str, *, clock: Clock | None = None, owner: str = "", cgroup_parent: str = ""
    ) -> None:
        self.name = "containerd"
        self.client = CriClient(socket_path)
        self._clock = clock or SystemClock()
        self._owner = owner
        self._cgroup_parent = cgroup_parent
        self._image_mounts = ImageMounts(self.client, self._clock)
        self._containers: dict[str, Container] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._runtime_name = ""

    async def version(self) -> str:
        answer = await self.client.call(RUNTIME, "Version")
        self.name = self._runtime_name = answer.runtime_name
        status = (await self.client.call(RUNTIME, "Status")).status
        for condition in status.conditions:
            if not condition.status:
                detail = condition.message or condition.reason
                text = f"{answer.runtime_name} is not ready: {condition.type}: {detail}"
                raise RuntimeFailure(condition.reason or UNAVAILABLE, text)
        return f"{answer.runtime_name}://{answer.runtime_version}"

    async def _is_containerd(self) -> bool:
        if not self._runtime_name:
            self._runtime_name = (await self.client.call(RUNTIME, "Version")).runtime_name
        return self._runtime_name == "containerd"

    # -- what there is

    async def list(self) -> Listing:
        listing = await self._list({})
        self._sandboxes = {each.id: each for each in listing.sandboxes}
        self._containers = {each.id: each for each in listing.containers}
        return listing

    async def list_pod(self, uid: str) -> Listing:
        """The part of the listing that belongs to one pod."""
        listing = await self._list({convert.POD_UID: uid})
        # What is gone stays remembered until the next whole listing; ids do not come again.
        self._sandboxes.update((each.id, each) for each in listing.sandboxes)
        self._containers.update((each.id, each) for each in listing.containers)
        return listing

    async def _list(self, labels: dict[str, str]) -> Listing:
        wanted = self._filter(labels)
        sandboxes, containers = await asyncio.gather(
            self.client.call(RUNTIME, "ListPodSandbox", filter=wanted),
            self.client.call(RUNTIME, "ListContainers", filter=wanted),
        )
        at_once = asyncio.Semaphore(_STATUS_CALLS_AT_ONCE)
        found_sandboxes = await asyncio.gather(*(self._sandbox(each, at_once) for each in sandboxes.items))
        found_containers = await asyncio.gather(
            *(self._container(each, at_once) for each in containers.containers)
        )
        return Listing(
            tuple(each for each in found_sandboxes if each is not None),
            tuple(each for each in found_containers if each is not None),
        )

    def _filter(self, labels: dict[str, str]) -> dict[str, Any]:
        owner = {convert.OWNER: self._owner} if self._owner else {}
        return {"label_selector": labels | owner}

    async def _sandbox(self, listed: Any, at_once: asyncio.Semaphore) -> Sandbox | None:
        """A sandbox's status is asked for when it appears and when its readiness changes."""
        known = self._sandboxes.get(listed.id)
        if known is not None and known.ready == (listed.state == 0):
            return known
        try:
            async with at_once:
                answer = await self.client.call(RUNTIME, "PodSandboxStatus", pod_sandbox_id=listed.id)
        except NotFound:  # removed since it was listed
            return None
        return convert.sandbox(answer.status)

    async def _container(self, listed: Any, at_once: asyncio.Semaphore) -> Container | None:
        known = self._containers.get(listed.id)
        if (
            known is not None
            and known.state == convert.state(listed.state)
            and known.state is not State.UNKNOWN
        ):
            return known
        try:
            async with at_once:
                answer = await self.client.call(RUNTIME, "ContainerStatus", container_id=listed.id)
        except NotFound:
            return None
        return convert.container(answer.status, listed.pod_sandbox_id)

    async def exits(self) -> AsyncIterator[str]:
        while True:
            try:
                is_containerd = await self._is_containerd()
                break
            except RuntimeFailure:  # it is being started, or started again
                await self._clock.sleep(exits.RECONNECT_DELAY_S)
        if is_containerd:
            source = exits.from_containerd(self.client, self._clock)
        else:
            source = exits.from_polling(self.list, self._clock)
        async for exited in source:
            yield exited

    # -- sandboxes

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        config = convert.sandbox_config(spec, owner=self._owner, cgroup_parent=self._cgroup_parent)
        answer = await self.client.call(
            RUNTIME, "RunPodSandbox", config=config, runtime_handler=spec.runtime_handler
        )
        sandbox_id: str = answer.pod_sandbox_id
        return sandbox_id

    async def show_sandbox(self, sandbox_id: str) -> Sandbox | None:
        """The sandbox as it is now; None where it is gone."""
        try:
            answer = await self.client.call(RUNTIME, "PodSandboxStatus", pod_sandbox_id=sandbox_id)
        except NotFound:
            return None
        found = self._sandboxes[sandbox_id] = convert.sandbox(answer.status)
        return found

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._if_there("StopPodSandbox", pod_sandbox_id=sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._if_there("RemovePodSandbox", pod_sandbox_id=sandbox_id)

    # -- containers

    async def create_container(self, sandbox_id: str, sandbox: SandboxSpec, spec: ContainerSpec) -> str:
        answer = await self.client.call(
            RUNTIME,
            "CreateContainer",
            pod_sandbox_id=sandbox_id,
            config=convert.container_config(sandbox, spec, owner=self._owner),
            sandbox_config=convert.sandbox_config(
                sandbox, owner=self._owner, cgroup_parent=self._cgroup_parent
            ),
        )
        container_id: str = answer.container_id
        return container_id

    async def start_container(self, container_id: str) -> datetime:
        await self.client.call(RUNTIME, "StartContainer", container_id=container_id)
        # StartContainer's answer is empty, and a moment of our own could lie in the next second: the status
        # would change once the container is listed, and again after a restart of the agent.
        try:
            answer = await self.client.call(RUNTIME, "ContainerStatus", container_id=container_id)
        except RuntimeFailure:  # it runs all the same
            return self._clock.now()
        return convert.moment(answer.status.started_at)

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        # CRI counts whole seconds, and 0 kills at once: half a second of grace must not become none.
        timeout = int(grace_s) if grace_s == int(grace_s) else int(grace_s) + 1
        await self._if_there(
            "StopContainer", container_id=container_id, timeout=timeout, timeout_s=timeout + _STOP_MARGIN_S
        )

    async def remove_container(self, container_id: str) -> None:
        await self._if_there("RemoveContainer", container_id=container_id)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        await self.client.call(
            RUNTIME, "UpdateContainerResources", container_id=container_id, linux=convert.resources(resources)
        )

    async def reopen_log(self, container_id: str) -> None:
        """Write to a new file at the log's path from now on: called once the old one has been moved away."""
        await self.client.call(RUNTIME, "ReopenContainerLog", container_id=container_id)

    async def _if_there(self, method: str, **fields: Any) -> None:
        try:
            await self.client.call(RUNTIME, method, **fields)
        except NotFound:
            return

    # -- images

    async def find_image(self, reference: str) -> Image | None:
        answer = await self.client.call(IMAGES, "ImageStatus", image={"image": _checked(reference)})
        return convert.image(answer.image) if answer.HasField("image") else None

    async def pull_image(self, reference: str, credentials: Credentials | None) -> Image:
        answer = await self.client.call(
            IMAGES,
            "PullImage",
            image={"image": _checked(reference)},
            auth=convert.auth(credentials),
            timeout_s=PULL_TIMEOUT_S,
        )
        pulled = await self.find_image(answer.image_ref)
        if pulled is None:
            raise RuntimeFailure(
                "ErrImagePull", f"The image {reference} was removed as soon as it was pulled."
            )
        return pulled

    async def list_images(self) -> Sequence[Image]:
        answer = await self.client.call(IMAGES, "ListImages")
        return [convert.image(each) for each in answer.images]

    async def remove_image(self, reference: str) -> None:
        try:
            await self.client.call(IMAGES, "RemoveImage", image={"image": reference})
        except NotFound:
            return

    async def mount_image(self, image: Image, name: str, directory: str) -> None:
        await self._image_mounts.mount(image, name, Path(directory))

    async def release_image(self, name: str) -> None:
        await self._image_mounts.release(name)

    async def image_directory(self) -> str:
        answer = await self.client.call(IMAGES, "ImageFsInfo")
        return next((each.fs_id.mountpoint for each in answer.image_filesystems), "")

    # -- inside containers

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        # CRI counts whole seconds and takes 0 for no limit.
        limit_s = max(1, int(timeout_s + 0.999)) if timeout_s > 0 else 0
        margin_s = limit_s + _EXEC_MARGIN_S if limit_s else PULL_TIMEOUT_S
        try:
            answer = await self.client.call(
                RUNTIME,
                "ExecSync",
                container_id=container_id,
                cmd=command,
                timeout=limit_s,
                timeout_s=margin_s,
            )
        except DeadlineExceeded:
            raise TimeoutError(
                f"{command[0] if command else 'The command'} ran longer than {timeout_s} s."
            ) from None
        return ExecResult(answer.exit_code, answer.stdout, answer.stderr)

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> Session:
        if await self._is_containerd():
            return await tasks.start_exec(
                self.client, self._clock, container_id, command, tty=tty, stdin=stdin
            )
        answer = await self.client.call(
            RUNTIME,
            "Exec",
            container_id=container_id,
            cmd=command,
            tty=tty,
            stdin=stdin,
            stdout=True,
            stderr=not tty,
        )
        return await attach.connect(answer.url)

    async def attach(self, container_id: str, *, tty: bool, stdin: bool) -> Session:
        output = await self._attach_url(container_id, tty=tty, stdin=True, stdout=True, stderr=not tty)
        input_url = await self._attach_url(container_id, tty=tty, stdin=True) if stdin else ""
        return await attach.connect(output, input_url=input_url)

    async def _attach_url(self, container_id: str, **streams: Any) -> str:
        answer = await self.client.call(RUNTIME, "Attach", container_id=container_id, **streams)
        return str(answer.url)

    async def open_port(self, sandbox_id: str, port: int) -> tuple[int, int]:
        answer = await self.client.call(RUNTIME, "PodSandboxStatus", pod_sandbox_id=sandbox_id, verbose=True)
        return await netns.connect(netns.path_of(answer.info), port)

    async def usage(self) -> Sequence[Usage]:
        answer = await self.client.call(RUNTIME, "ListContainerStats", filter=self._filter({}))
        return [convert.usage(each) for each in answer.stats]

    async def close(self) -> None:
        await self.client.close()


def _checked(reference: str) -> str:
    """Runtimes word a malformed name each in their own way; pods show InvalidImageName."""
    if not references.is_image_id(reference):
        try:
            references.parse(reference)
        except ValueError as error:
            raise RuntimeFailure("InvalidImageName", str(error)) from None
    return reference
