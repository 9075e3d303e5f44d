"""Probes and hooks against real sockets on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from sampan.base.clock import SimulatedClock, SystemClock
from sampan.base.ids import RandomIds
from sampan.node.grpc_probe import METHOD
from sampan.node.hooks import HookFailure, run_hook
from sampan.node.messages import StartProbe
from sampan.node.model import ProbeKind
from sampan.node.names import CONTAINER_NAME
from sampan.node.probe_runner import ProbeRunner, run_probe
from sampan.node.runtimes.runtime import ContainerSpec, SandboxSpec
from sampan.node.runtimes.simulated import ANNOTATION, SimulatedRuntime
from sampan.node.timers import Timers
from sampan.schema import api, codec
from tests.unit.node.fakes import container, make_pod


@asynccontextmanager
async def http_server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        await server.wait_closed()


async def runtime_with(annotation: str, clock: Any) -> tuple[SimulatedRuntime, str]:
    runtime = SimulatedRuntime(clock, RandomIds())
    sandbox = SandboxSpec(namespace="d", name="p", uid="u", annotations={ANNOTATION: annotation})
    home = await runtime.run_sandbox(sandbox)
    spec = ContainerSpec(name="app", attempt=0, image="i", labels={CONTAINER_NAME: "app"})
    container_id = await runtime.create_container(home, sandbox, spec)
    await runtime.start_container(container_id)
    return runtime, container_id


async def probe(fields: dict[str, Any], annotation: str = "", ports: Any = ()) -> tuple[bool, str]:
    clock = SystemClock()
    runtime, container_id = await runtime_with(annotation, clock)
    spec = make_pod(containers=[container(ports=list(ports))]).spec.containers[0]
    order = StartProbe("app", container_id, ProbeKind.LIVENESS, clock.now(), ("127.0.0.1",))
    return await run_probe(runtime, clock, spec, codec.from_builtins(fields, api.Probe), order)


@pytest.mark.parametrize(
    ("answer", "ok", "output"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", True, "fine"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", True, ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False, "HTTP probe failed with statuscode: 404"),
        (b"HTTP/1.0 500\r\n\r\n", False, "HTTP probe failed with statuscode: 500"),
        (b"nonsense\r\n\r\n", False, "malformed HTTP response 'nonsense'"),
        (b"", False, "EOF"),
    ],
)
def test_http(answer: bytes, ok: bool, output: str) -> None:
    async def main() -> None:
        async with http_server(answer) as (port, heads):
            headers = [{"name": "X-Try", "value": "1"}]
            action = {"path": "/healthz?a=b", "port": "web", "httpHeaders": headers}
            ports = [{"name": "web", "containerPort": port}]
            assert await probe({"httpGet": action}, ports=ports) == (ok, output)
            lines = heads[0].split(b"\r\n")
            assert lines[0] == b"GET /healthz?a=b HTTP/1.1"
            assert b"X-Try: 1" in lines and f"Host: 127.0.0.1:{port}".encode() in lines
            assert b"User-Agent: kube-probe/1.37" in lines

    asyncio.run(main())


def test_tcp() -> None:
    async def main() -> None:
        async with http_server(b"") as (port, _):
            pass
        ok, output = await probe({"tcpSocket": {"port": port}})
        assert (not ok and "refused" in output.lower()) or "Connect call failed" in output
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        async with server:
            open_port = server.sockets[0].getsockname()[1]
            assert await probe({"tcpSocket": {"port": open_port}}) == (True, "")

    asyncio.run(main())


@pytest.mark.parametrize(("code", "ok"), [(0, True), (3, False)])
def test_exec(code: int, ok: bool) -> None:
    annotation = f'{{"exec_exit_code": {code}, "exec_output": "hello"}}'
    assert asyncio.run(probe({"exec": {"command": ["x"]}}, annotation)) == (ok, "hello")


def test_an_unknown_port_name_fails_the_probe() -> None:
    ok, output = asyncio.run(probe({"httpGet": {"port": "none"}}))
    assert not ok and output == "couldn't find port: 'none' in container 'app'"


@pytest.mark.parametrize(
    ("status", "ok", "output"),
    [
        (b"\x08\x01", True, "service healthy: SERVING"),
        (b"\x08\x02", False, "service unhealthy (responded with 'NOT_SERVING')"),
        (b"", False, "service unhealthy (responded with 'UNKNOWN')"),
    ],
)
def test_grpc(status: bytes, ok: bool, output: str) -> None:
    asked: list[bytes] = []

    async def main() -> None:
        async def check(request: bytes, context: Any) -> bytes:
            asked.append(request)
            return status

        service, method = METHOD.strip("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(check)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            action = {"port": port, "service": "db"}
            assert await probe({"grpc": action, "timeoutSeconds": 10}) == (ok, output)
        finally:
            await server.stop(None)
        assert asked == [b"\x0a\x02db"]

    asyncio.run(main())


def test_probes_keep_their_delay_and_period() -> None:
    async def main() -> None:
        clock = SimulatedClock()
        runtime, container_id = await runtime_with('{"exec_exit_code": 0}', clock)
        timers = Timers(clock)
        runner = ProbeRunner(runtime, clock, timers)
        fields = {"exec": {"command": ["x"]}, "initialDelaySeconds": 7, "periodSeconds": 3}
        pod = make_pod(containers=[container(readinessProbe=fields)])
        begun = clock.now()
        at: list[float] = []
        order = StartProbe("app", container_id, ProbeKind.READINESS, begun - timedelta(seconds=2), ())
        runner.start(pod, order, lambda ok, output: at.append((clock.now() - begun).total_seconds()))
        await clock.advance(12)
        assert at == [5, 8, 11]
        runner.stop(container_id, ProbeKind.READINESS)
        await clock.advance(12)
        assert len(at) == 3
        timers.close()
        await runtime.close()

    asyncio.run(main())


def hook(handler: dict[str, Any], annotation: str = "", clock: Any = None) -> Awaitable[None]:
    async def main() -> None:
        used = clock or SystemClock()
        runtime, container_id = await runtime_with(annotation, used)
        spec = make_pod().spec.containers[0]
        made = codec.from_builtins(handler, api.LifecycleHandler)
        await run_hook(runtime, used, spec, made, container_id, ("127.0.0.1",), 30)

    return main()


def finish(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_exec_hooks() -> None:
    finish(lambda: hook({"exec": {"command": ["x"]}}))
    with pytest.raises(HookFailure, match="command 'x y' exited with 2: no"):
        finish(lambda: hook({"exec": {"command": ["x", "y"]}}, '{"exec_exit_code": 2, "exec_output": "no"}'))


def test_http_hooks() -> None:
    async def main() -> None:
        async with http_server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heads):
            await hook({"httpGet": {"port": port, "path": "/stop"}})
            assert heads[0].startswith(b"GET /stop ")
        # As with kubelet, any answer will do.
        async with http_server(b"HTTP/1.1 500 No\r\n\r\n") as (port, heads):
            await hook({"httpGet": {"port": port}})
            assert heads[0].startswith(b"GET / ")
        with pytest.raises(OSError, match="Connect call failed"):
            await hook({"httpGet": {"port": 1}})

    asyncio.run(main())


def test_sleep_hooks() -> None:
    async def main() -> None:
        clock = SimulatedClock()
        task = asyncio.ensure_future(hook({"sleep": {"seconds": 4}}, clock=clock))
        await clock.advance(3)
        assert not task.done()
        await clock.advance(1)
        await task

    asyncio.run(main())
