from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Create, Patch, Plan, Remove
from sampan.controllers.runtime import revisions
from sampan.controllers.statefulset import plan as statefulset
from sampan.controllers.statefulset.identity import make_pod
from sampan.controllers.statefulset.plan import CONTROLLER
from sampan.controllers.statefulset.view import View
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready, template
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def owner(replicas: int = 3, **given: Any) -> api.StatefulSet:
    rolling = given.pop("rolling", None)
    strategy = api.StatefulSetUpdateStrategy(
        type=given.pop("strategy", "RollingUpdate"), rollingUpdate=rolling
    )
    status = api.StatefulSetStatus(currentRevision="old")
    return api.StatefulSet(
        apiVersion="apps/v1",
        kind="StatefulSet",
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, uid="set", generation=1),
        spec=api.StatefulSetSpec(
            replicas=replicas,
            serviceName="web-svc",
            selector=api.LabelSelector(matchLabels={"app": "web"}),
            template=template(),
            updateStrategy=strategy,
            revisionHistoryLimit=10,
            **given,
        ),
        status=status,
    )


def claim_template() -> api.PersistentVolumeClaim:
    return api.PersistentVolumeClaim(metadata=api.ObjectMeta(name="data", labels={"tier": "disk"}))


# -- planned over a table of pods ---------------------------------------------------------------------------
# One letter a pod, in order of ordinals. Of the update revision: A available, d down, t leaving, F failed;
# of the old one: O available, o down; a dot where the pod is missing.

LETTERS = {"A": "new", "d": "new", "t": "new", "F": "new", "O": "old", "o": "old"}


def revision(given: api.StatefulSet, name: str, number: int) -> api.ControllerRevision:
    made = revisions.find(given, (), None).current
    made.metadata.name, made.revision = name, number
    if name == "old":
        made.data = revisions.snapshot(template("web:0"))
    return made


def pods_of(given: api.StatefulSet, text: str, first: int = 0) -> list[api.Pod]:
    found = []
    for ordinal, letter in enumerate(text, first):
        if letter == ".":
            continue
        pod = make_pod(given, given.spec.template, LETTERS[letter], ordinal)
        pod.metadata.uid = pod.metadata.name
        if letter in "AOt":
            make_ready(pod, NOW - timedelta(minutes=5))
        if letter == "t":
            pod.metadata.deletionTimestamp = NOW
        if letter == "F":
            pod.status.phase = "Failed"
        found.append(pod)
    return found


def step(given: api.StatefulSet, text: str, first: int = 0) -> Plan:
    known = (revision(given, "old", 1), revision(given, "new", 2))
    return statefulset.plan(View(given, tuple(pods_of(given, text, first)), known), NOW)


def moves(plan: Plan) -> list[str]:
    """`+name=revision` for each creation, `-name` for each removal, in order."""
    found = []
    for effect in plan.effects:
        if isinstance(effect, Create) and isinstance(effect.obj, api.Pod):
            labels = effect.obj.metadata.labels
            found.append(f"+{effect.obj.metadata.name}={labels['controller-revision-hash']}")
        if isinstance(effect, Remove):
            found.append(f"-{effect.ref.name}")
    return found


PARTITION_2 = api.RollingUpdateStatefulSetStrategy(partition=2)
TWO_AT_ONCE = api.RollingUpdateStatefulSetStrategy(partition=0, maxUnavailable=2)
TO_END = api.RollingUpdateStatefulSetStrategy(partition=0)


