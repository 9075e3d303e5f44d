"""A node's status where others write into it too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.node.config import AgentConfig
from sampan.node.node_info import MachineInfo
from sampan.node.node_status import NodeReporter
from sampan.node.runtimes.simulated import SimulatedRuntime
from sampan.schema import api, codec
from tests.unit.node.fakes import FakeApi, _merge

NODE = "/api/v1/nodes/n"
FOO = "example.com/foo"


def test_pods_may_have_what_others_say_in_the_capacity(tmp_path: Path) -> None:
    async def main() -> None:
        server, clock = FakeApi(), SimulatedClock()
        config = AgentConfig(node_name="n", node_ips=("192.0.2.1",), root_dir=str(tmp_path))
        reporter = NodeReporter(
            server.client,
            SimulatedRuntime(clock, RandomIds()),
            config,
            clock,
            MachineInfo(cpus=2, memory_bytes=4 << 30),
            seen=lambda: codec.from_builtins(server.objects[NODE], api.Node),
        )
        await reporter.register()

        def write(**status: Any) -> None:
            server._put(NODE, _merge(server.objects[NODE], {"status": status}), "MODIFIED")

        def allocatable() -> dict[str, str]:
            found: dict[str, str] = server.objects[NODE]["status"]["allocatable"]
            return found

        own = allocatable()
        write(capacity={FOO: "5"})
        await reporter.report()
        assert allocatable() == {**own, FOO: "5"}
        before = server.objects[NODE]["metadata"]["resourceVersion"]
        await reporter.report()
        assert server.objects[NODE]["metadata"]["resourceVersion"] == before
        write(capacity={FOO: "3"})
        await reporter.report()
        assert allocatable()[FOO] == "3"
        write(capacity={FOO: None})
        await reporter.report()
        assert allocatable() == own

    asyncio.run(main())
