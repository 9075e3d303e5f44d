"""What is said of pods that wait: nothing is lost where words come faster than they are written."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sampan.base.clock import SimulatedClock
from sampan.client.cache import Cache
from sampan.scheduler.podstatus import with_words
from sampan.scheduler.telling import Teller, Word
from sampan.schema import api
from tests.unit.scheduler.objects import pod


class Written:
    """A client and a recorder that keep what they are given."""

    def __init__(self) -> None:
        self.patches: list[dict[str, Any]] = []

    async def change(self, *_: Any, **__: Any) -> bool:
        return False  # as where the server is elsewhere

    async def patch(self, kind: Any, name: str, namespace: str, change: Any, **_: Any) -> None:
        self.patches.append(change["status"])

    def emit(self, event: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("words", "nominated", "message"),
    [
        ([("no room", "n1"), ("still none", None)], "n1", "still none"),
        ([("no room", "n1"), ("", "n2")], "n2", "no room"),
        ([("no room", "n1"), ("none at all", "")], None, "none at all"),
        ([("", "n1"), ("no room", None)], "n1", "no room"),
    ],
)
def test_words_that_were_not_written_yet_are_joined(
    words: list[tuple[str, str | None]], nominated: str | None, message: str
) -> None:
    async def main() -> None:
        written = Written()
        pods: Cache[api.Pod] = Cache()
        held = pod(status={"nominatedNodeName": "n0"})
        pods.put(held)
        teller = Teller(cast(Any, written), SimulatedClock(), pods, lambda name: written)
        for text, node in words:
            teller.tell(("default", "p"), Word(held, text, nominated=node))
        running = asyncio.create_task(teller.run())
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(written.patches) == 1
        assert written.patches[0]["nominatedNodeName"] == nominated
        assert written.patches[0]["conditions"][0]["message"] == message

    asyncio.run(main())


def test_a_word_in_place_is_what_its_patch_makes() -> None:
    old = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    other = {"type": "Ready", "status": "False"}
    held = pod(status={"conditions": [other, old], "nominatedNodeName": "n0"})
    said = api.PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="no room")
    gone = api.PodCondition(type="DisruptionTarget", status="True")
    made = with_words("u1", [said, gone], "", held)
    assert [c.type for c in made.status.conditions] == ["Ready", "PodScheduled", "DisruptionTarget"]
    assert made.status.conditions[1].message == "no room"
    assert made.status.nominatedNodeName is None
    assert made.metadata.uid == "u1"  # the server compares it with the stored pod's
    assert held.status.nominatedNodeName == "n0" and held.status.conditions[1].message is None
    assert with_words("u1", [], None, held).status.nominatedNodeName == "n0"
