"""The proxies' shells: with a kernel that only takes notes, and with real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock, SystemClock
from sampan.base.errors import SampanError
from sampan.network.proxy import kernel as real
from sampan.network.proxy.health import health_page
from sampan.network.proxy.rules import HealthCheck
from sampan.network.proxy.shell import COALESCE_S, RESYNC_S, RETRY_FIRST_S, ServiceProxy
from sampan.network.proxy.userspace import UserspaceProxy
from sampan.schema import api
from tests.ports import free_port
from tests.unit.network.objects import NODE, Held, endpoint_slice, remote, service

DEADLINE_S = 20.0


class Notes:
    """A kernel that takes notes."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.forgotten: list[tuple[str, ...]] = []
        self.settings = {"net/ipv4/ip_forward": "0", "net/ipv4/conf/all/route_localnet": "0"}
        self.routes: list[str] = []
        self.refuse_next = 0
        self.read_only: set[str] = set()

    async def apply(self, script: str) -> None:
        if self.refuse_next:
            self.refuse_next -= 1
            raise SampanError("nftables refused the rules for services: busy.")
        self.scripts.append(script)

    async def forget_flows(self, arguments: tuple[str, ...]) -> None:
        self.forgotten.append(arguments)

    async def has_route(self, cidr: str) -> bool:
        return cidr in self.routes

    async def change_route(self, action: str, cidr: str) -> None:
        (self.routes.append if action == "add" else self.routes.remove)(cidr)

    def setting(self, name: str) -> str | None:
        return self.settings.get(name)

    def change_setting(self, name: str, value: str) -> None:
        if name in self.read_only:
            raise SampanError(f"{name} cannot be set.")
        self.settings[name] = value


class World:
    def __init__(self) -> None:
        self.kernel, self.clock = Notes(), SimulatedClock()
        self.services, self.slices, self.nodes = Held(), Held(), Held()
        self.proxy = ServiceProxy(
            self.services,  # type: ignore[arg-type]
            self.slices,  # type: ignore[arg-type]
            NODE,
            self.kernel,
            self.clock,
            nodes=self.nodes,  # type: ignore[arg-type]
            table_name="sampan-test",
        )


