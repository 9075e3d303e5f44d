"""Services through the kernel's own nftables, in network namespaces of their own.

A node with a bridge, two pods behind it (each a namespace with servers for TCP and UDP), and a client on
another link. Every connection is a real one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.base.clock import SystemClock
from sampan.base.errors import SampanError
from sampan.network.proxy.kernel import LinuxKernel
from sampan.network.proxy.rules import NodeFacts
from sampan.network.proxy.shell import ServiceProxy
from sampan.schema import api
from tests.unit.network.objects import Held, endpoint_slice, pod, service

pytestmark = pytest.mark.containers

TABLE = "sampan-test"
POD_A, POD_B, BRIDGE = "10.88.0.2", "10.88.0.3", "10.88.0.1"
NODE_IP, CLIENT_IP = "192.168.77.1", "192.168.77.2"
VIP, PORT, NODE_PORT = "10.96.0.10", 80, 30080
TCP_PORT, UDP_PORT = 8080, 8053
FACTS = NodeFacts(
    "node-a", "", ("10.88.0.0/24",), ("10.88.0.0/16",), service_cidrs=("10.96.0.0/16",), bridge_netfilter=True
)
DEADLINE_S = 20.0
WIDE = {"podIPs": [{"ip": POD_A}, {"ip": "fd00::2"}], "hostIPs": [{"ip": NODE_IP}, {"ip": "fd01::1"}]}

# Answers every connection and datagram with "<name of the pod> <the client's address>".
SERVER = """
import socketserver, sys, threading
name = sys.argv[1]
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(f"{name} {self.client_address[0]}".encode())
class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(f"{name} {self.client_address[0]}".encode(), self.client_address)
socketserver.ThreadingTCPServer.allow_reuse_address = True
tcp = socketserver.ThreadingTCPServer(("0.0.0.0", 8080), Stream)
udp = socketserver.ThreadingUDPServer(("0.0.0.0", 8053), Datagram)
threading.Thread(target=udp.serve_forever, daemon=True).start()
print("listening", flush=True)
tcp.serve_forever()
"""

# Asks COUNT times and prints each answer, or the name of the error, on a line of its own.
CLIENT = """
import socket, sys
protocol, host, port, count, source_port = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
for _ in range(count):
    s = socket.socket(type=socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(2)
    try:
        if source_port:
            s.bind(("", source_port))
        s.connect((host, port))
        s.send(b"?")
        print(s.recv(200).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
    s.close()
"""


class NodeKernel(LinuxKernel):
    """The kernel of another network namespace: settings too are read and written there."""

    def __init__(self, namespace: str, lacks: str = "") -> None:
        super().__init__(("ip", "netns", "exec", namespace))
        self._namespace, self._lacks = namespace, lacks

    def setting(self, name: str) -> str | None:
        if self._lacks and name.startswith(self._lacks):
            return None
        found = _in(self._namespace, "cat", f"/proc/sys/{name}", check=False)
        return found.stdout.strip() if found.returncode == 0 else None

    def change_setting(self, name: str, value: str) -> None:
        if _in(self._namespace, "sh", "-c", f"echo {value} > /proc/sys/{name}", check=False).returncode:
            raise SampanError(f"{name} cannot be set to {value} in {self._namespace}.")


class World:
    """The namespaces, and what is announced in them."""

    def __init__(self, tag: str) -> None:
        self.node, self.client, self.pods = f"{tag}n", f"{tag}c", {"a": f"{tag}a", "b": f"{tag}b"}
        self.services, self.slices, self.local_pods = Held(), Held(), Held()
        self.servers: list[subprocess.Popen[str]] = []
        self.facts, self.kernel_lacks = FACTS, ""

    def announce(self, *addresses: str, udp: bool = False, name: str = "web", **spec: Any) -> api.Service:
        """A service with these endpoints, known to the proxy from now on."""
        protocol, port = ("UDP", UDP_PORT) if udp else ("TCP", TCP_PORT)
        own = {"port": PORT, "protocol": protocol} | ({"nodePort": NODE_PORT} if "type" in spec else {})
        made = service(name, clusterIP=VIP, ports=[own], **spec)
        self.services.put(made)
        self.slices.put(
            endpoint_slice(*addresses, service=name, ports=[{"port": port, "protocol": protocol}])
        )
        return made

    def ask(
        self, where: str, host: str, port: int, count: int = 1, udp: bool = False, source: int = 0
    ) -> list[str]:
        """What a client in namespace `where` is told, once for each try."""
        script = (sys.executable, "-S", "-E", "-c", CLIENT, "udp" if udp else "tcp", host)
        return _in(where, *script, str(port), str(count), str(source)).stdout.splitlines()

    def run(self, steps: Callable[[ServiceProxy], Coroutine[Any, Any, None]]) -> None:
        """Run the proxy on the node while `steps` look at it."""

        async def both() -> None:
            kernel = NodeKernel(self.node, self.kernel_lacks)
            proxy = ServiceProxy(
                self.services,
                self.slices,
                self.facts,
                kernel,
                SystemClock(),
                pods=(self.local_pods,),  # type: ignore[arg-type]
                table_name=TABLE,
            )
            running = asyncio.create_task(proxy.run())
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await proxy.settled()
                    await steps(proxy)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await proxy.cleanup()
            assert TABLE not in _in(self.node, "nft", "list", "tables").stdout

        asyncio.run(both())


def _in(namespace: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return _sh("ip", "netns", "exec", namespace, *command, check=check)


def _sh(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if os.geteuid() or not all(shutil.which(name) for name in ("nft", "ip", "conntrack")):
        pytest.skip("needs root, nft, ip and conntrack")
    made = World(f"sx{os.getpid() % 100000}")
    try:
        _build(made)
        yield made
    finally:
        for server in made.servers:
            server.kill()
            server.communicate()
        for namespace in (made.node, made.client, *made.pods.values()):
            _sh("ip", "netns", "delete", namespace, check=False)


def _build(world: World) -> None:
    for namespace in (world.node, world.client, *world.pods.values()):
        _sh("ip", "netns", "add", namespace)
        _in(namespace, "ip", "link", "set", "lo", "up")
    # A new namespace takes this over from the host, where another proxy may have set it.
    _in(world.node, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/route_localnet")
    _in(world.node, "ip", "link", "add", "br0", "type", "bridge")
    _in(world.node, "ip", "address", "add", f"{BRIDGE}/24", "dev", "br0")
    _in(world.node, "ip", "link", "set", "br0", "up")
    for name, ip in (("a", POD_A), ("b", POD_B)):
        _link(world.node, f"pod{name}", world.pods[name], "eth0", ip)
        _in(world.node, "ip", "link", "set", f"pod{name}", "master", "br0")
        # As the CNI bridge plugin does with hairpinMode: a bridge does not send a frame back on its own.
        _in(world.node, "ip", "link", "set", f"pod{name}", "type", "bridge_slave", "hairpin", "on")
        _in(world.pods[name], "ip", "route", "add", "default", "via", BRIDGE)
        _serve(world, name)
    _link(world.node, "up0", world.client, "eth0", CLIENT_IP)
    _in(world.node, "ip", "address", "add", f"{NODE_IP}/24", "dev", "up0")
    _in(world.node, "ip", "route", "add", "default", "via", CLIENT_IP)
    # Here the way in is also the way out. A redirect would use up the client's allowance of ICMP messages.
    for device in ("all", "up0"):
        _in(world.node, "sh", "-c", f"echo 0 > /proc/sys/net/ipv4/conf/{device}/send_redirects")
    _in(world.client, "ip", "route", "add", "default", "via", NODE_IP)


def _link(node: str, node_end: str, other: str, other_end: str, ip: str) -> None:
    _in(node, "ip", "link", "add", node_end, "type", "veth", "peer", "name", other_end, "netns", other)
    _in(node, "ip", "link", "set", node_end, "up")
    _in(other, "ip", "address", "add", f"{ip}/24", "dev", other_end)
    _in(other, "ip", "link", "set", other_end, "up")


def _serve(world: World, name: str) -> None:
    command = ("ip", "netns", "exec", world.pods[name], sys.executable, "-S", "-E", "-c", SERVER, name)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    world.servers.append(server)
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"


def _names(answers: list[str]) -> Counter[str]:
    return Counter(answer.split()[0] for answer in answers)


def test_cluster_ip_reaches_every_endpoint_from_pod_node_and_outside(world: World) -> None:
    world.announce(POD_A, POD_B)

    async def steps(_: ServiceProxy) -> None:
        for where in (world.client, world.node):
            answers = world.ask(where, VIP, PORT, 24)
            assert set(_names(answers)) == {"a", "b"}, where
            # Not pods: masqueraded, so that endpoints on other nodes answer through this one.
            assert all(answer.endswith(BRIDGE) for answer in answers)
        answers = world.ask(world.pods["a"], VIP, PORT, 24)
        assert set(answers) == {f"a {BRIDGE}", f"b {POD_A}"}  # itself by hairpin; others see its address

    world.run(steps)


def test_node_port_on_every_address_of_the_node_and_on_localhost(world: World) -> None:
    world.announce(POD_A, POD_B, type="NodePort")

    async def steps(_: ServiceProxy) -> None:
        reaches = (
            (world.client, NODE_IP),
            (world.node, NODE_IP),
            (world.node, "127.0.0.1"),
            (world.pods["b"], NODE_IP),
            (world.pods["b"], BRIDGE),
        )
        for where, host in reaches:
            assert set(_names(world.ask(where, host, NODE_PORT, 24))) == {"a", "b"}, (where, host)

    world.run(steps)


def test_loopback_of_the_node_stays_closed_to_its_neighbours(world: World) -> None:
    secret = subprocess.Popen(
        ("ip", "netns", "exec", world.node, sys.executable, "-S", "-E", "-c", SERVER, "node"),
        stdout=subprocess.PIPE,
        text=True,
    )
    world.servers.append(secret)
    assert secret.stdout is not None and secret.stdout.readline() == "listening\n"
    pod = world.pods["a"]
    _in(pod, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
    _in(pod, "ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    _in(pod, "ip", "route", "add", "127.0.0.0/8", "via", BRIDGE, "src", POD_A)

    async def steps(_: ServiceProxy) -> None:
        assert _in(world.node, "cat", "/proc/sys/net/ipv4/conf/all/route_localnet").stdout == "1\n"
        assert world.ask(world.node, "127.0.0.1", TCP_PORT) == ["node 127.0.0.1"]
        assert world.ask(pod, "127.0.0.1", TCP_PORT) == ["TimeoutError"]

    world.run(steps)
    assert _in(world.node, "cat", "/proc/sys/net/ipv4/conf/all/route_localnet").stdout == "0\n"


def test_local_policy_keeps_the_clients_address(world: World) -> None:
    other = {"addresses": [POD_B], "nodeName": "node-b"}
    world.announce(POD_A, other, type="NodePort", externalTrafficPolicy="Local")  # type: ignore[arg-type]

    async def steps(proxy: ServiceProxy) -> None:
        assert set(world.ask(world.client, NODE_IP, NODE_PORT, 8)) == {f"a {CLIENT_IP}"}
        assert set(_names(world.ask(world.pods["a"], NODE_IP, NODE_PORT, 24))) == {"a", "b"}
        world.announce(other, type="NodePort", externalTrafficPolicy="Local")  # type: ignore[arg-type]
        await proxy.settled()
        assert world.ask(world.client, NODE_IP, NODE_PORT) == ["TimeoutError"]
        assert _names(world.ask(world.node, "127.0.0.1", NODE_PORT)) == {"b": 1}

    world.run(steps)


def test_affinity_holds_until_the_endpoint_goes(world: World) -> None:
    world.announce(POD_A, POD_B, sessionAffinity="ClientIP", type="NodePort")

    async def steps(proxy: ServiceProxy) -> None:
        for where, host, port in ((world.pods["b"], VIP, PORT), (world.client, NODE_IP, NODE_PORT)):
            assert len(_names(world.ask(where, host, port, 16))) == 1
        first = world.ask(world.client, NODE_IP, NODE_PORT)[0].split()[0]
        other, ip = ("b", POD_B) if first == "a" else ("a", POD_A)
        world.announce(ip, sessionAffinity="ClientIP", type="NodePort")
        await proxy.settled()
        assert _names(world.ask(world.client, NODE_IP, NODE_PORT, 4)) == {other: 4}
        world.announce(POD_A, POD_B, sessionAffinity="ClientIP", type="NodePort")
        await proxy.settled()
        assert _names(world.ask(world.client, NODE_IP, NODE_PORT, 8)) == {other: 8}  # kept across the change
        world.announce(POD_A, POD_B, type="NodePort")
        await proxy.settled()
        assert set(_names(world.ask(world.client, NODE_IP, NODE_PORT, 24))) == {"a", "b"}

    world.run(steps)


def test_without_endpoints_it_is_refused_at_once(world: World) -> None:
    world.announce(type="NodePort")

    async def steps(proxy: ServiceProxy) -> None:
        refused = ["ConnectionRefusedError"]
        for where in (world.client, world.node, world.pods["a"]):
            assert world.ask(where, VIP, PORT) == refused, where
            assert world.ask(where, NODE_IP, NODE_PORT) == refused, where
            assert world.ask(where, VIP, PORT + 1) == refused, where  # a port that it does not have
        assert world.ask(world.node, "127.0.0.1", NODE_PORT) == refused
        world.announce(POD_A, type="NodePort")
        await proxy.settled()
        assert _names(world.ask(world.client, VIP, PORT)) == {"a": 1}

    world.run(steps)


def test_udp_clients_leave_an_endpoint_that_is_gone(world: World) -> None:
    world.announce(POD_A, udp=True, type="NodePort")

    async def steps(proxy: ServiceProxy) -> None:
        # The same source port each time: to the kernel it is one flow that goes on.
        for host, port in ((VIP, PORT), (NODE_IP, NODE_PORT)):
            assert _names(world.ask(world.client, host, port, udp=True, source=5353)) == {"a": 1}
        world.announce(POD_B, udp=True, type="NodePort")
        await proxy.settled()
        for host, port in ((VIP, PORT), (NODE_IP, NODE_PORT)):
            assert _names(world.ask(world.client, host, port, udp=True, source=5353)) == {"b": 1}
        world.announce(udp=True, type="NodePort")
        await proxy.settled()
        assert world.ask(world.client, VIP, PORT, udp=True, source=5353) == ["ConnectionRefusedError"]
        world.announce(POD_A, udp=True, type="NodePort")
        await proxy.settled()
        assert _names(world.ask(world.client, VIP, PORT, udp=True, source=5353)) == {"a": 1}

    world.run(steps)


def test_pods_leave_the_cluster_under_the_nodes_address(world: World) -> None:
    command = ("ip", "netns", "exec", world.client, sys.executable, "-S", "-E", "-c", SERVER, "outside")
    outside = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    world.servers.append(outside)
    assert outside.stdout is not None and outside.stdout.readline() == "listening\n"

    async def steps(_: ServiceProxy) -> None:
        assert world.ask(world.pods["a"], CLIENT_IP, TCP_PORT) == [f"outside {NODE_IP}"]
        assert world.ask(world.pods["a"], POD_B, TCP_PORT) == [f"b {POD_A}"]

    world.run(steps)


def test_source_ranges_of_a_load_balancer(world: World) -> None:
    address = "203.0.113.5"
    status = {"loadBalancer": {"ingress": [{"ip": address}]}}

    async def steps(proxy: ServiceProxy) -> None:
        assert _names(world.ask(world.client, address, PORT)) == {"a": 1}
        world.announce(
            POD_A, type="LoadBalancer", status=status, loadBalancerSourceRanges=["198.51.100.0/24"]
        )
        await proxy.settled()
        assert world.ask(world.client, address, PORT) == ["TimeoutError"]

    world.announce(POD_A, type="LoadBalancer", status=status, loadBalancerSourceRanges=[f"{CLIENT_IP}/32"])
    world.run(steps)


def test_cluster_ips_are_reached_from_a_node_without_default_route(world: World) -> None:
    _in(world.node, "ip", "route", "delete", "default")
    world.announce(POD_A)

    async def steps(_: ServiceProxy) -> None:
        assert _names(world.ask(world.node, VIP, PORT)) == {"a": 1}
        assert world.ask(world.node, VIP, PORT + 1) == ["ConnectionRefusedError"]
        assert _names(world.ask(world.pods["b"], VIP, PORT)) == {"a": 1}

    world.run(steps)
    assert "10.96" not in _in(world.node, "ip", "route").stdout


def test_without_bridge_netfilter_pods_are_masqueraded_to_each_other(world: World) -> None:
    _in(world.node, "sh", "-c", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables")
    world.facts = msgspec.structs.replace(FACTS, bridge_netfilter=False)
    world.kernel_lacks = "net/bridge/"
    world.announce(POD_A, POD_B)

    async def steps(_: ServiceProxy) -> None:
        assert set(world.ask(world.pods["a"], VIP, PORT, 24)) == {f"a {BRIDGE}", f"b {BRIDGE}"}

    world.run(steps)


def test_host_ports_on_every_address_of_the_node_from_everywhere(world: World) -> None:
    world.local_pods.put(pod("a", POD_A, (8888, TCP_PORT), node_ip=NODE_IP))

    async def steps(proxy: ServiceProxy) -> None:
        reaches = (
            (world.client, NODE_IP, CLIENT_IP),  # the client's address is kept
            (world.node, NODE_IP, NODE_IP),
            (world.node, "127.0.0.1", BRIDGE),  # the pod must not answer itself
            (world.pods["b"], NODE_IP, POD_B),
            (world.pods["b"], BRIDGE, POD_B),
            (world.pods["a"], NODE_IP, BRIDGE),  # itself, by hairpin
        )
        for where, host, seen in reaches:
            assert world.ask(where, host, 8888, 2) == [f"a {seen}"] * 2, (where, host)
        assert world.ask(world.client, NODE_IP, 8889) == ["ConnectionRefusedError"]
        world.local_pods.put(pod("a", POD_A, (8889, TCP_PORT), node_ip=NODE_IP))
        await proxy.settled()
        assert world.ask(world.client, NODE_IP, 8889) == [f"a {CLIENT_IP}"]
        assert world.ask(world.client, NODE_IP, 8888) == ["ConnectionRefusedError"]
        world.local_pods.remove(pod("a", POD_A))
        await proxy.settled()
        assert world.ask(world.client, NODE_IP, 8889) == ["ConnectionRefusedError"]

    world.run(steps)


def test_a_host_port_of_one_address_is_reached_there_alone(world: World) -> None:
    inside = {"hostPort": 8888, "containerPort": TCP_PORT, "hostIP": "127.0.0.1"}
    outside = {"hostPort": 8888, "containerPort": TCP_PORT, "hostIP": NODE_IP}
    world.local_pods.put(pod("a", POD_A, inside))
    world.local_pods.put(pod("b", POD_B, outside))

    async def steps(_: ServiceProxy) -> None:
        assert _names(world.ask(world.node, "127.0.0.1", 8888)) == {"a": 1}
        assert _names(world.ask(world.client, NODE_IP, 8888)) == {"b": 1}
        assert world.ask(world.pods["b"], BRIDGE, 8888) == ["ConnectionRefusedError"]

    world.run(steps)


def test_udp_clients_follow_a_host_port_to_another_pod(world: World) -> None:
    own = {"hostPort": 8888, "containerPort": UDP_PORT, "protocol": "UDP"}

    async def steps(proxy: ServiceProxy) -> None:
        for name, ip in (("a", POD_A), ("b", POD_B)):
            world.local_pods.put(pod("dns", ip, own, node_ip=NODE_IP))
            await proxy.settled()
            for where, host in ((world.client, NODE_IP), (world.node, "127.0.0.1")):
                # The same source port each time: to the kernel it is one flow that goes on.
                assert _names(world.ask(where, host, 8888, 2, udp=True, source=5353)) == {name: 2}

    # A flow to the node itself, from before there was such a pod.
    assert world.ask(world.client, NODE_IP, 8888, udp=True, source=5353) == ["ConnectionRefusedError"]
    world.run(steps)


def test_increments_leave_the_kernel_as_a_full_write_would(world: World) -> None:
    async def steps(proxy: ServiceProxy) -> None:
        first = world.announce(POD_A, POD_B, type="NodePort", sessionAffinity="ClientIP")
        await proxy.settled()
        world.announce(POD_B, type="NodePort")
        await proxy.settled()
        world.services.remove(first)
        world.local_pods.put(pod("a", POD_A, (8888, TCP_PORT), status=WIDE))
        await proxy.settled()
        world.local_pods.put(pod("a", POD_A, (8889, TCP_PORT), (8888, UDP_PORT)))
        world.announce(POD_A, udp=True, name="other")
        await proxy.settled()
        stepwise = _listing(world)
        proxy._in_kernel = None
        proxy._changed.set()
        await proxy.settled()
        assert _listing(world) == stepwise
        assert "other" in stepwise and "web" not in stepwise

    world.run(steps)


@pytest.mark.parametrize("meddling", ["flush table", "delete table", "flush map {} nodeports4", ""])
def test_what_a_firewall_took_away_comes_back(world: World, meddling: str) -> None:
    async def steps(proxy: ServiceProxy) -> None:
        world.announce(POD_A, POD_B, type="NodePort", sessionAffinity="ClientIP")
        await proxy.settled()
        before = _listing(world)
        if meddling:
            words = meddling.split()
            _in(world.node, "nft", *words[:2], "inet", TABLE, *words[3:])
            assert _listing(world, check=False) != before
        proxy.doubt()
        await proxy.settled()
        assert _listing(world) == before

    world.run(steps)


def _listing(world: World, *, check: bool = True) -> str:
    shown = _in(world.node, "nft", "-s", "list", "table", "inet", TABLE, check=check).stdout
    # What was added later is listed later: compare as sets of blocks.
    return "\n\n".join(sorted(shown.split("\n\n")))
