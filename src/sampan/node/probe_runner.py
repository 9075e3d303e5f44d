"""Runs probes when they are due, and says what came out. What it means is decided in the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from sampan.base.clock import Clock
from sampan.node.http_probe import http_get
from sampan.node.messages import StartProbe
from sampan.node.model import ProbeKind
from sampan.node.probes import DEFAULT_PERIOD_S, DEFAULT_TIMEOUT_S, probe_of
from sampan.node.runtimes.runtime import Runtime, RuntimeFailure
from sampan.node.timers import Timer, Timers
from sampan.node.turn import spec_of
from sampan.node.waiting import within
from sampan.schema import api

PROBES_AT_ONCE: Final = 64
OUTPUT_MOST: Final = 10 * 1024

Report = Callable[[bool, str], None]
ProbeId = tuple[str, ProbeKind]


class _Running(msgspec.Struct):
    timer: Timer | None = None
    task: asyncio.Task[None] | None = None
    stopped: bool = False


class ProbeRunner:
    """Every probe of the node on one set of timers; nothing runs between two probes."""

    def __init__(self, runtime: Runtime, clock: Clock, timers: Timers) -> None:
        self._runtime = runtime
        self._clock = clock
        self._timers = timers
        self._running: dict[ProbeId, _Running] = {}
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE)

    def start(self, pod: api.Pod, order: StartProbe, report: Report) -> None:
        """Probe from initialDelaySeconds after the container's start, then once each period."""
        spec = spec_of(pod, order.container)
        probe = probe_of(spec, order.kind) if spec is not None else None
        key = (order.container_id, order.kind)
        if spec is None or probe is None or key in self._running:
            return
        running = self._running[key] = _Running()
        age_s = (self._clock.now() - order.started_at).total_seconds()
        delay_s = max((probe.initialDelaySeconds or 0) - age_s, 0.0)
        container, settled = spec, probe

        def due() -> None:
            if not running.stopped:
                period_s = settled.periodSeconds or DEFAULT_PERIOD_S
                running.timer = self._timers.after(period_s, due)
                if running.task is None or running.task.done():
                    work = self._once(container, settled, order, report, running)
                    running.task = asyncio.get_running_loop().create_task(work)

        running.timer = self._timers.after(delay_s, due)

    def stop(self, container_id: str, kind: ProbeKind) -> None:
        """Probe no more; a result that is on its way is dropped."""
        running = self._running.pop((container_id, kind), None)
        if running is None:
            return
        running.stopped = True
        if running.timer is not None:
            running.timer.cancel()
        if running.task is not None and running.task is not asyncio.current_task():
            running.task.cancel()

    def close(self) -> None:
        for container_id, kind in list(self._running):
            self.stop(container_id, kind)

    async def _once(
        self, spec: api.Container, probe: api.Probe, order: StartProbe, report: Report, running: _Running
    ) -> None:
        async with self._slots:
            ok, output = await run_probe(self._runtime, self._clock, spec, probe, order)
        if not running.stopped:
            report(ok, output[:OUTPUT_MOST])


async def run_probe(
    runtime: Runtime, clock: Clock, spec: api.Container, probe: api.Probe, order: StartProbe
) -> tuple[bool, str]:
    """Run one probe to its end: whether it succeeded, and what it said. Never raises but for cancellation."""
    timeout_s = float(probe.timeoutSeconds or DEFAULT_TIMEOUT_S)
    address = order.ips[0] if order.ips else "127.0.0.1"
    try:
        if probe.exec is not None:
            return await _exec(runtime, order.container_id, probe.exec.command, timeout_s)
        if probe.httpGet is not None:
            return await within(clock, timeout_s, _http(spec, probe.httpGet, address))
        if probe.tcpSocket is not None:
            action = probe.tcpSocket
            return await within(clock, timeout_s, _tcp(action.host or address, port_of(spec, action.port)))
        if probe.grpc is not None:
            from sampan.node.grpc_probe import grpc_health  # grpc takes a while to import

            tls = probe.grpc.mode == "TLS"
            work = grpc_health(address, probe.grpc.port, probe.grpc.service or "", timeout_s, tls)
            return await within(clock, timeout_s, work)
    except TimeoutError:
        return False, f"command timed out: deadline of {timeout_s:g}s exceeded"
    except (OSError, RuntimeFailure, ValueError) as error:
        return False, str(error)
    return True, ""


async def _exec(
    runtime: Runtime, container_id: str, command: list[str], timeout_s: float
) -> tuple[bool, str]:
    result = await runtime.exec_sync(container_id, command, timeout_s)
    return result.exit_code == 0, (result.stdout + result.stderr).decode(errors="replace")


async def _http(spec: api.Container, action: api.HTTPGetAction, address: str) -> tuple[bool, str]:
    port = port_of(spec, action.port)
    headers = [(h.name, h.value) for h in action.httpHeaders]
    answer = await http_get(
        action.scheme or "HTTP", action.host or address, port, action.path or "/", headers
    )
    if 200 <= answer.status < 400:
        return True, answer.body
    return False, f"HTTP probe failed with statuscode: {answer.status}"


async def _tcp(address: str, port: int) -> tuple[bool, str]:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True, ""


def port_of(spec: api.Container, port: int | str) -> int:
    """The number of a port given by number or by the name of a container port. Raises ValueError."""
    if isinstance(port, int):
        return port
    for declared in spec.ports:
        if declared.name == port:
            return declared.containerPort
    if port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port!r} in container {spec.name!r}")
