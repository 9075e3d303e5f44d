"""The CRI runtime on a private containerd."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import dnslib
import pytest

from sampan.node.images import builtin
from sampan.node.runtimes.cri.runtime import CriRuntime
from sampan.node.runtimes.runtime import Resources, RuntimeFailure, Security, State
from tests.node.conftest import SUBNET, Node
from tests.node.runtime_conformance import (
    CommandConformance,
    ImageConformance,
    LifecycleConformance,
    NetworkConformance,
    Pod,
    Subject,
    run,
)

pytestmark = pytest.mark.containers


@pytest.fixture
def subject(node: Node, tmp_path: Path) -> Subject:
    def open_runtime() -> CriRuntime:
        return CriRuntime(node.process.socket_path, cgroup_parent=node.cgroup_parent)

    return Subject(open=open_runtime, image=builtin.BUSYBOX, logs=tmp_path / "logs", scratch=tmp_path)


class TestLifecycle(LifecycleConformance):
    pass


class TestImages(ImageConformance):
    pass


class TestCommands(CommandConformance):
    pass


class TestNetwork(NetworkConformance):
    def listener(self, port: int, pod_ip: str) -> tuple[str, ...]:
        return ("nc", "-ll", "-p", str(port), "-e", "/bin/sh", "-c", "read x; echo pong")


class TestImageFailures:
    """The reasons that pods show when an image is the trouble."""

    def test_a_registry_that_does_not_answer(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            assert await pod.runtime.find_image("127.0.0.1:1/nothing/here:1") is None
            with pytest.raises(RuntimeFailure) as failure:
                await pod.runtime.pull_image("127.0.0.1:1/nothing/here:1", None)
            assert failure.value.reason == "ErrImagePull"
            assert "127.0.0.1:1" in str(failure.value)

        run(subject, scenario)

    def test_a_container_of_an_image_that_is_not_there(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            with pytest.raises(RuntimeFailure) as failure:
                await pod.create("true", image="127.0.0.1:1/nothing/here:1")
            assert failure.value.reason == "CreateContainerError"

        run(subject, scenario)


class TestSecurity:
    """What a pod's security context asks for is what its programs see."""

    def test_user_groups_and_capabilities(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            security = Security(
                run_as_user=1234,
                run_as_group=2345,
                supplemental_groups=(3456,),
                readonly_rootfs=True,
                no_new_privileges=True,
                drop_capabilities=("ALL",),
            )
            script = (
                "id -u; id -g; id -G; touch /x 2>/dev/null || echo readonly; "
                "grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
            )
            await pod.exited(await pod.start("/bin/sh", "-c", script, security=security))
            user, group, groups, root, capabilities, privileges = (text for _, _, text in pod.log())
            assert (user, group, root) == ("1234", "2345", "readonly")
            assert set(groups.split()) == {"2345", "3456"}
            assert int(capabilities.split()[1], 16) == 0
            assert privileges.split()[1] == "1"

        run(subject, scenario)

    def test_memory_limits_kill_and_say_so(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            alone = await pod.start(
                "tail", "-c", "200000000", "/dev/zero", resources=Resources(memory_limit_bytes=16 << 20)
            )
            ended = await pod.exited(alone)
            assert (ended.exit_code, ended.reason) == (137, "OOMKilled")

        run(subject, scenario)

    def test_limits_can_be_changed_while_it_runs(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            container = await pod.start(*subject.forever, resources=Resources(memory_limit_bytes=64 << 20))
            await pod.runtime.update_resources(
                container, Resources(memory_limit_bytes=32 << 20, cpu_shares=512)
            )
            assert (await pod.container(container)).state is State.RUNNING

        run(subject, scenario)


class TestPodSettings:
    """What a sandbox is told reaches its containers."""

    def test_hostname_dns_and_a_shared_process_namespace(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            script = "hostname; cat /etc/resolv.conf; cat /proc/1/comm"
            await pod.exited(await pod.start("/bin/sh", "-c", script))
            assert [text for _, _, text in pod.log()] == [
                "web-0",
                "search a.svc b.svc",
                "nameserver 10.1.2.3",
                "options ndots:5",
                "pause",
            ]

        run(
            subject,
            scenario,
            hostname="web-0",
            dns_servers=("10.1.2.3",),
            dns_searches=("a.svc", "b.svc"),
            dns_options=("ndots:5",),
            share_process_namespace=True,
        )

    def test_the_hosts_network_has_the_hosts_name(self, subject: Subject) -> None:
        async def scenario(pod: Pod) -> None:
            await pod.exited(await pod.start("hostname"))
            assert pod.log() == [("stdout", "F", socket.gethostname())]

        run(subject, scenario, host_network=True, hostname="ignored")


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with the same one."""

    def __init__(self, address: str) -> None:
        self.address = address

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        question = dnslib.DNSRecord.parse(data)
        answer = question.reply()
        if question.q.qtype == dnslib.QTYPE.A:
            answer.add_answer(
                dnslib.RR(question.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(self.address), ttl=5)
            )
        self.transport.sendto(answer.pack(), addr)


class TestBusybox:
    """The network tools of the busybox image."""

    def test_a_name_is_looked_up_and_fetched(self, subject: Subject) -> None:
        gateway = SUBNET.replace(".0/24", ".1")

        async def scenario(pod: Pod) -> None:
            sandbox = next(each for each in (await pod.runtime.list()).sandboxes if each.id == pod.id)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(
                lambda: NameServer(sandbox.ips[0]), local_addr=(gateway, 53)
            )
            try:
                await pod.start(
                    "/bin/sh",
                    "-c",
                    "echo hello from httpd > /var/www/index.html; httpd -f -p 8080 -h /var/www",
                )
                script = (
                    "nslookup -type=a web.example.test; for i in $(seq 50); do "
                    "wget -qO- http://web.example.test:8080/ && break; sleep 0.1; done"
                )
                await pod.exited(await pod.start("/bin/sh", "-c", script, name="asks"))
            finally:
                transport.close()
            printed = [text for _, _, text in pod.log("asks", 1)]
            assert printed[-1] == "hello from httpd"
            assert f"Address: {sandbox.ips[0]}" in printed

        run(subject, scenario, dns_servers=(gateway,))