def run(steps: Callable[[World], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        world = World()
        world.services.put(service())
        world.slices.put(endpoint_slice("10.88.0.2"))
        running = asyncio.create_task(world.proxy.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await world.clock.advance(0)
                await steps(world)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(all_of_it())


def test_all_at_first_then_only_what_changes_and_not_too_often() -> None:
    async def steps(world: World) -> None:
        kernel = world.kernel
        assert len(kernel.scripts) == 1 and kernel.scripts[0].startswith("add table inet sampan-test\ndelete")
        assert kernel.settings["net/ipv4/ip_forward"] == "1"
        for last in range(3, 8):
            world.slices.put(endpoint_slice("10.88.0.2", f"10.88.0.{last}"))
        await world.clock.advance(COALESCE_S / 2)
        assert len(kernel.scripts) == 1
        await world.clock.advance(COALESCE_S)
        assert len(kernel.scripts) == 2
        assert "10.88.0.7" in kernel.scripts[1] and "table" not in kernel.scripts[1]
        await world.clock.advance(1)
        world.services.remove(service())
        await world.clock.advance(0)  # after a pause the next change goes out at once
        assert len(kernel.scripts) == 3 and "delete chain" in kernel.scripts[2]
        await world.clock.advance(1)
        world.slices.put(endpoint_slice("10.88.0.9", service="nobody"))
        await world.clock.advance(1)
        assert len(kernel.scripts) == 3  # of no consequence

    run(steps)


def test_a_refused_increment_becomes_a_whole_table_and_a_refused_table_is_tried_again() -> None:
    async def steps(world: World) -> None:
        await world.clock.advance(1)
        world.kernel.refuse_next = 1
        world.slices.put(endpoint_slice("10.88.0.3"))
        await world.clock.advance(COALESCE_S)
        assert "delete table inet sampan-test" in world.kernel.scripts[-1]
        await world.clock.advance(1)
        world.kernel.refuse_next = 2
        world.slices.put(endpoint_slice("10.88.0.4"))
        await world.clock.advance(RETRY_FIRST_S / 2)
        assert "10.88.0.4" not in world.kernel.scripts[-1]
        await world.clock.advance(RETRY_FIRST_S)
        assert "10.88.0.4" in world.kernel.scripts[-1]

    run(steps)


def test_the_table_is_put_back_now_and_then() -> None:
    async def steps(world: World) -> None:
        await world.clock.advance(RESYNC_S + 1)
        assert [s.startswith("add table") for s in world.kernel.scripts] == [True, True]
        # The hooks stay where they are: no connection falls between two tables.
        assert ["delete" in s for s in world.kernel.scripts] == [True, False]

    run(steps)


def test_cleanup_takes_the_table_and_puts_the_setting_back() -> None:
    async def steps(world: World) -> None:
        assert world.kernel.settings["net/ipv4/conf/all/route_localnet"] == "1"
        await world.proxy.cleanup()
        assert world.kernel.settings["net/ipv4/conf/all/route_localnet"] == "0"
        assert world.kernel.scripts[-1] == "add table inet sampan-test\ndelete table inet sampan-test\n"

    run(steps)


def test_a_node_that_may_not_forward_is_told_so() -> None:
    async def steps() -> None:
        world = World()
        world.kernel.read_only.add("net/ipv4/ip_forward")
        with pytest.raises(SampanError, match="ip_forward"):
            await world.proxy.run()

    asyncio.run(asyncio.wait_for(steps(), DEADLINE_S))


def test_flows_of_udp_endpoints_that_are_gone_are_forgotten() -> None:
    ports = [{"port": 53, "protocol": "UDP"}]

    async def steps(world: World) -> None:
        world.services.put(service("dns", clusterIP="10.96.0.2", ports=ports))
        world.slices.put(endpoint_slice("10.88.0.2", service="dns", ports=ports))
        await world.clock.advance(1)
        world.slices.put(endpoint_slice("10.88.0.3", service="dns", ports=ports))
        await world.clock.advance(1)
        assert world.kernel.forgotten[-1][-2:] == ("--reply-src", "10.88.0.2")

    run(steps)


def test_errors_of_nft_are_sentences() -> None:
    denied = "netlink: Error: cache initialization failed: Operation not permitted"
    assert real._nft_sentence(denied) == "nftables may not be changed; run as root (or with CAP_NET_ADMIN)."
    wrong = "/dev/stdin:3:1-9: Error: syntax error\nadd rulle x\n    ^^^^^\n"
    assert real._nft_sentence(wrong) == (
        "nftables refused the rules for services: /dev/stdin:3:1-9: Error: syntax error; add rulle x."
    )


def test_a_missing_program_is_named_with_its_package() -> None:
    async def steps() -> None:
        with pytest.raises(SampanError, match="no-such-program is not installed"):
            await real.LinuxKernel(("no-such-program",)).apply("")

    asyncio.run(steps())


def test_health_page_as_kube_proxy_answers() -> None:
    assert health_page(HealthCheck("default", "web", 31000, 2))[0] == 200
    status, text, kind = health_page(HealthCheck("default", "web", 31000, 0))
    assert (status, kind) == (503, "application/json")
    assert text == (
        '{"service": {"namespace": "default", "name": "web"}, "localEndpoints": 0, '
        '"serviceProxyHealthy": true}\n'
    )


class Echo(asyncio.DatagramProtocol):
    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(self._name + data, addr)


def test_userspace_forwards_tcp_and_udp_in_turn() -> None:
    async def steps() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"tcp:" + await reader.read())
            writer.close()

        loop = asyncio.get_running_loop()
        tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
        tcp_port = tcp.sockets[0].getsockname()[1]
        made = [
            await loop.create_datagram_endpoint(lambda name=name: Echo(name), local_addr=("127.0.0.1", 0))
            for name in (b"a:", b"b:")
        ]
        udp_ports = [transport.get_extra_info("sockname")[1] for transport, _ in made]
        node_tcp, node_udp = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
        services, slices = Held(), Held()
        ports = [
            {"name": "t", "port": 80, "protocol": "TCP", "nodePort": node_tcp},
            {"name": "u", "port": 80, "protocol": "UDP", "nodePort": node_udp},
        ]
        services.put(service(type="NodePort", ports=ports))
        closed = free_port(socket.SOCK_STREAM)
        for number, port in enumerate((tcp_port, closed)):
            own = [{"name": "t", "port": port, "protocol": "TCP"}]
            slices.put(endpoint_slice("127.0.0.1", name=f"t{number}", ports=own))
        for number, port in enumerate(udp_ports):
            own = [{"name": "u", "port": port, "protocol": "UDP"}]
            slices.put(endpoint_slice("127.0.0.1", name=f"u{number}", ports=own))
        proxy = UserspaceProxy(services, slices, NODE, SystemClock())  # type: ignore[arg-type]
        running = asyncio.create_task(proxy.run())
        await proxy.settled()
        for _ in range(3):  # the endpoint that refuses is passed over
            reader, writer = await asyncio.open_connection("127.0.0.1", node_tcp)
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"tcp:hello"
            writer.close()
        answers = [await ask_udp(node_udp, 2) for _ in range(2)]
        assert sorted(answers) == [[b"a:?", b"a:?"], [b"b:?", b"b:?"]]
        services.remove(service())
        await proxy.settled()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", node_tcp)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        tcp.close()
        for transport, _ in made:
            transport.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(steps(), DEADLINE_S))


def test_hints_go_by_the_zone_that_the_node_has_now() -> None:
    def node(name: str, zone: str) -> api.Node:
        return api.Node(metadata=api.ObjectMeta(name=name, labels={"topology.kubernetes.io/zone": zone}))

    async def steps(world: World) -> None:
        hinted = [remote(f"10.88.1.{n}", hints={"forZones": [{"name": f"zone-{n}"}]}) for n in (1, 2)]
        world.slices.put(endpoint_slice(*hinted))
        await world.clock.advance(1)

        def used() -> set[str]:
            assert world.proxy.applied is not None
            (rule,) = world.proxy.applied.services
            return {endpoint.ip for endpoint in rule.endpoints.cluster}

        assert used() == {"10.88.1.1"}
        world.nodes.put(node("node-b", "zone-2"))
        await world.clock.advance(1)
        assert used() == {"10.88.1.1"}  # another node's zone is nothing to us
        world.nodes.put(node("node-a", "zone-2"))
        await world.clock.advance(1)
        assert used() == {"10.88.1.2"}
        written = len(world.kernel.scripts)
        world.nodes.put(node("node-a", "zone-2"))
        await world.clock.advance(1)
        assert len(world.kernel.scripts) == written

    run(steps)


async def ask_udp(port: int, count: int) -> list[bytes]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.connect(("127.0.0.1", port))
        found = []
        for _ in range(count):
            await loop.sock_sendall(own, b"?")
            found.append(await loop.sock_recv(own, 100))
        return found
