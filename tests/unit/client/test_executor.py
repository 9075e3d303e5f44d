from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from sampan.base.clock import SimulatedClock
from sampan.client.client import Client
from sampan.client.effects import Create, Effect, Emit, Evict, Patch, Plan, Ref, Remove, Update, UpdateStatus
from sampan.client.errors import is_conflict
from sampan.client.executor import SETTLE_MOST_S, Executor, Outcome
from sampan.client.informer import SharedInformers
from sampan.client.resources import ref_of
from sampan.schema import api
from tests.fakes.apiserver import FakeServer, Refuse
from tests.fakes.waiting import run


def pod(name: str) -> api.Pod:
    return api.Pod(apiVersion="v1", kind="Pod", metadata=api.ObjectMeta(name=name, namespace="default"))


async def carry_out(server: FakeServer, *effects: Effect) -> Outcome:
    return await Executor(Client(server), SimulatedClock()).carry_out(Plan(effects))


def test_every_effect_does_what_it_says() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        await carry_out(server, Create(pod("a")), Create(pod("b")))
        made = await client.get(api.Pod, "a", "default")
        labelled = msgspec.structs.replace(made.metadata, labels={"x": "1"})
        await carry_out(server, Update(msgspec.structs.replace(made, metadata=labelled)))
        made = await client.get(api.Pod, "a", "default")
        assert made.metadata.labels == {"x": "1"}
        await carry_out(
            server, UpdateStatus(msgspec.structs.replace(made, status=api.PodStatus(phase="Running")))
        )
        await carry_out(server, Patch(ref_of(made), {"metadata": {"labels": {"x": None, "y": "2"}}}))
        made = await client.get(api.Pod, "a", "default")
        assert (made.status.phase, made.metadata.labels) == ("Running", {"y": "2"})
        await carry_out(server, Remove(msgspec.structs.replace(ref_of(made), resource_version="")))
        await carry_out(server, Evict(Ref("v1", "Pod", "default", "b")))
        assert server.objects == {}

    run(main())


def test_what_is_gone_is_removed_and_what_exists_may_be_expected() -> None:
    async def main() -> None:
        server = FakeServer()
        outcome = await carry_out(
            server,
            Remove(Ref("v1", "Pod", "default", "none", "u")),
            Evict(Ref("v1", "Pod", "default", "none", "u")),
            Create(pod("a")),
            Create(pod("a"), expect_exists=True),
        )
        assert outcome.failure is None

    run(main())


def test_a_failure_stops_the_rest() -> None:
    async def main() -> None:
        server = FakeServer()
        server.put(pod("a"))
        stale = Remove(Ref("v1", "Pod", "default", "a", "another-uid"))
        outcome = await carry_out(server, Create(pod("b")), stale, Create(pod("c")))
        assert outcome.failure is not None
        assert outcome.failure.effect == stale
        assert is_conflict(outcome.failure.error)
        assert [write.key[1] for write in outcome.writes] == ["b"]
        assert "/api/v1/namespaces/default/pods/c" not in server.objects

    run(main())


def test_creates_start_slowly() -> None:
    async def main() -> None:
        server = FakeServer()
        seen: list[int] = []

        def refuse_after_five(method: str, path: str, body: Any) -> None:
            seen.append(1)
            if len(seen) > 5:
                raise Refuse(403, "Forbidden", "quota")

        server.intercept = refuse_after_five
        await carry_out(server, *(Create(pod(f"p{n}")) for n in range(100)))
        assert len(seen) == 1 + 2 + 4  # 1, 2 and then a batch in which some fail

    run(main())


class Listening:
    def __init__(self) -> None:
        self.heard: list[Emit] = []

    def emit(self, emit: Emit) -> None:
        self.heard.append(emit)


def test_outcomes_are_announced_with_names_and_errors() -> None:
    async def main() -> None:
        server, recorder = FakeServer(), Listening()
        executor = Executor(Client(server), SimulatedClock(), recorder=recorder)  # type: ignore[arg-type]
        about = Ref("v1", "Node", "", "n")
        generated = api.Pod(metadata=api.ObjectMeta(generateName="x-", namespace="default"))
        done = Emit(about, "Normal", "Made", "made {name}")
        failed = Emit(about, "Warning", "Failed", "failed: {error}")
        twice = Create(pod("a"), failed=failed)
        await executor.carry_out(Plan((Create(generated, done=done), twice, twice)))
        assert [emit.message.split(" ")[0] for emit in recorder.heard] == ["made", "failed:"]
        assert recorder.heard[0].message == "made x-00001"
        assert "already exists" in recorder.heard[1].message

    run(main())


def test_writes_are_awaited_in_the_caches() -> None:
    async def main() -> None:
        server, clock = FakeServer(), SimulatedClock()
        client = Client(server)
        informers = SharedInformers(client, clock)
        pods = informers.of(api.Pod)
        executor = Executor(client, clock, informers)
        running = asyncio.create_task(informers.run())
        await pods.synced()
        outcome = await executor.carry_out(Plan((Create(pod("a")), Create(pod("b")))))
        assert await executor.settled(outcome)
        assert len(pods.cache) == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        # Nobody watches any more: what is written now never comes back.
        outcome = await executor.carry_out(Plan((Create(pod("c")),)))
        waiting = asyncio.create_task(executor.settled(outcome))
        await clock.advance(SETTLE_MOST_S - 1)
        assert not waiting.done()
        await clock.advance(2)
        assert await waiting is False

    run(main())
