"""`python -m sampan.cluster.main`: what the supervisor and the parts are started as. Not for people."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from sampan.base.errors import SampanError
from sampan.cluster import config
from sampan.cluster.config import Layout, Settings

CREDENTIALS_WAIT_S: Final = 20.0
_LISTEN_POLL_S: Final = 0.02
_CREDENTIALS_POLL_S: Final = 0.005


def main(arguments: list[str]) -> int:
    """`supervise ROOT` or `part NAME ROOT`. Returns the exit status."""
    role, *rest = arguments
    layout = Layout(Path(rest[-1]))
    try:
        settings = config.load(layout)
        if settings is None:
            raise SampanError(f"{layout.config} is missing; run `sampan up` again.")
        if role == "supervise":
            supervise(layout, settings)
        else:
            run_part(rest[0], layout, settings)
    except SampanError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except Exception as problem:
        # The supervisor gives the last line as the reason why a part died.
        traceback.print_exception(problem)
        first = first_of(problem)
        sys.stderr.write(f"{type(first).__name__}: {first}\n")
        return 1
    return 0


def first_of(problem: BaseException) -> BaseException:
    """The error within an error group that tells most: its first leaf."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


def supervise(layout: Layout, settings: Settings) -> None:
    """Keep the cluster's parts alive until told to stop."""
    from sampan.cluster import preload
    from sampan.cluster.catalog import parts
    from sampan.cluster.running import Lock
    from sampan.cluster.supervisor import Supervisor

    lock = Lock(layout.run)
    lock.take()
    layout.logs.mkdir(parents=True, exist_ok=True)

    async def cleanup() -> None:
        from sampan.cluster.teardown import teardown

        await asyncio.to_thread(teardown, layout, settings)

    if settings.runtime == "containerd":
        from sampan.cluster import bridges

        bridges.ensure(settings)
    preload.load()

    def enter(name: str) -> int:
        return main(["part", name, str(layout.root)])

    supervisor = Supervisor(layout.run, layout.logs, parts(layout, settings, enter))
    asyncio.run(supervisor.run(cleanup))


def run_part(name: str, layout: Layout, settings: Settings) -> None:
    """Become one part."""
    # Nothing that is loaded goes away again: looking for garbage meanwhile is time lost. Once all is loaded,
    # `run_until_told_to_stop` lets the collector work.
    gc.disable()
    if name == "apiserver":
        from sampan.cluster.parts import apiserver

        wait_for_credentials(layout)
        apiserver.main(layout, settings)
    elif name == "manager":
        # It can do nothing before the API server listens; loading it would take the processor from that.
        _wait_for_port(settings.port)
        from sampan.cluster.parts import manager

        manager.main(layout, settings)
    elif name == "nodes":
        from sampan.cluster.parts import simulated

        simulated.main(layout, settings)
    else:
        from sampan.cluster.parts import node

        node.main(layout, settings, name)


def wait_for_credentials(layout: Layout) -> None:
    """Return once whoever started the supervisor has made them. Raises SampanError where nobody does."""
    deadline_s = time.monotonic() + CREDENTIALS_WAIT_S
    while not layout.credentials_made.exists():
        if time.monotonic() > deadline_s:
            raise SampanError(
                f"The credentials in {layout.pki} were not made whole: the start was broken off. "
                "Run `sampan down` and then `sampan up`."
            )
        time.sleep(_CREDENTIALS_POLL_S)


def _wait_for_port(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_LISTEN_POLL_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
