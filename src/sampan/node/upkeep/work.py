"""The upkeep of one node's disk, put together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from sampan.base.clock import Clock
from sampan.client.effects import Ref
from sampan.node.config import AgentConfig
from sampan.node.image_volumes import resolved
from sampan.node.pods import Record
from sampan.node.pressure.manager import PressureManager
from sampan.node.runtimes.runtime import Runtime
from sampan.node.upkeep.image_manager import ImageManager
from sampan.node.upkeep.log_manager import LogManager, container_logs
from sampan.node.worker import PodWorker

Work = Coroutine[Any, Any, None]


class Upkeep:
    """Logs, images, and what the node is short of. `changed` is called when a node condition came or went."""

    def __init__(
        self,
        workers: Mapping[str, PodWorker],
        runtime: Runtime,
        config: AgentConfig,
        clock: Clock,
        record: Record,
        changed: Callable[[], None],
    ) -> None:
        # kubelet's events about its node carry the node's name for a uid.
        node = Ref("v1", "Node", "", config.node_name, config.node_name)

        def warn(reason: str, message: str) -> None:
            record(node, "Warning", reason, message)

        self._logs = LogManager(
            runtime, clock, config, lambda: container_logs(workers.values(), config.log_dir)
        )
        self._images = ImageManager(runtime, clock, config, wanted=lambda: wanted_images(workers), warn=warn)
        self.pressure = PressureManager(
            workers, runtime, config, clock, reclaim=self._images.remove_unused, changed=changed, warn=warn
        )

    def work(self) -> tuple[Work, ...]:
        """What to run, until cancelled, beside the pods."""
        return self._logs.run(), self._images.run(), self.pressure.run()


def wanted_images(workers: Mapping[str, PodWorker]) -> set[str]:
    """The images that containers of these pods run from or mount, or will as soon as they are made."""
    found = set()
    for worker in workers.values():
        for container in worker.state.containers.values():
            found.add(container.image_ref)
            if container.current is not None:
                found.add(container.current.image_ref)
        found.update(resolved(worker.state).values())
    return found - {""}
