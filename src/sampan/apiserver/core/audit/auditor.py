"""The shell: begins and ends records, and writes them to a file in batches, off the way of requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from sampan.apiserver.core.audit import events
from sampan.apiserver.core.audit.events import Line, Record
from sampan.apiserver.core.audit.policy import COMPLETE, NONE, PANIC, RECEIVED, STARTED, Decision, Policy
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.paths import parse as parse_path
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.users import User
from sampan.base.clock import Clock
from sampan.base.ids import Ids
from sampan.base.waiting import first_done

# Events that wait for the disk; what comes beyond that is dropped and counted.
MAX_WAITING: Final = 10_000
FLUSH_EVERY_S: Final = 1.0
BATCH_EVENTS: Final = 400
_FORBIDDEN: Final = 403
_NOBODY: Final = User("")
_log = logging.getLogger(__name__)


class LogFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where events are written. As kube-apiserver's --audit-log-path and its like; 0 means no limit."""

    path: Path
    max_size_bytes: int = 100 << 20
    max_age_days: int = 0
    max_backups: int = 0

    def write(self, data: bytes, now: datetime) -> None:
        """Append; a file that has grown too large is put aside first. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            size = self.path.stat().st_size
            if self.max_size_bytes and size and size + len(data) > self.max_size_bytes:
                self._rotate(now)
        if not self.path.exists():
            self.path.touch(mode=0o600)
        with self.path.open("ab") as file:
            file.write(data)

    def _rotate(self, now: datetime) -> None:
        stem, suffix = self.path.stem, self.path.suffix
        stamp = now.strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        self.path.rename(self.path.with_name(f"{stem}-{stamp}{suffix}"))
        backups = sorted(self.path.parent.glob(f"{stem}-*{suffix}"), reverse=True)
        kept = backups[: self.max_backups] if self.max_backups else backups
        oldest_s = now.timestamp() - self.max_age_days * 86_400
        for backup in backups:
            if backup not in kept or (self.max_age_days and backup.stat().st_mtime < oldest_s):
                backup.unlink(missing_ok=True)


class Auditor:
    """Writes down what the policy asks for."""

    def __init__(self, policy: Policy, file: LogFile, clock: Clock, ids: Ids) -> None:
        self._policy = policy
        self._file = file
        self._clock = clock
        self._ids = ids
        self._lines: deque[Line] = deque()
        self._full = asyncio.Event()
        self.dropped = 0

    def begin(self, request: Request, asker: User, verb: str, target: Target | None) -> None:
        """Put a record on the request, where the policy wants one."""
        decision: Decision = self._policy.decide(asker, verb, target, request.path)
        if decision.level == NONE:
            return
        request.audit = self._record(request, decision, asker, verb, target)
        self._add(request.audit, RECEIVED)

    def _record(
        self, request: Request, decision: Decision, asker: User, verb: str, target: Target | None
    ) -> Record:
        given = request.headers.get("audit-id", "")
        return Record(
            audit_id=given[:64] or self._ids.uid(),
            decision=decision,
            request=request,
            asker=asker,
            user=asker,
            verb=verb,
            target=target,
            received=self._clock.now(),
        )

    def unauthenticated(self, request: Request) -> None:
        """Put a record on a request whose credentials did not hold: its refusal will be its one event."""
        watch = "watch" in request.query and request.flag("watch")
        target = parse_path(request.method, request.path, watch)
        verb = target.verb if target is not None else request.method.lower()
        decision = self._policy.decide(_NOBODY, verb, target, request.path)
        if decision.level == NONE:
            return
        request.audit = self._record(request, decision, _NOBODY, verb, target)
        request.audit.failed = events.attempted(request)

    def end(self, request: Request, response: Response | None) -> None:
        """The request has its answer; None where it ended in a bug."""
        record = request.audit
        if not isinstance(record, Record):
            return
        if response is None:
            self._add(record, PANIC, 500)
            return
        if record.failed:
            response.headers["Audit-Id"] = record.audit_id
            self._add(record, STARTED, response.status)
            return
        if response.status == _FORBIDDEN:
            record.annotations.setdefault(events.ANNOTATION_DECISION, "forbid")
        response.headers["Audit-Id"] = record.audit_id
        if response.chunks is not None or response.tunnel is not None:
            code = 101 if response.tunnel is not None else response.status
            self._add(record, STARTED, code)
            if response.chunks is not None:
                response.chunks = _Followed(response.chunks, lambda: self._add(record, COMPLETE, code))
            else:
                response.ended = lambda: self._add(record, COMPLETE, code)
            return
        self._add(record, COMPLETE, response.status, response.body)

    def _add(self, record: Record, stage: str, code: int = 0, body: bytes = b"") -> None:
        if stage in record.decision.omit_stages:
            return
        if len(self._lines) >= MAX_WAITING:
            self.dropped += 1
            return
        line = Line(record, stage, self._clock.now(), code, body, dict(record.annotations))
        self._lines.append(line)
        if len(self._lines) >= BATCH_EVENTS:
            self._full.set()

    async def run(self) -> None:
        """Write what waits, every second or as soon as it is much, until cancelled."""
        while True:
            await first_done(self._full.wait(), self._clock.sleep(FLUSH_EVERY_S))
            self._full.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write everything that waits now. A file that cannot be written is told in the log."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            await asyncio.to_thread(self._write, lines, self._clock.now())
        except OSError as problem:
            self.dropped += len(lines)
            _log.error("the audit log %s cannot be written: %s", self._file.path, problem)

    def _write(self, lines: list[Line], now: datetime) -> None:
        self._file.write(b"".join(map(events.encoded, lines)), now)


class _Followed:
    """A stream that says once when it has ended."""

    def __init__(self, chunks: AsyncIterator[bytes], ended: object) -> None:
        self._chunks = chunks
        self._ended = ended

    def __aiter__(self) -> _Followed:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._end()
            raise

    async def aclose(self) -> None:
        self._end()
        closing = getattr(self._chunks, "aclose", None)
        if closing is not None:
            await closing()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if callable(ended):
            ended()