@pytest.mark.parametrize(
    ("given", "pods", "wanted"),
    [
        # in order, one after the other
        ({"rolling": TO_END}, "", ["+web-0=new"]),
        ({"rolling": TO_END}, "d", []),
        ({"rolling": TO_END}, "A", ["+web-1=new"]),
        ({"rolling": TO_END}, "A.A", ["+web-1=new"]),
        ({"rolling": TO_END}, "AtA", []),
        ({"rolling": TO_END}, "AF", ["-web-1"]),
        ({"rolling": TO_END}, "AAA", []),
        # scaling down from the end
        ({"rolling": TO_END}, "AAAAA", ["-web-4"]),
        ({"rolling": TO_END}, "AAAAt", []),
        ({"rolling": TO_END}, "AdAAA", []),
        ({"rolling": TO_END}, "AAAdA", ["-web-4"]),
        ({"rolling": TO_END}, "AAAdd", []),
        ({"rolling": TO_END}, "AAAAd", ["-web-4"]),
        # all at once
        (
            {"rolling": TO_END, "podManagementPolicy": "Parallel"},
            "",
            ["+web-0=new", "+web-1=new", "+web-2=new"],
        ),
        ({"rolling": TO_END, "podManagementPolicy": "Parallel"}, "d.t", ["+web-1=new"]),
        ({"rolling": TO_END, "podManagementPolicy": "Parallel"}, "ddddt", ["-web-3"]),
        # updates
        ({"rolling": TO_END}, "OOO", ["-web-2"]),
        ({"rolling": TO_END}, "OOA", ["-web-1"]),
        ({"rolling": TO_END}, "OOd", []),
        ({"rolling": TO_END, "podManagementPolicy": "Parallel"}, "OOd", []),
        ({"rolling": TO_END, "podManagementPolicy": "Parallel"}, "OOo", ["-web-2"]),
        ({"rolling": TO_END, "podManagementPolicy": "Parallel"}, "oOO", []),
        ({"rolling": TWO_AT_ONCE}, "OOO", ["-web-2", "-web-1"]),
        ({"rolling": TWO_AT_ONCE, "podManagementPolicy": "Parallel"}, "OOd", ["-web-1"]),
        ({"rolling": PARTITION_2}, "OOO", ["-web-2"]),
        ({"rolling": PARTITION_2}, "OOA", []),
        ({"rolling": PARTITION_2}, ".OA", ["+web-0=old"]),
        ({"rolling": PARTITION_2}, "OO.", ["+web-2=new"]),
        ({"strategy": "OnDelete"}, "OOO", []),
        ({"strategy": "OnDelete"}, "O.O", ["+web-1=new"]),
    ],
)
def test_steps(given: dict[str, Any], pods: str, wanted: list[str]) -> None:
    assert moves(step(owner(**given), pods)) == wanted


def test_ordinals_may_start_elsewhere() -> None:
    given = owner(2, rolling=TO_END, ordinals=api.StatefulSetOrdinals(start=5))
    assert moves(step(given, "A", 5)) == ["+web-6=new"]
    # moving the start up condemns what is below it
    assert moves(step(given, "AAA", 4)) == ["-web-4"]


def test_a_set_that_is_deleted_does_nothing_more() -> None:
    given = owner(rolling=TO_END)
    given.metadata.deletionTimestamp = NOW
    assert moves(step(given, "A")) == []


def test_min_ready_seconds_hold_up_the_next() -> None:
    given = owner(rolling=TO_END, minReadySeconds=3600)
    plan = step(given, "A")
    assert moves(plan) == []
    assert plan.requeue_after_s == 3300
    assert plan.waiting_for == "pod web-0 to become available"


