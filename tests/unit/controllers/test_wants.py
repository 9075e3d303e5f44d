"""Controllers that hardly any object concerns are not asked to plan for the others: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sampan.client.cache import Cache
from sampan.client.effects import Plan
from sampan.controllers.catalog import controllers
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.schema import api
from tests.fakes.bench import NAMESPACE
from tests.fakes.managed import managed
from tests.fakes.waiting import run, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PICKY = {one.name: one for one in controllers() if one.wants is not None}


def pod(**spec: Any) -> api.Pod:
    meta = api.ObjectMeta(name="p", namespace=NAMESPACE, uid="p-uid")
    return api.Pod(apiVersion="v1", kind="Pod", metadata=meta, spec=api.PodSpec(**spec))


def deleted(one: api.Pod) -> api.Pod:
    meta = msgspec.structs.replace(one.metadata, deletionTimestamp=NOW, deletionGracePeriodSeconds=30)
    return msgspec.structs.replace(one, metadata=meta)


def with_status(one: api.Pod, **status: Any) -> api.Pod:
    return msgspec.structs.replace(one, status=api.PodStatus(**status))


def announced(one: api.Pod) -> api.Pod:
    condition = api.PodCondition(
        type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI", lastTransitionTime=NOW
    )
    return with_status(one, conditions=[condition])


def ephemeral() -> api.Pod:
    template = api.PersistentVolumeClaimTemplate(spec=api.PersistentVolumeClaimSpec())
    source = api.EphemeralVolumeSource(volumeClaimTemplate=template)
    return pod(volumes=[api.Volume(name="scratch", ephemeral=source)])


def claiming() -> api.Pod:
    return pod(resourceClaims=[api.PodResourceClaim(name="gpu", resourceClaimTemplateName="gpus")])


class Held(Caches):
    """A node with a NoExecute taint and one without, a claim with a tainted device, and the pod."""

    def __init__(self, one: api.Pod) -> None:
        self._caches: dict[type[Any], Cache[Any]] = {}
        taint = api.Taint(key="down", effect="NoExecute", timeAdded=NOW)
        self.of(api.Pod).put(one)
        for name, taints in (("tainted", [taint]), ("fine", [])):
            self.of(api.Node).put(
                api.Node(metadata=api.ObjectMeta(name=name), spec=api.NodeSpec(taints=taints))
            )

    def of(self, kind: type[Any]) -> Cache[Any]:
        return self._caches.setdefault(kind, Cache())

    def failure(self, key: object) -> None:
        return None


PODS: dict[str, Callable[[], api.Pod]] = {
    "plain": pod,
    "on a node": lambda: pod(nodeName="fine"),
    "on a tainted node": lambda: pod(nodeName="tainted"),
    "on a node that is not known": lambda: pod(nodeName="nowhere"),
    "deleted before it had a node": lambda: deleted(pod()),
    "deleted on a node": lambda: deleted(pod(nodeName="fine")),
    "about to be disrupted": lambda: announced(pod(nodeName="fine")),
    "ended": lambda: with_status(pod(nodeName="fine"), phase="Succeeded"),
    "with an ephemeral volume": ephemeral,
    "with a claim of its own": claiming,
}
# Which pods of those above they have to look at; of a claim with a tainted device tests/cluster has more.
WANTED = {
    "stale-disruption": {"about to be disrupted"},
    "unscheduled-pod-gc": {"deleted before it had a node"},
    "ephemeral-volume": {"with an ephemeral volume"},
    "resource-claim": {"with a claim of its own"},
    "taint-eviction": {"on a tainted node"},
    "device-taint-eviction": set[str](),
}


def test_every_controller_that_picks_is_in_the_table() -> None:
    assert set(PICKY) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_what_is_not_wanted_has_nothing_to_plan_for(name: str) -> None:
    controller = PICKY[name]
    assert controller.wants is not None
    for what, make in PODS.items():
        one = make()
        caches = Held(one)
        # Claims that are made later are named in the status, which is a change of the pod.
        is_wanted = controller.wants(caches, one)
        assert is_wanted is (what in WANTED[name]), what
        found: Any = controller.gather(caches, Key(NAMESPACE, "p")) if controller.kind else None
        if found is not None:
            assert is_wanted, what


def test_a_pod_that_names_a_claim_is_looked_at_for_tainted_devices() -> None:
    status = api.PodResourceClaimStatus(name="gpu", resourceClaimName="gpu-1")
    wants = PICKY["device-taint-eviction"].wants
    assert wants is not None
    one = with_status(claiming(), resourceClaimStatuses=[status])
    assert wants(Held(one), one)


def test_a_change_counts_where_what_was_or_what_is_now_is_wanted() -> None:
    planned: list[str] = []

    def gather(caches: Caches, key: Key) -> api.Node | None:
        return caches.of(api.Node).get(*key)

    def plan(view: api.Node, _now: datetime) -> Plan:
        planned.append(f"{view.metadata.name} {view.metadata.labels.get('mine', 'no')}")
        return Plan()

    picky = Controller(
        name="picky",
        kind=api.Node,
        wants=lambda _caches, node: "mine" in node.metadata.labels,
        gather=gather,
        plan=plan,
    )

    async def main() -> None:
        async with managed((picky,)) as cluster:
            for name, labels in (("a", {}), ("b", {"mine": "yes"})):
                meta = api.ObjectMeta(name=name, labels=labels)
                await cluster.client.create(api.Node(metadata=meta))
            await until(lambda: planned)
            await cluster.quiet()
            assert planned == ["b yes"]
            for labels in ({"other": "x"}, {"mine": "now"}, {"mine": None}, {"other": "y"}):
                await cluster.client.patch(api.Node, "a", "", {"metadata": {"labels": labels}})
                await cluster.quiet()
            assert planned == ["b yes", "a now", "a no"]

    run(main())
