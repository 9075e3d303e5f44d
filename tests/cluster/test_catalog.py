"""What holds for every controller of the catalog, on a world that has something for each of them.

A manager whose process ends between any two writes is followed by one that brings the same world about, and
so are managers that each end after a write or two, as long as it takes; and once that world is there, every
controller plans nothing more for any key that it ever looked at.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.apiserver.core.users import ADMIN
from sampan.apiserver.direct import DirectTransport
from sampan.client.client import MERGE, STRATEGIC, Client
from sampan.client.effects import Emit
from sampan.client.resources import resource_of
from sampan.client.transport import Reply
from sampan.cluster import addons
from sampan.controllers.catalog import Settings, controllers
from sampan.controllers.job.facts import TRACKING
from sampan.controllers.nodeipam import Ranges
from sampan.controllers.runtime.controller import Controller
from sampan.controllers.runtime.manager import Manager
from sampan.controllers.storage.names import PROVISIONED_BY
from sampan.kinds import localpath
from sampan.machinery.quantity import quantity
from sampan.schema import api
from sampan.testing import Cluster

# What may be lost or changes nothing.
UNCOUNTED = ("/events", "accessreviews")
TAINTED = "node-3"
HELD = "example.com/held"
OF_SERVER = {"apiserver.kubernetes.io/identity": "kube-apiserver"}
PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
# Longer than what any controller here waits before it looks at something, over three steps.
STEP_S = 20
STEPS_MOST = 60
# How many places to break off at, spread over all writes of a run.
CUTS = 12
LIVES_MOST = 400
COMPARED = (
    api.Pod, api.ReplicaSet, api.Job, api.ControllerRevision, api.PersistentVolumeClaim, api.PersistentVolume,
    api.EndpointSlice, api.Endpoints, api.ServiceAccount, api.ConfigMap,
)  # fmt: skip


class Mortal:
    """The transport of a process that ends after so many writes; events and reviews are not counted."""

    def __init__(self, cluster: Cluster, lives: int | None) -> None:
        self._inner = DirectTransport(cluster.server, ADMIN)
        self._lives = lives
        self.writes = 0
        self.last: deque[str] = deque(maxlen=20)

    async def request(self, method: str, path: str, *args: Any, **kwargs: Any) -> Reply:
        if method != "GET" and not any(word in path for word in UNCOUNTED):
            if self._lives is not None and self.writes >= self._lives:
                raise ConnectionError("the process has ended")
            self.writes += 1
            self.last.append(f"{method} {path}")
        return await self._inner.request(method, path, *args, **kwargs)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        return self._inner.stream(path, query)

    async def close(self) -> None:
        return None


class World:
    """A cluster with a manager that can be exchanged."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.keys: dict[str, set[Hashable]] = defaultdict(set)
        self.task: asyncio.Task[None] | None = None

    def catalog(self) -> list[Controller]:
        ranges = Ranges(("10.50.0.0/16",))
        chosen = controllers(Settings(ca_bundle=PEM, trust_bundle="", node_ranges=ranges))
        return [self._recording(one) for one in chosen]

    def _recording(self, controller: Controller) -> Controller:
        gather, keys = controller.gather, self.keys[controller.name]

        def recorded(caches: Any, key: Any) -> Any:
            keys.add(key)
            return gather(caches, key)

        return msgspec.structs.replace(controller, gather=recorded)

    async def start(self, lives: int | None = None) -> None:
        self.transport = Mortal(self.cluster, lives)
        self.manager = Manager(Client(self.transport), self.cluster.clock, self.catalog())
        self.task = asyncio.create_task(self.manager.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def converge(self) -> None:
        """Move the clock until the manager writes nothing more."""
        still, writes = 0, -1
        for _ in range(STEPS_MOST):
            self.cluster.advance(STEP_S)
            self.cluster.wait_until(lambda: self.manager.idle, advance=False)
            still = still + 1 if self.transport.writes == writes else 0
            writes = self.transport.writes
            if still >= 3:
                return
        raise AssertionError(f"the controllers go on writing: {list(self.transport.last)}")

    def converge_dying(self, lives: int) -> int:
        """The same, with managers that each end after so many writes; gives how many there were."""
        still, count = 0, 1
        while still < 3:
            before = self.transport.writes
            self.cluster.advance(1)
            if self.transport.writes < lives:
                self.cluster.advance(STEP_S)
            if self.transport.writes >= lives:
                self.cluster.call(self.stop())
                self.cluster.call(self.start(lives))
                still, count = 0, count + 1
                assert count < LIVES_MOST, f"the controllers go on writing: {list(self.transport.last)}"
                continue
            self.cluster.wait_until(lambda: self.manager.idle, advance=False)
            still = still + 1 if self.transport.writes == before else 0
        return count

    def shape(self) -> Counter[tuple[str, ...]]:
        """How many objects of which kind there are, whose they are, and how they are."""
        found: Counter[tuple[str, ...]] = Counter()
        for kind in COMPARED:
            for obj in self.cluster.client.list(kind, ""):
                meta = obj.metadata
                owner = meta.ownerReferences[0].kind if meta.ownerReferences else ""
                phase = getattr(getattr(obj, "status", None), "phase", None) or ""
                found[
                    resource_of(kind).kind, meta.namespace or "", owner, phase, str(sorted(meta.finalizers))
                ] += 1
        return found


def template(name: str, **spec: Any) -> api.PodTemplateSpec:
    meta = api.ObjectMeta(labels={"app": name})
    return api.PodTemplateSpec(
        metadata=meta, spec=api.PodSpec(containers=[api.Container(name="c", image="web:1")], **spec)
    )


def objects() -> list[Any]:
    def meta(name: str) -> api.ObjectMeta:
        return api.ObjectMeta(name=name, namespace="shop", labels={"app": name})

    def chosen(name: str) -> api.LabelSelector:
        return api.LabelSelector(matchLabels={"app": name})

    runs = template("work", restartPolicy="Never")
    runs.metadata.annotations = {"sampan.dev/simulate": json.dumps({"run_s": 2})}
    claim = api.PersistentVolumeClaim(
        metadata=api.ObjectMeta(name="data"),
        spec=api.PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"],
            resources=api.VolumeResourceRequirements(requests={"storage": "1Mi"}),
        ),
    )
    port = api.ServicePort(port=80)
    return [
        api.Namespace(metadata=api.ObjectMeta(name="shop")),
        addons.storage_class(),
        *leftovers(),
        api.Deployment(
            metadata=meta("web"),
            spec=api.DeploymentSpec(replicas=3, selector=chosen("web"), template=template("web")),
        ),
        api.DaemonSet(
            metadata=meta("every"),
            spec=api.DaemonSetSpec(selector=chosen("every"), template=template("every")),
        ),
        api.StatefulSet(
            metadata=meta("db"),
            spec=api.StatefulSetSpec(
                replicas=2, selector=chosen("db"), template=template("db"), volumeClaimTemplates=[claim]
            ),
        ),
        api.ResourceQuota(metadata=meta("most"), spec=api.ResourceQuotaSpec(hard={"pods": "50"})),
        api.ReplicaSet(
            metadata=meta("gone"),
            spec=api.ReplicaSetSpec(replicas=1, selector=chosen("gone"), template=template("gone")),
        ),
        api.ReplicationController(
            metadata=meta("old"),
            spec=api.ReplicationControllerSpec(replicas=2, selector={"app": "old"}, template=template("old")),
        ),
        api.Job(
            metadata=meta("work"),
            spec=api.JobSpec(completions=3, parallelism=2, completionMode="Indexed", template=runs),
        ),
        api.CronJob(
            metadata=meta("yearly"),
            spec=api.CronJobSpec(
                schedule="0 0 1 1 *", jobTemplate=api.JobTemplateSpec(spec=api.JobSpec(template=runs))
            ),
        ),
        api.Service(metadata=meta("web"), spec=api.ServiceSpec(selector={"app": "web"}, ports=[port])),
        api.PodDisruptionBudget(
            metadata=meta("web"), spec=api.PodDisruptionBudgetSpec(minAvailable=2, selector=chosen("web"))
        ),
        api.HorizontalPodAutoscaler(
            metadata=meta("web"),
            spec=api.HorizontalPodAutoscalerSpec(
                maxReplicas=5,
                minReplicas=3,
                scaleTargetRef=api.CrossVersionObjectReference(
                    apiVersion="apps/v1", kind="Deployment", name="web"
                ),
            ),
        ),
        api.CertificateSigningRequest(
            metadata=api.ObjectMeta(name="of-a-kubelet"),
            spec=api.CertificateSigningRequestSpec(
                request=kubelet_request(),
                signerName="kubernetes.io/kube-apiserver-client-kubelet",
                usages=["digital signature", "client auth"],
            ),
        ),
    ]


