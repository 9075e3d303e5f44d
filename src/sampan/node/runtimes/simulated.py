"""A runtime without containers: everything answers as if it ran, on whatever clock it is given.

Containers run until they are stopped, or as the pod's annotation `sampan.dev/simulate` says, in JSON:
`{"run_s": 5, "exit_code": 1}` for all of them, `{"containers": {"web": {"run_s": 5}}}` for one by name.
`{"fail_start": "message"}` refuses to start; `{"cpu": "250m", "memory": "64Mi"}` is what each container uses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import replace

from sampan.base.clock import Clock, micro_time
from sampan.base.ids import Ids
from sampan.machinery.quantity import quantity
from sampan.node.names import POD_UID
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
    State,
    Usage,
)
from sampan.node.timers import Timer, Timers

ANNOTATION: Final = "sampan.dev/simulate"
TERM_CODE: Final = 143
IMAGE_BYTES: Final = 4 << 20


class Behaviour(msgspec.Struct, frozen=True):
    """How a simulated container behaves; `run_s` None means until it is stopped."""

    run_s: float | None = None
    exit_code: int = 0
    fail_start: str = ""
    exec_exit_code: int = 0
    exec_output: str = ""
    log: str = ""
    cpu: str = "1m"
    memory: str = "8Mi"
    containers: dict[str, dict[str, int | float | str | None]] = {}


@lru_cache(maxsize=1024)
def behaviour(annotation: str, container: str) -> Behaviour:
    """What the annotation asks of one container. Raises ValueError where it is not such JSON."""
    if not annotation:
        return Behaviour()
    try:
        whole = msgspec.json.decode(annotation.encode(), type=Behaviour)
        own = whole.containers.get(container)
        if own is None:
            return whole
        return msgspec.convert(msgspec.to_builtins(whole) | own, Behaviour)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the annotation {ANNOTATION} is not a simulation: {error}") from error


class SimulatedSession:
    """An exec or attach that says what the simulation was told to and ends."""

    def __init__(self, output: bytes, exit_code: int) -> None:
        self._output = output
        self._exit_code = exit_code

    async def write(self, data: bytes) -> None:
        return None

    async def close_stdin(self) -> None:
        return None

    async def resize(self, columns: int, rows: int) -> None:
        return None

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        if self._output:
            yield 1, self._output

    async def wait(self) -> int:
        return self._exit_code

    async def close(self) -> None:
        return None


class SimulatedRuntime:
    """Implements `Runtime` for one node or for thousands: pods are told apart by their uid alone."""

    name = "simulated"
    answers_at_once = True

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        pod_cidr: str = "10.64.0.0/10",
        sandbox_delay_s: float = 0.0,
        start_delay_s: float = 0.0,
        pull_delay_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._network = ipaddress.ip_network(pod_cidr)
        self._addresses = self._network.num_addresses
        self._sandbox_delay_s = sandbox_delay_s
        self._start_delay_s = start_delay_s
        self._pull_delay_s = pull_delay_s
        # Nothing takes any time, unless a pod's annotation says so.
        self._instant = not (sandbox_delay_s or start_delay_s or pull_delay_s)
        self._timers = Timers(clock)
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._by_pod: dict[str, set[str]] = defaultdict(set)
        self._in_sandbox: dict[str, set[str]] = defaultdict(set)
        self._exit_timers: dict[str, Timer] = {}
        self._images: dict[str, Image] = {}
        self._free_ips: list[str] = []
        self._next_ip = 2  # .0 is the network, .1 the gateway
        self._listeners: list[asyncio.Queue[str]] = []

    async def version(self) -> str:
        return "simulated://1.0.0"

    async def list(self) -> Listing:
        return Listing(tuple(self._sandboxes.values()), tuple(self._containers.values()))

    async def list_pod(self, uid: str) -> Listing:
        """What belongs to one pod."""
        ids = sorted(self._by_pod.get(uid, ()))
        sandboxes = tuple(self._sandboxes[i] for i in ids if i in self._sandboxes)
        return Listing(sandboxes, tuple(self._containers[i] for i in ids if i in self._containers))

    async def exits(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    def run_pod(
        self, spec: SandboxSpec, containers: Sequence[ContainerSpec]
    ) -> tuple[Sandbox, Sequence[Container]] | None:
        """A sandbox with all these containers running, at once; `image` of each is what its pod says.

        None, and nothing done, where something about it takes time or may fail.
        """
        if not self._instant or ANNOTATION in spec.annotations or spec.uid in self._by_pod:
            return None
        if not all(container.image in self._images for container in containers):
            return None
        try:
            sandbox = self._make_sandbox(spec)
        except RuntimeFailure:
            return None
        now = self._clock.now()
        made = []
        for each in containers:
            image = self._images[each.image].id
            container = self._make_container(sandbox, each, image, State.RUNNING, now)
            made.append(container)
        return sandbox, made

    def end_pod(self, sandbox_id: str) -> Sequence[Container]:
        """Stop and remove a sandbox and all in it, at once; gives how its containers ended.

        Nobody is told of exits: who calls this knows of them.
        """
        sandbox = self._sandboxes.pop(sandbox_id)
        now = self._clock.now()
        ended = []
        for container_id in self._in_sandbox.pop(sandbox_id, ()):
            container = self._containers.pop(container_id)
            self._forget_timer(container_id)
            if container.state is not State.EXITED:
                container = _exited(container, TERM_CODE, now)
            ended.append(container)
        self._by_pod.pop(sandbox.uid, None)
        self._free_ips.extend(sandbox.ips)
        return ended

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        await self._pass(self._sandbox_delay_s)
        return self._make_sandbox(spec).id

    def _make_sandbox(self, spec: SandboxSpec) -> Sandbox:
        sandbox = Sandbox(
            id=self._ids.uid().replace("-", ""),
            namespace=spec.namespace,
            name=spec.name,
            uid=spec.uid,
            attempt=spec.attempt,
            ready=True,
            created_at=self._clock.now(),
            ips=() if spec.host_network else (self._take_ip(),),
            labels=spec.labels,
            annotations=spec.annotations,
        )
        self._sandboxes[sandbox.id] = sandbox
        self._by_pod[spec.uid].add(sandbox.id)
        return sandbox

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        for container_id in sorted(self._in_sandbox[sandbox_id]):
            self._exit(container_id, TERM_CODE)
        self._sandboxes[sandbox_id] = replace(sandbox, ready=False, ips=())
        self._free_ips.extend(sandbox.ips)
        self._tell(sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        for container_id in sorted(self._in_sandbox.pop(sandbox_id, ())):
            await self.remove_container(container_id)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None:
            self._leave_pod(sandbox.uid, sandbox_id)

    async def create_container(self, sandbox_id: str, sandbox: SandboxSpec, spec: ContainerSpec) -> str:
        home = self._sandboxes.get(sandbox_id)
        if home is None or not home.ready:
            raise RuntimeFailure("CreateContainerError", f"sandbox {sandbox_id} is not running")
        return self._make_container(home, spec, spec.image, State.CREATED, None).id

    def _make_container(
        self, home: Sandbox, spec: ContainerSpec, image: str, state: State, started_at: datetime | None
    ) -> Container:
        container = Container(
            id=self._ids.uid().replace("-", ""),
            sandbox_id=home.id,
            name=spec.name,
            attempt=spec.attempt,
            state=state,
            image=image,
            image_ref=image,
            created_at=self._clock.now(),
            started_at=started_at,
            labels=spec.labels,
            annotations=spec.annotations,
        )
        self._containers[container.id] = container
        self._by_pod[home.uid].add(container.id)
        self._in_sandbox[home.id].add(container.id)
        return container

    async def start_container(self, container_id: str) -> datetime:
        await self._pass(self._start_delay_s)
        container = self._containers.get(container_id)
        if container is None or container.state is not State.CREATED:
            raise RuntimeFailure("RunContainerError", f"container {container_id} cannot be started")
        plan = self._plan(container)
        if plan.fail_start:
            raise RuntimeFailure("RunContainerError", plan.fail_start)
        now = self._clock.now()
        self._containers[container_id] = replace(container, state=State.RUNNING, started_at=now)
        if plan.run_s is not None:
            code = plan.exit_code
            timer = self._timers.after(plan.run_s, lambda: self._exit(container_id, code))
            self._exit_timers[container_id] = timer
        return now

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        self._exit(container_id, TERM_CODE)

    async def remove_container(self, container_id: str) -> None:
        self._exit(container_id, TERM_CODE)
        container = self._containers.pop(container_id, None)
        if container is None:
            return
        self._in_sandbox.get(container.sandbox_id, set()).discard(container_id)
        self._leave_pod(container.labels.get(POD_UID, ""), container_id)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        if container_id not in self._containers:
            raise RuntimeFailure("NotFound", f"there is no container {container_id}")

    async def reopen_log(self, container_id: str) -> None:
        """Nothing: logs of simulated containers are no files."""

    async def find_image(self, reference: str) -> Image | None:
        return self._images.get(reference)

    async def pull_image(self, reference: str, credentials: Credentials | None) -> Image:
        await self._pass(self._pull_delay_s)
        image = Image(id=f"simulated/{reference}", tags=(reference,), digests=(), size_bytes=IMAGE_BYTES)
        self._images[reference] = image
        return image

    async def list_images(self) -> Sequence[Image]:
        return list(self._images.values())

    async def remove_image(self, reference: str) -> None:
        for name in [n for n, image in self._images.items() if reference in (n, image.id)]:
            del self._images[name]

    async def mount_image(self, image: Image, name: str, directory: str) -> None:
        """Nothing: there is no disk."""

    async def release_image(self, name: str) -> None:
        """Nothing: there is no disk."""

    async def image_directory(self) -> str:
        return ""

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        plan = self._plan(self._running(container_id))
        return ExecResult(plan.exec_exit_code, plan.exec_output.encode(), b"")

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool
    ) -> SimulatedSession:
        plan = self._plan(self._running(container_id))
        output = plan.exec_output or f"simulated: {' '.join(command)}\n"
        return SimulatedSession(output.encode(), plan.exec_exit_code)

    async def attach(self, container_id: str, *, tty: bool, stdin: bool) -> SimulatedSession:
        return SimulatedSession(self._plan(self._running(container_id)).log.encode(), 0)

    def log(self, container_id: str) -> bytes:
        """The container's log in CRI format: what the annotation has under `log`, or one canned line."""
        container = self._containers.get(container_id)
        if container is None:
            return b""
        at = micro_time(container.started_at or container.created_at)
        text = self._plan(container).log or f"simulated container {container.name}"
        return "".join(f"{at} stdout F {line}\n" for line in text.splitlines()).encode()

    async def open_port(self, sandbox_id: str, port: int) -> tuple[int, int]:
        raise ConnectionRefusedError(f"nothing listens on port {port} of a simulated pod")

    async def usage(self) -> Sequence[Usage]:
        now = self._clock.now()
        return [self._usage(c, now) for c in self._containers.values() if c.state is State.RUNNING]

    def _usage(self, container: Container, now: datetime) -> Usage:
        plan = self._plan(container)
        ran_s = (now - (container.started_at or now)).total_seconds()
        cpu_ns = int(quantity(plan.cpu).milli() * 1_000_000 * ran_s)
        return Usage(container.id, cpu_ns, quantity(plan.memory).whole())

    def kill_sandbox(self, sandbox_id: str) -> None:
        """A fault for tests: the sandbox dies, and with it what runs inside."""
        sandbox = self._sandboxes[sandbox_id]
        for container_id in sorted(self._in_sandbox[sandbox_id]):
            self._exit(container_id, 137)
        self._sandboxes[sandbox_id] = replace(sandbox, ready=False)
        self._tell(sandbox_id)

    def exit_container(self, container_id: str, code: int) -> None:
        """A fault for tests: the container exits with `code`."""
        self._exit(container_id, code)

    async def close(self) -> None:
        self._timers.close()

    async def _pass(self, delay_s: float) -> None:
        if delay_s > 0:
            await self._clock.sleep(delay_s)

    def _take_ip(self) -> str:
        if self._free_ips and self._next_ip >= self._addresses - 1:
            return self._free_ips.pop(0)
        if self._next_ip >= self._addresses - 1:
            raise RuntimeFailure(
                "FailedCreatePodSandBox", f"no address is left in {self._network}; give a larger pod_cidr"
            )
        first = self._network.network_address
        # `ipaddress` takes many times as long for this.
        packed = (int(first) + self._next_ip).to_bytes(first.max_prefixlen // 8, "big")
        ip = socket.inet_ntop(socket.AF_INET if first.version == 4 else socket.AF_INET6, packed)
        self._next_ip += 1
        return ip

    def _plan(self, container: Container) -> Behaviour:
        home = self._sandboxes.get(container.sandbox_id)
        text = home.annotations.get(ANNOTATION, "") if home is not None else ""
        try:
            return behaviour(text, container.name)
        except ValueError as error:
            raise RuntimeFailure("RunContainerError", str(error)) from error

    def _running(self, container_id: str) -> Container:
        container = self._containers.get(container_id)
        if container is None or container.state is not State.RUNNING:
            raise RuntimeFailure("NotRunning", f"container {container_id} is not running")
        return container

    def _exit(self, container_id: str, code: int) -> None:
        container = self._containers.get(container_id)
        if container is None or container.state is State.EXITED:
            return
        self._forget_timer(container_id)
        self._containers[container_id] = _exited(container, code, self._clock.now())
        self._tell(container_id)

    def _forget_timer(self, container_id: str) -> None:
        timer = self._exit_timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()

    def _leave_pod(self, uid: str, id_: str) -> None:
        ids = self._by_pod.get(uid)
        if ids is not None:
            ids.discard(id_)
            if not ids:
                del self._by_pod[uid]

    def _tell(self, id_: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(id_)


def _exited(container: Container, code: int, now: datetime) -> Container:
    reason = "Completed" if code == 0 else "Error"
    return replace(container, state=State.EXITED, finished_at=now, exit_code=code, reason=reason)
