from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from sampan.base.clock import SimulatedClock
from sampan.client.client import Client
from sampan.client.leases import DURATION_S, Elector, Observed, Take, Wait, decide, observe
from sampan.schema import api
from tests.fakes.apiserver import FakeServer
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = ("kube-system", "controller")


def lease(holder: str, renewed: str = "t1", transitions: int = 0) -> api.Lease:
    spec = api.LeaseSpec(
        holderIdentity=holder,
        renewTime=renewed,
        leaseTransitions=transitions,
        leaseDurationSeconds=15,
        acquireTime="t0",
    )
    return api.Lease(metadata=api.ObjectMeta(namespace=NAME[0], name=NAME[1], resourceVersion="3"), spec=spec)


def test_a_lease_that_does_not_exist_is_created() -> None:
    taken = decide(None, None, NAME, "me", NOW, 0)
    assert isinstance(taken, Take)
    assert taken.create
    assert (taken.lease.spec.holderIdentity, taken.lease.spec.leaseTransitions) == ("me", 0)


@pytest.mark.parametrize(
    ("holder", "observed_s", "now_s", "taken"),
    [
        ("other", 0, DURATION_S - 0.1, False),
        ("other", 0, DURATION_S, True),
        ("", 0, 0, True),
        ("me", 0, 0, True),
        ("me", 0, 1000, True),
    ],
)
def test_who_may_take_a_lease(holder: str, observed_s: float, now_s: float, taken: bool) -> None:
    found = decide(lease(holder), Observed(holder, "t1", 0, observed_s), NAME, "me", NOW, now_s)
    assert isinstance(found, Take) is taken
    if isinstance(found, Take):
        assert not found.create
        assert found.lease.metadata.resourceVersion == "3"
        assert found.lease.spec.leaseTransitions == (0 if holder == "me" else 1)
        assert found.lease.spec.acquireTime == ("t0" if holder == "me" else "2026-01-01T00:00:00.000000Z")
    else:
        assert found == Wait(holder)


def test_only_a_change_counts_as_a_sign_of_life() -> None:
    first = observe(lease("other"), None, 10)
    assert first is not None
    assert observe(lease("other"), first, 20) is first
    assert observe(lease("other", "t2"), first, 20) == Observed("other", "t2", 0, 20)


def test_one_leads_and_another_takes_over() -> None:
    async def main() -> None:
        server, clock = FakeServer(), SimulatedClock()
        leading: list[str] = []
        electors = {name: Elector(Client(server), clock, name, "controller") for name in ("a", "b")}
        tasks: dict[str, asyncio.Task[None]] = {}
        for name, elector in electors.items():

            async def lead(name: str = name) -> None:
                leading.append(name)
                try:
                    await asyncio.Event().wait()
                finally:
                    leading.remove(name)

            tasks[name] = asyncio.create_task(elector.run(lead))
        await clock.advance(30)
        assert leading == ["a"]
        assert electors["b"].leader == "a"
        assert electors["a"].is_leader
        tasks["a"].cancel()
        await asyncio.gather(tasks["a"], return_exceptions=True)
        assert leading == []
        await clock.advance(5)  # given back, so that nobody has to wait for it to expire
        assert leading == ["b"]
        server.disconnect()
        await clock.advance(15)
        assert leading == []
        server.down = False
        await clock.advance(30)
        assert leading == ["b"]
        tasks["b"].cancel()
        await asyncio.gather(tasks["b"], return_exceptions=True)

    run(main())


def test_an_error_of_the_leader_is_raised() -> None:
    async def main() -> None:
        async def lead() -> None:
            raise RuntimeError("no use")

        with pytest.raises(RuntimeError, match="no use"):
            await Elector(Client(FakeServer()), SimulatedClock(), "a", "x").run(lead)

    run(main())