def leftovers() -> list[Any]:
    """What controllers find that clear away after others: of Jobs, nodes and API servers that are gone."""
    tracked = template("lost", nodeName="node-1", serviceAccountName="lost")
    meta = {"namespace": "shop", "labels": {"app": "lost"}}
    lost = api.Pod(
        metadata=api.ObjectMeta(name="of-no-job", finalizers=[TRACKING], **meta), spec=tracked.spec
    )
    stranded = api.Pod(
        metadata=api.ObjectMeta(name="of-no-node", **meta),
        spec=template("lost", nodeName="gone", serviceAccountName="lost").spec,
    )
    marks = {PROVISIONED_BY: localpath.PROVISIONER, localpath.VOLUME_NODE: "gone"}
    volume = api.PersistentVolume(
        metadata=api.ObjectMeta(name="released", annotations=marks, finalizers=[localpath.FINALIZER]),
        spec=api.PersistentVolumeSpec(
            accessModes=["ReadWriteOnce"],
            capacity={"storage": quantity("1Mi")},
            claimRef=api.ObjectReference(
                kind="PersistentVolumeClaim", namespace="shop", name="gone", uid="gone"
            ),
            hostPath=api.HostPathVolumeSource(path="/gone"),
            persistentVolumeReclaimPolicy="Delete",
            storageClassName="local-path",
        ),
    )
    lease = api.Lease(
        metadata=api.ObjectMeta(name="apiserver-gone", namespace="kube-system", labels=OF_SERVER),
        spec=api.LeaseSpec(holderIdentity="gone", leaseDurationSeconds=10),
    )
    claim = api.ResourceClaim(metadata=api.ObjectMeta(name="devices", namespace="shop"))
    request = api.PodCertificateRequest(
        metadata=api.ObjectMeta(name="of-a-pod", namespace="shop"),
        spec=api.PodCertificateRequestSpec(
            signerName="example.com/pods",
            podName="gone",
            podUID="gone",
            serviceAccountName="lost",
            serviceAccountUID="gone",
            nodeName="gone",
            nodeUID="gone",
            maxExpirationSeconds=86_400,
            stubPKCS10Request=csr_of(x509.Name([]), serialization.Encoding.DER),
        ),
    )
    rule = api.DeviceTaintRule(
        metadata=api.ObjectMeta(name="broken"),
        spec=api.DeviceTaintRuleSpec(taint=api.DeviceTaint(key="broken", effect="NoSchedule")),
    )
    account = api.ServiceAccount(metadata=api.ObjectMeta(name="lost", namespace="shop"))
    return [account, lost, stranded, volume, lease, claim, request, rule, *particular()]


