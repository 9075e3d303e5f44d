"""The upkeep of one node's disk, put together."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from sampan.base.clock import Clock
from sampan.client.effects import Ref
from sampan.node.config import AgentConfig
from sampan.node.image_volumes import resolved
from sampan.node.pods import Record
from sampan.node.runtimes.runtime import Runtime
from sampan.node.upkeep.image_manager import ImageManager
from sampan.node.upkeep.log_manager import LogManager, container_logs
from sampan.node.worker import PodWorker

Work = Coroutine[Any, Any, None]


def upkeep(
    workers: Mapping[str, PodWorker], runtime: Runtime, config: AgentConfig, clock: Clock, record: Record
) -> tuple[Work, ...]:
    """What to run, until cancelled, beside the pods of `workers`; nothing for a node without files."""
    if not config.root_dir:
        return ()
    # kubelet's events about its node carry the node's name for a uid.
    node = Ref("v1", "Node", "", config.node_name, config.node_name)
    logs = LogManager(runtime, clock, config, lambda: container_logs(workers.values(), config.log_dir))
    images = ImageManager(
        runtime,
        clock,
        config,
        wanted=lambda: wanted_images(workers),
        warn=lambda reason, message: record(node, "Warning", reason, message),
    )
    return logs.run(), images.run()


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
