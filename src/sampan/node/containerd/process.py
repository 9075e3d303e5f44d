"""The private containerd's process: started, adopted, watched, stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from sampan.base.clock import Clock, SystemClock
from sampan.base.errors import SampanError
from sampan.node.containerd import config as configuration
from sampan.node.containerd import host, pids
from sampan.node.containerd.config import ContainerdConfig
from sampan.node.containerd.pids import Identity
from sampan.node.runtimes.cri.client import RUNTIME, CriClient
from sampan.node.runtimes.runtime import RuntimeFailure

READY_TIMEOUT_S = 60.0
_READY_POLL_S = 0.01
# One that is on its way out still accepts connections; waiting longer for it would be in vain.
_CALL_TIMEOUT_S = 1.0
STOP_GRACE_S = 20.0
# After a crash: soon, then slower, so that a containerd that cannot start does not spin.
RESTART_DELAYS_S = (0.1, 0.5, 2.0, 10.0)
# A containerd that ran this long had started well; the next crash begins with the shortest delay again.
_STABLE_S = 60.0
_LOG_TAIL_BYTES = 2000


class ContainerdFailure(SampanError):
    """containerd does not start, or does not get ready."""


class ContainerdProcess:
    """One containerd of ours. It outlives this object and this process unless `stop` is called.

    Containers run under shims and outlive containerd itself, however it ends.
    """

    def __init__(
        self,
        config: ContainerdConfig,
        *,
        clock: Clock | None = None,
        program: str = "",
        plain_http_registries: Sequence[str] = (),
    ) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._program = program or host.find_program("containerd")
        self._registries = tuple(plain_http_registries)
        self._pid_path = Path(config.data_dir) / "containerd.pid"
        self._identity: Identity | None = None
        self._stopping = False

    @property
    def socket_path(self) -> str:
        return self.config.address

    @property
    def pid(self) -> int | None:
        return None if self._identity is None else self._identity.pid

    async def start(self) -> None:
        """Return once CRI answers. One that already runs is kept, unless its configuration has changed.

        Raises ContainerdFailure with containerd's last words where it does not come up.
        """
        found = configuration.problems(self.config)
        if not self._program:
            found.append(
                "containerd is not installed; install it (Debian and Ubuntu: apt install containerd)."
            )
        if found:
            raise ContainerdFailure(" ".join(found))
        self._stopping = False
        changed = self._write_files()
        running = pids.read(self._pid_path)
        if running is not None and changed:
            await pids.end(running, STOP_GRACE_S)
            running = None
        self._identity = running or self._spawn()
        await self._wait_ready(self._identity)

    def _write_files(self) -> bool:
        """Write what differs; returns whether containerd must be started anew to see it."""
        changed = False
        Path(self.config.data_dir).mkdir(parents=True, exist_ok=True, mode=0o711)
        for name, text in configuration.files(self.config, self._registries).items():
            path = Path(name)
            if path.exists() and path.read_text() == text:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            # CNI's and the registries' files are read when they are needed.
            changed = changed or name == self.config.config_path
        return changed

    def _spawn(self) -> Identity:
        # A socket that a killed containerd left behind would look like one that answers late.
        Path(self.config.address).unlink(missing_ok=True)
        environment = dict(os.environ)
        # containerd finds its shim, runc and iptables by PATH, which services often start without.
        environment["PATH"] = (
            f"{environment.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin".strip(":")
        )
        pid = pids.spawn(
            self._program, ["--config", self.config.config_path], environment, Path(self.config.log_path)
        )
        identity = pids.identify(pid)
        if identity is None:
            pids.reap(pid)
            raise ContainerdFailure(self._last_words("containerd ended at once"))
        pids.write(self._pid_path, identity)
        return identity

    async def _wait_ready(self, identity: Identity) -> None:
        client = CriClient(self.config.address)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self._answers(client):
                    if not pids.is_alive(identity):
                        pids.reap(identity.pid)
                        raise ContainerdFailure(self._last_words("containerd ended while starting"))
                    await self._clock.sleep(_READY_POLL_S)
        except TimeoutError:
            raise ContainerdFailure(
                self._last_words(f"containerd is not ready after {READY_TIMEOUT_S} s")
            ) from None
        finally:
            await client.close()

    async def _answers(self, client: CriClient) -> bool:
        # gRPC backs off after a failed connection; looking for the socket first costs nothing.
        if not Path(self.config.address).exists():
            return False
        try:
            await client.call(RUNTIME, "Version", timeout_s=_CALL_TIMEOUT_S)
        except RuntimeFailure:
            return False
        return True

    async def healthy(self) -> bool:
        """Whether CRI answers now."""
        client = CriClient(self.config.address)
        try:
            return await self._answers(client)
        finally:
            await client.close()

    async def watch(self) -> None:
        """Start containerd again whenever it ends, until `stop` or cancellation. Call `start` first."""
        failures = 0
        while self._identity is not None:
            began_s = self._clock.monotonic_s()
            await pids.wait(self._identity)
            if self._has_stopped():
                return
            if self._clock.monotonic_s() - began_s > _STABLE_S:
                failures = 0
            await self._clock.sleep(RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)])
            failures += 1
            if self._has_stopped():
                return
            try:
                await self.start()
            except ContainerdFailure:
                # Its reason is in the log and in the node's readiness; trying again is all there is to do.
                continue

    def _has_stopped(self) -> bool:
        return self._stopping

    async def stop(self) -> None:
        """End containerd; its containers go on. Idempotent."""
        self._stopping = True
        identity = self._identity or pids.read(self._pid_path)
        self._identity = None
        if identity is not None:
            await pids.end(identity, STOP_GRACE_S)
        self._pid_path.unlink(missing_ok=True)

    def _last_words(self, what: str) -> str:
        try:
            tail = Path(self.config.log_path).read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            tail = ""
        last = tail.splitlines()[-1] if tail else "it wrote nothing"
        return f"{what}: {last} (all of it is in {self.config.log_path})."