def particular() -> list[Any]:
    """Pods that concern controllers which hardly any pod concerns."""

    def pod(name: str, finalizers: tuple[str, ...] = (), **spec: Any) -> api.Pod:
        meta = api.ObjectMeta(name=name, namespace="shop", finalizers=[*finalizers])
        return api.Pod(metadata=meta, spec=template(name, serviceAccountName="lost", **spec).spec)

    scratch = api.PersistentVolumeClaimTemplate(
        spec=api.PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"],
            resources=api.VolumeResourceRequirements(requests={"storage": "1Mi"}),
        )
    )
    volume = api.Volume(name="scratch", ephemeral=api.EphemeralVolumeSource(volumeClaimTemplate=scratch))
    asked = api.PodResourceClaim(name="devices", resourceClaimTemplateName="none")
    everything = api.Toleration(operator="Exists")
    gate = api.PodSchedulingGate(name="example.com/wait")
    return [
        api.ResourceClaimTemplate(metadata=api.ObjectMeta(name="none", namespace="shop")),
        pod("with-scratch", volumes=[volume]),
        pod("with-devices", resourceClaims=[asked]),
        pod("on-tainted", nodeName=TAINTED, tolerations=[everything]),
        pod("announced"),
        pod("unplaced", (HELD,), schedulingGates=[gate]),
    ]


def happen(cluster: Cluster) -> None:
    """What befalls objects once they are there."""
    client = cluster.client
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    client.patch(
        api.Pod,
        "announced",
        "shop",
        {"status": {"conditions": [condition]}},
        patch_type=STRATEGIC,
        subresource="status",
    )
    client.delete(api.Pod, "unplaced", "shop")
    cluster.advance(1)
    client.patch(api.Pod, "unplaced", "shop", {"metadata": {"finalizers": None}}, patch_type=MERGE)
    client.delete(api.ReplicaSet, "gone", "shop")


def begun() -> Cluster:
    """The cluster of the world, without its controllers: three nodes, one of them for who tolerates that."""
    return Cluster(nodes=3, controllers=False)


def taint(cluster: Cluster) -> None:
    taints = [{"key": "example.com/off", "effect": "NoExecute"}]
    cluster.client.patch(api.Node, TAINTED, "", {"spec": {"taints": taints}}, patch_type=MERGE)


def kubelet_request() -> bytes:
    names = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, "system:node:one"),
    ]
    return csr_of(x509.Name(names), serialization.Encoding.PEM)


def csr_of(subject: x509.Name, encoding: serialization.Encoding) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(encoding)


