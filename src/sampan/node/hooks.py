"""Runs lifecycle handlers: postStart and preStop."""

from __future__ import annotations

from sampan.base.clock import Clock
from sampan.node.http_probe import http_get
from sampan.node.probe_runner import port_of
from sampan.node.runtimes.runtime import Runtime, RuntimeFailure
from sampan.node.waiting import within
from sampan.schema import api

HTTP_PORT = 80


class HookFailure(RuntimeFailure):
    """A handler failed."""

    def __init__(self, message: str) -> None:
        super().__init__("FailedHook", message)


async def run_hook(
    runtime: Runtime,
    clock: Clock,
    spec: api.Container,
    handler: api.LifecycleHandler,
    container_id: str,
    ips: tuple[str, ...],
    limit_s: float,
) -> None:
    """Run one handler within `limit_s` seconds. Raises RuntimeFailure, TimeoutError or OSError."""
    if handler.exec is not None:
        result = await runtime.exec_sync(container_id, handler.exec.command, limit_s)
        if result.exit_code != 0:
            output = (result.stdout + result.stderr).decode(errors="replace").strip()
            raise HookFailure(
                f"command '{' '.join(handler.exec.command)}' exited with {result.exit_code}: {output}"
            )
    elif handler.httpGet is not None:
        await within(clock, limit_s, _http(spec, handler.httpGet, ips))
    elif handler.sleep is not None:
        await clock.sleep(min(handler.sleep.seconds, limit_s))


async def _http(spec: api.Container, action: api.HTTPGetAction, ips: tuple[str, ...]) -> None:
    port = port_of(spec, action.port) if action.port else HTTP_PORT
    host = action.host or (ips[0] if ips else "127.0.0.1")
    headers = [(h.name, h.value) for h in action.httpHeaders]
    # Whatever the answer: kubelet only minds when there is none.
    await http_get(action.scheme or "HTTP", host, port, action.path or "/", headers)