def test_lost_identity_labels_come_back() -> None:
    given = owner(1, rolling=TO_END)
    (pod,) = pods_of(given, "A")
    del pod.metadata.labels["apps.kubernetes.io/pod-index"]
    plan = statefulset.plan(View(given, (pod,), (revision(given, "new", 2),)), NOW)
    (patch,) = [effect for effect in plan.effects if isinstance(effect, Patch)]
    assert patch.patch["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"


# -- against a server ---------------------------------------------------------------------------------------


async def bring_up(bench: Bench) -> None:
    for pod in await bench.all(api.Pod):
        if pod.metadata.deletionTimestamp is not None:
            bench.server.drop(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.metadata.name}")
        else:
            bench.server.put(make_ready(pod, bench.now))


async def settle(bench: Bench, rounds: int = 12) -> None:
    for _ in range(rounds):
        await bench.settle(CONTROLLER, key("web"))
        await bring_up(bench)
    await bench.settle(CONTROLLER, key("web"))


async def patch(bench: Bench, **spec: Any) -> None:
    await bench.client.patch(api.StatefulSet, "web", NAMESPACE, {"spec": spec})


def fresh(**given: Any) -> api.StatefulSet:
    made = owner(**given)
    made.metadata.uid = None
    made.status = api.StatefulSetStatus()
    return made


def test_pods_have_names_hosts_claims_and_planning_again_changes_nothing() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(fresh(replicas=2, rolling=TO_END, volumeClaimTemplates=[claim_template()]))
        await settle(bench)
        pods = {pod.metadata.name: pod for pod in await bench.all(api.Pod)}
        assert sorted(pods) == ["web-0", "web-1"]
        pod = pods["web-1"]
        assert (pod.spec.hostname, pod.spec.subdomain) == ("web-1", "web-svc")
        assert pod.metadata.labels["statefulset.kubernetes.io/pod-name"] == "web-1"
        assert pod.metadata.labels["apps.kubernetes.io/pod-index"] == "1"
        (volume,) = pod.spec.volumes
        assert volume.persistentVolumeClaim is not None
        assert volume.persistentVolumeClaim.claimName == "data-web-1"
        claims = {claim.metadata.name: claim for claim in await bench.all(api.PersistentVolumeClaim)}
        assert sorted(claims) == ["data-web-0", "data-web-1"]
        assert claims["data-web-0"].metadata.labels == {"tier": "disk", "app": "web"}
        assert claims["data-web-0"].metadata.ownerReferences == []
        status = (await bench.get(api.StatefulSet, "web")).status
        assert (status.replicas, status.readyReplicas, status.availableReplicas) == (2, 2, 2)
        assert (status.currentReplicas, status.updatedReplicas) == (2, 2)
        assert status.currentRevision == status.updateRevision
        assert (await bench.step(CONTROLLER, key("web"))).effects == ()

    run(main())


def test_an_update_ends_with_its_revision_as_the_current_one_and_can_be_rolled_back() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(fresh(rolling=TO_END))
        await settle(bench)
        first = (await bench.get(api.StatefulSet, "web")).status.currentRevision
        await patch(bench, template={"spec": {"containers": [{"name": "web", "image": "web:2"}]}})
        await bench.settle(CONTROLLER, key("web"))
        status = (await bench.get(api.StatefulSet, "web")).status
        assert (status.currentRevision == first, status.updateRevision == first) == (True, False)
        await settle(bench)
        status = (await bench.get(api.StatefulSet, "web")).status
        assert status.currentRevision == status.updateRevision != first
        assert {pod.spec.containers[0].image for pod in await bench.all(api.Pod)} == {"web:2"}
        await patch(bench, template={"spec": {"containers": [{"name": "web", "image": "web:1"}]}})
        await settle(bench)
        status = (await bench.get(api.StatefulSet, "web")).status
        assert status.currentRevision == status.updateRevision == first
        assert len(await bench.all(api.ControllerRevision)) == 2

    run(main())


def retain(deleted: str, scaled: str) -> api.StatefulSetPersistentVolumeClaimRetentionPolicy:
    return api.StatefulSetPersistentVolumeClaimRetentionPolicy(whenDeleted=deleted, whenScaled=scaled)


@pytest.mark.parametrize(
    ("deleted", "scaled", "kept", "condemned"),
    [
        ("Retain", "Retain", [], []),
        ("Delete", "Retain", ["StatefulSet"], ["StatefulSet"]),
        ("Retain", "Delete", [], ["Pod"]),
        ("Delete", "Delete", ["StatefulSet"], ["Pod"]),
    ],
)
def test_claims_belong_to_whom_the_retention_policy_says(
    deleted: str, scaled: str, kept: list[str], condemned: list[str]
) -> None:
    async def main() -> None:
        bench = Bench()
        policy = retain(deleted, scaled)
        await bench.client.create(
            fresh(
                replicas=2,
                rolling=TO_END,
                volumeClaimTemplates=[claim_template()],
                persistentVolumeClaimRetentionPolicy=policy,
            )
        )
        await settle(bench)
        await patch(bench, replicas=1)
        await bench.settle(CONTROLLER, key("web"))  # web-1 is leaving: it stays until the node lets it go
        owners = {
            claim.metadata.name: [one.kind for one in claim.metadata.ownerReferences]
            for claim in await bench.all(api.PersistentVolumeClaim)
        }
        assert owners == {"data-web-0": kept, "data-web-1": condemned}

    run(main())


def test_a_pod_waits_for_the_claim_of_its_predecessor_to_go() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(
            fresh(
                replicas=1,
                rolling=TO_END,
                volumeClaimTemplates=[claim_template()],
                persistentVolumeClaimRetentionPolicy=retain("Retain", "Delete"),
            )
        )
        await settle(bench)
        await patch(bench, replicas=0)
        await settle(bench)
        assert await bench.all(api.Pod) == []
        await patch(bench, replicas=1)
        plan = await bench.step(CONTROLLER, key("web"))
        assert plan.waiting_for == "the old claims of pod web-0 to go"
        assert await bench.all(api.Pod) == []
        bench.server.drop(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/data-web-0")
        await settle(bench)
        assert len(await bench.all(api.Pod)) == 1
        (claim,) = await bench.all(api.PersistentVolumeClaim)
        assert claim.metadata.ownerReferences == []

    run(main())
