"""The objects of pods that have ended are let go of together, and each hears what became of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.node.finisher import TOGETHER_MOST, Finisher
from sampan.node.names import PodKey
from sampan.schema import api
from sampan.testing import Cluster

Answers = Sequence[Exception | None] | None | Exception


class _Near:
    """A client whose server is in this process: notes what it is asked, and answers as it is told."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.batches: list[list[str]] = []

    async def delete_each(self, kind: Any, wanted: Any) -> Sequence[Exception | None] | None:
        self.batches.append([name for name, _, _ in wanted])
        await asyncio.sleep(0)
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers if self.answers is None or self.answers else [None] * len(wanted)


async def _told(near: _Near, count: int) -> dict[str, Exception | None]:
    finisher = Finisher(near)  # type: ignore[arg-type]
    told: dict[str, Exception | None] = {}
    done = asyncio.Event()

    def hear(name: str, error: Exception | None) -> None:
        told[name] = error
        if len(told) == count:
            done.set()

    for number in range(count):
        name = f"p{number}"
        finisher.put(PodKey("default", name, f"{name}-uid"), lambda error, name=name: hear(name, error))  # type: ignore[misc]
    await done.wait()
    finisher.close()
    return told


def test_those_of_one_turn_go_together_and_hear_each_its_own() -> None:
    gone = ApiError.of(404, "NotFound", "gone")
    near = _Near([None, gone, None])
    assert asyncio.run(_told(near, 3)) == {"p0": None, "p1": gone, "p2": None}
    assert near.batches == [["p0", "p1", "p2"]]


def test_very_many_go_in_several_batches() -> None:
    near = _Near([])
    told = asyncio.run(_told(near, TOGETHER_MOST + 1))
    assert [len(batch) for batch in near.batches] == [TOGETHER_MOST, 1]
    assert set(told.values()) == {None}


@pytest.mark.parametrize("answers", [ConnectionError("no"), None], ids=["raises", "wants to be shown"])
def test_where_none_could_be_deleted_each_hears_so(answers: Answers) -> None:
    told = asyncio.run(_told(_Near(answers), 2))
    assert [type(error) for error in told.values()] == [ConnectionError] * 2


def test_a_pod_whose_deletion_failed_is_let_go_of_later() -> None:
    with Cluster() as cluster:
        finisher = cluster.nodes.host.finisher
        assert finisher is not None
        refused: list[str] = []
        client = finisher._client
        usual = client.delete_each

        async def once(kind: Any, wanted: Any) -> Any:
            if refused:
                return await usual(kind, wanted)
            refused.extend(name for name, _, _ in wanted)
            return [ApiError.of(500, "InternalError", "not now")] * len(wanted)

        finisher._client = _Instead(once)  # type: ignore[assignment]
        pod = api.Pod(
            metadata=api.ObjectMeta(name="web", namespace="default"),
            spec=api.PodSpec(containers=[api.Container(name="c", image="web:1")]),
        )
        cluster.wait_until(lambda: _exists(cluster, api.ServiceAccount, "default"))
        cluster.client.create(pod)
        cluster.wait_until(lambda: cluster.client.get(api.Pod, "web", "default").status.phase == "Running")
        cluster.client.delete(api.Pod, "web", "default")
        cluster.wait_until(lambda: not _exists(cluster, api.Pod, "web"))
        assert refused == ["web"]
        cluster.wait_until(lambda: not cluster.nodes.host.workers)


class _Instead:
    def __init__(self, delete_each: Any) -> None:
        self.delete_each = delete_each


def _exists(cluster: Cluster, kind: Any, name: str) -> bool:
    try:
        cluster.client.get(kind, name, "default")
    except ApiError as error:
        assert error.code == 404
        return False
    return True