def run_world(cut: int | None) -> tuple[Counter[tuple[str, ...]], int]:
    """The shape of the world in the end, and how many writes the controllers made until then."""
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        cluster.call(world.start(cut))
        for obj in objects():
            cluster.client.create(obj)
            if obj.kind == "Namespace" or isinstance(obj, api.Namespace):
                cluster.advance(1)
        cluster.advance(1)
        happen(cluster)
        if cut is not None:
            cluster.advance(10)
            cluster.call(world.stop())
            cluster.call(world.start())
        world.converge()
        if cut is None:
            assert_nothing_more(world)
        shape, writes = world.shape(), world.transport.writes
        cluster.call(world.stop())
        return shape, writes


def run_dying(lives: int) -> tuple[Counter[tuple[str, ...]], int]:
    """The shape of the world that managers who end after so many writes bring about, and their number."""
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        cluster.call(world.start(lives))
        made = objects()
        cluster.client.create(made.pop(0))  # the namespace, whose account the pods of the others need
        count = world.converge_dying(lives)
        for obj in made:
            cluster.client.create(obj)
        count += world.converge_dying(lives)
        happen(cluster)
        count += world.converge_dying(lives)
        shape = world.shape()
        cluster.call(world.stop())
        return shape, count


def assert_nothing_more(world: World) -> None:
    """Every controller, for every key that it ever looked at, has nothing to do."""

    async def plans() -> dict[str, Any]:
        left = {}
        for name, running in world.manager.controllers.items():
            for key in list(world.keys[name]):
                plan = await running._decide(key)
                effects = [e for e in plan.effects if not isinstance(e, Emit)] if plan is not None else []
                if effects:
                    left[f"{name} {key}"] = effects
        return left

    assert world.cluster.call(plans()) == {}
    idle = {name for name, keys in world.keys.items() if not keys}
    assert idle == set(), f"{idle} have nothing to look at here: add it to the world"


@pytest.fixture(scope="module")
def whole() -> tuple[Counter[tuple[str, ...]], int]:
    return run_world(None)


def test_nothing_is_planned_for_a_world_that_is_as_it_should_be(
    whole: tuple[Counter[tuple[str, ...]], int],
) -> None:
    shape, writes = whole
    assert shape["Pod", "shop", "ReplicaSet", "Running", "[]"] == 3
    assert shape["Pod", "shop", "Job", "Succeeded", "[]"] == 3
    assert writes > CUTS


@pytest.mark.parametrize("part", range(CUTS))
def test_a_manager_that_ends_anywhere_is_followed_by_one_that_finishes(
    part: int, whole: tuple[Counter[tuple[str, ...]], int]
) -> None:
    shape, writes = whole
    cut = part * writes // CUTS + part % 3
    assert run_world(cut)[0] == shape, f"cut off after {cut} of {writes} writes"


@pytest.mark.timeout(400)  # a manager for each write
@pytest.mark.parametrize("lives", [1, 3])
def test_managers_that_each_end_after_few_writes_finish_together(
    lives: int, whole: tuple[Counter[tuple[str, ...]], int]
) -> None:
    shape, writes = whole
    found, count = run_dying(lives)
    assert found == shape
    assert count > writes / lives / 2


@pytest.mark.timeout(400)
def test_a_rollout_goes_on_though_every_write_is_the_last_of_its_manager() -> None:
    """Deployment, DaemonSet and StatefulSet, with a process that ends between any two writes of theirs."""
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        cluster.call(world.start())
        wanted = {"web": (api.Deployment, 3), "every": (api.DaemonSet, 2), "db": (api.StatefulSet, 2)}
        for obj in objects():
            if isinstance(obj, (api.Namespace, api.StorageClass)) or obj.metadata.name in wanted:
                cluster.client.create(obj)
                cluster.advance(1)
        world.converge()
        before = {pod.metadata.uid for pod in cluster.client.list(api.Pod, "shop")}
        assert len(before) == 7
        cluster.call(world.stop())
        cluster.call(world.start(1))
        image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
        for name, (kind, _) in wanted.items():
            cluster.client.patch(kind, name, "shop", image, patch_type=STRATEGIC)
        assert world.converge_dying(1) > 20
        pods = cluster.client.list(api.Pod, "shop")
        assert Counter(pod.metadata.labels["app"] for pod in pods) == {n: c for n, (_, c) in wanted.items()}
        assert {pod.spec.containers[0].image for pod in pods} == {"web:2"}
        assert before.isdisjoint(pod.metadata.uid for pod in pods)
        assert {pod.status.phase for pod in pods} == {"Running"}
        sets = cluster.client.list(api.ReplicaSet, "shop")
        assert sorted(one.spec.replicas or 0 for one in sets) == [0, 3]
        cluster.call(world.stop())
