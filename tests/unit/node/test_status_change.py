"""A status that is put in place says what its patch says, and goes through all that a patch goes through."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sampan.base.clock import SimulatedClock, micro_time
from sampan.client.errors import ApiError
from sampan.kinds import registry
from sampan.machinery.patch import strategic
from sampan.node.names import PodKey
from sampan.node.status_writer import StatusWriter, status_patch, with_status
from sampan.schema import api, codec
from sampan.schema.nodes import of_kind
from sampan.testing import Cluster
from tests.unit.node.fakes import FakeApi, make_pod, pod_path

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = st.sampled_from((None, "a", "b"))
OURS = ("PodReadyToStartContainers", "Initialized", "Ready")
TYPES = (*OURS, "Gate", "DisruptionTarget")


def conditions(types: tuple[str, ...]) -> st.SearchStrategy[list[api.PodCondition]]:
    def made(words: list[tuple[str, str, str | None, str | None, bool]]) -> list[api.PodCondition]:
        return [
            api.PodCondition(
                type=type_,
                status=status,
                reason=reason,
                message=message,
                lastTransitionTime=START,
                lastProbeTime=START if probed else None,
            )
            for type_, status, reason, message, probed in words
        ]

    one = st.tuples(st.sampled_from(types), st.sampled_from(("True", "False")), TEXTS, TEXTS, st.booleans())
    return st.lists(one, unique_by=lambda words: words[0], max_size=5).map(made)


def statuses(types: tuple[str, ...]) -> st.SearchStrategy[api.PodStatus]:
    names = st.lists(st.sampled_from(("web", "db")), unique=True)
    ips = st.lists(st.sampled_from(("10.0.0.1", "10.0.0.2")), unique=True, max_size=2)
    return st.builds(
        lambda found, phase, reason, message, pod_ips, host_ips, names, inits, qos, started: api.PodStatus(
            conditions=found,
            phase=phase,
            reason=reason,
            message=message,
            podIP=pod_ips[0] if pod_ips else None,
            podIPs=[api.PodIP(ip=ip) for ip in pod_ips],
            hostIP=host_ips[0] if host_ips else None,
            hostIPs=[api.HostIP(ip=ip) for ip in host_ips],
            containerStatuses=[api.ContainerStatus(name=n, image=n, restartCount=len(n)) for n in names],
            initContainerStatuses=[api.ContainerStatus(name=n, ready=True) for n in inits],
            qosClass=qos,
            startTime=START if started else None,
        ),
        conditions(types),
        st.sampled_from(("Pending", "Running")),
        TEXTS,
        TEXTS,
        ips,
        ips,
        names,
        names,
        TEXTS,
        st.booleans(),
    )


@given(statuses(TYPES), statuses(OURS))
def test_it_is_what_the_patch_makes(before: api.PodStatus, status: api.PodStatus) -> None:
    pod = replace(make_pod(), status=before)
    written = codec.encode(pod)
    node = of_kind(registry.by_type(api.Pod).gvk)
    patched = strategic.apply(codec.to_builtins(pod), status_patch("web-uid", before, status), node)
    assert codec.to_builtins(with_status("web-uid", status, pod)) == codec.to_builtins(
        codec.from_builtins(patched, api.Pod)
    )
    assert codec.encode(pod) == written


def key_of(pod: api.Pod, uid: str = "") -> PodKey:
    meta = pod.metadata
    return PodKey(namespace=meta.namespace or "", name=meta.name or "", uid=uid or meta.uid or "")


def a_pod() -> api.Pod:
    spec = api.PodSpec(containers=[api.Container(name="web", image="web:1")])
    return api.Pod(metadata=api.ObjectMeta(name="web", namespace="default"), spec=spec)


def test_it_reaches_the_api_like_a_patch() -> None:
    with Cluster(nodes=0, controllers=False, scheduler=False) as cluster:

        async def main() -> None:
            client = cluster.async_client
            account = api.ServiceAccount(metadata=api.ObjectMeta(name="default", namespace="default"))
            await client.create(account)
            pod = await client.create(a_pod())
            gate = {"status": {"conditions": [{"type": "Gate", "status": "True"}]}}
            pod = await client.patch(api.Pod, "web", "default", gate, subresource="status")
            watch = client.watch(api.Pod, resource_version=pod.metadata.resourceVersion or "")
            writer = StatusWriter(client, SimulatedClock())
            ready = api.PodCondition(type="Ready", status="True", lastTransitionTime=START)
            status = api.PodStatus(phase="Running", conditions=[ready], podIP="10.0.0.1")
            writer.put(key_of(pod), pod.status, status)
            await writer.flush(pod.metadata.uid or "")
            event = await anext(watch)
            assert (event.type, event.object.status.phase) == ("MODIFIED", "Running")
            assert [c.type for c in event.object.status.conditions] == ["Ready", "Gate"]
            assert event.object.spec == pod.spec
            # Another pod of that name is left alone, and nothing is tried again.
            writer.put(key_of(pod, "another"), pod.status, replace(status, phase="Failed"))
            await writer.flush("another")
            assert (await client.get(api.Pod, "web", "default")).status.phase == "Running"
            with pytest.raises(ApiError, match=r"status\.podIP"):
                bad = replace(status, podIP="nowhere", podIPs=[api.PodIP(ip="nowhere")])
                await client.change(
                    api.Pod, "web", "default", lambda old: with_status("", bad, old), subresource="status"
                )

        cluster.call(main())


def test_micro_times_have_six_digits() -> None:
    for moment, text in (
        (START, "2026-01-01T00:00:00.000000Z"),
        (START + timedelta(microseconds=5), "2026-01-01T00:00:00.000005Z"),
    ):
        assert micro_time(moment) == text


def test_who_is_not_in_the_process_patches() -> None:
    async def main() -> None:
        fake: Any = FakeApi()
        fake.put(pod_path(), make_pod())
        assert not await fake.client.change(api.Pod, "web", "default", lambda pod: pod)
        writer = StatusWriter(fake.client, SimulatedClock())
        writer.put(key_of(make_pod()), api.PodStatus(), api.PodStatus(phase="Running"))
        await writer.flush("web-uid")
        assert ("PATCH", f"{pod_path()}/status") in fake.requests
        assert fake.pod("web").status.phase == "Running"

    asyncio.run(main())


class _Near:
    """A client whose server is in this process: notes what it is asked, and answers as it is told."""

    changes_in_place = True

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.answers: dict[str, list[Exception | None]] = {}
        self.phases: dict[str, str] = {}
        self.asked = asyncio.Event()

    async def change_all(self, kind: Any, wanted: Any, *, subresource: str = "") -> list[Exception | None]:
        self.batches.append([name for name, _, _ in wanted])
        self.asked.set()
        await asyncio.sleep(0)
        answers: list[Exception | None] = []
        for name, _, make in wanted:
            left = self.answers.get(name, [])
            refused = left.pop(0) if left else None
            if refused is None:
                self.phases[name] = make(make_pod(name)).status.phase
            answers.append(refused)
        return answers

    async def change(self, kind: Any, name: str, namespace: str, make: Any, *, subresource: str = "") -> bool:
        (refused,) = await self.change_all(kind, [(name, namespace, make)])
        if refused is not None:
            raise refused
        return True

    async def get(self, kind: Any, name: str, namespace: str) -> api.Pod:
        return make_pod(name)


def test_statuses_whose_turns_are_over_go_together_and_only_the_newest_of_each() -> None:
    async def main() -> None:
        near, clock = _Near(), SimulatedClock()
        writer = StatusWriter(near, clock, turns=3)  # type: ignore[arg-type]

        def put(name: str, phase: str) -> None:
            writer.put(PodKey("default", name, f"{name}-uid"), api.PodStatus(), api.PodStatus(phase=phase))

        put("a", "Pending")
        put("b", "Running")
        put("a", "Running")
        await writer.flush("a-uid")
        assert near.batches == [["a", "b"]]
        near.answers = {
            "gone": [ApiError.of(404, "NotFound", "gone")],
            "late": [ApiError.of(500, "InternalError", "no"), ApiError.of(500, "InternalError", "no")],
        }
        put("gone", "Running")
        put("late", "Pending")
        put("c", "Pending")
        near.asked.clear()
        await near.asked.wait()
        put("c", "Running")  # while the one before is on its way
        await writer.flush("gone-uid")
        await writer.flush("c-uid")
        put("late", "Running")
        await clock.advance(1)
        await writer.flush("late-uid")
        near.answers["other"] = [ApiError.of(422, "Invalid", "metadata.uid: field is immutable")] * 9
        writer.put(PodKey("default", "other", "of-one-before"), api.PodStatus(), api.PodStatus())
        for _ in range(5):
            await clock.advance(1)
        assert "of-one-before" not in writer._pending
        assert near.phases == dict.fromkeys(("a", "b", "c", "late"), "Running")
        assert near.batches[1] == ["gone", "late", "c"]
        assert writer.written == 5
        assert not writer._pending

    asyncio.run(main())


def test_a_passing_status_waits_for_the_next_one() -> None:
    async def main() -> None:
        fake: Any = FakeApi()
        fake.put(pod_path(), make_pod())
        clock, key = SimulatedClock(), key_of(make_pod())

        def written() -> list[str]:
            return [path for method, path in fake.requests if method == "PATCH"]

        async def put(phase: str, passing: bool) -> None:
            writer.put(key, api.PodStatus(), api.PodStatus(phase=phase, reason=phase), passing=passing)
            await clock.advance(0.1)

        writer = StatusWriter(fake.client, clock, hold_s=0.3)
        await put("Pending", True)
        assert not written()
        await put("Running", False)  # which comes at once, alone
        assert len(written()) == 1
        assert fake.pod("web").status.phase == "Running"
        # Nothing waits longer than that, however much passes by.
        for _ in range(3):
            await put("Unknown", True)
        await clock.advance(0.1)
        assert (len(written()), fake.pod("web").status.phase) == (2, "Unknown")
        # Nor does it wait where the pod is to go.
        await put("Failed", True)
        await writer.flush("web-uid")
        assert (len(written()), fake.pod("web").status.phase) == (3, "Failed")

    asyncio.run(main())
