"""A world that has something for controllers of every kind, and a manager in it that can be exchanged."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Hashable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec
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
from sampan.cluster import addons, pki
from sampan.controllers.catalog import Settings, controllers
from sampan.controllers.certificates.issuing import Authority
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
FINISHED_MOST = 5
# Longer than what any controller here waits before it looks at something, over three steps.
STEP_S = 20
STEPS_MOST = 60
LIVES_MOST = 400
COMPARED = (
    api.Pod, api.ReplicaSet, api.Job, api.Deployment, api.DaemonSet, api.StatefulSet, api.PodDisruptionBudget,
    api.ReplicationController, api.ControllerRevision, api.PersistentVolumeClaim, api.PersistentVolume,
    api.EndpointSlice, api.Endpoints, api.ServiceAccount, api.ConfigMap,
)  # fmt: skip


# Which controller a request comes from: set by what its worker calls first, inherited by what that starts.
WHO: ContextVar[str] = ContextVar("WHO", default="")
# The writes of a run: who made how many by which method to which path.
Writes = Counter[tuple[str, str, str]]


COMPARED_STATUS = (
    "phase", "replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "succeeded", "failed",
    "ready",
    "completedIndexes", "desiredNumberScheduled", "numberReady", "numberMisscheduled", "expectedPods",
    "currentHealthy", "desiredHealthy", "disruptionsAllowed",
)  # fmt: skip


class Watched:
    """A transport that counts the writes of controllers; events and reviews are not among them."""

    def __init__(self, cluster: Cluster) -> None:
        self._inner = DirectTransport(cluster.server, ADMIN)
        self.writes = 0
        self.each: Writes = Counter()
        self.last: deque[str] = deque(maxlen=20)

    async def request(self, method: str, path: str, *args: Any, **kwargs: Any) -> Reply:
        if method == "GET" or any(word in path for word in UNCOUNTED):
            return await self._inner.request(method, path, *args, **kwargs)
        self.begin()
        self.writes += 1
        self.last.append(f"{WHO.get()}: {method} {path}")
        key = WHO.get(), method, path
        self.each[key] += 1
        return await self.carry(key, *args, **kwargs)

    def begin(self) -> None:
        """Called before a write counts."""

    async def carry(self, key: tuple[str, str, str], *args: Any, **kwargs: Any) -> Reply:
        """The write itself."""
        return await self._inner.request(*key[1:], *args, **kwargs)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        return self._inner.stream(path, query)

    async def close(self) -> None:
        return None


class Mortal(Watched):
    """The transport of a process that ends after so many writes."""

    def __init__(self, cluster: Cluster, lives: int | None) -> None:
        super().__init__(cluster)
        self._lives = lives

    def begin(self) -> None:
        if self._lives is not None and self.writes >= self._lives:
            raise ConnectionError("the process has ended")


@functools.cache
def whole_catalog() -> Settings:
    """The catalog with nothing left out, and few finished pods to keep."""
    made = pki.make_authority("sampan", datetime.now(UTC))
    pem = made.certificate.decode()
    return Settings(
        ca_bundle=pem,
        trust_bundle=pem,
        authority=Authority(made.certificate, made.key),
        token_key=pki.make_signing_key().key,
        node_ranges=Ranges(("10.50.0.0/16",)),
        finished_pods_most=FINISHED_MOST,
    )


class World:
    """A cluster with a manager that can be exchanged."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.keys: dict[str, set[Hashable]] = defaultdict(set)
        self.task: asyncio.Task[None] | None = None

    def catalog(self) -> list[Controller]:
        return [self._recording(one) for one in controllers(whole_catalog())]

    def _recording(self, controller: Controller) -> Controller:
        gather, keys = controller.gather, self.keys[controller.name]

        def recorded(caches: Any, key: Any) -> Any:
            keys.add(key)
            WHO.set(controller.name)
            return gather(caches, key)

        return msgspec.structs.replace(controller, gather=recorded)

    async def start(self, lives: int | None = None, transport: Watched | None = None) -> None:
        self.transport = transport or Mortal(self.cluster, lives)
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
                marks = str(sorted(meta.finalizers))
                found[resource_of(kind).kind, meta.namespace or "", owner, _told(obj), marks] += 1
        return found

    def assert_nothing_more(self) -> None:
        """Every controller, for every key that it ever looked at, has nothing to do."""

        async def plans() -> dict[str, Any]:
            left = {}
            for name, running in self.manager.controllers.items():
                for key in list(self.keys[name]):
                    plan = await running._decide(key)
                    effects = [e for e in plan.effects if not isinstance(e, Emit)] if plan is not None else []
                    if effects:
                        left[f"{name} {key}"] = effects
            return left

        assert self.cluster.call(plans()) == {}


def _told(obj: Any) -> str:
    """What the status says in phases and numbers, without times, names and revisions."""
    status = getattr(obj, "status", None)
    said = {name: getattr(status, name, None) for name in COMPARED_STATUS}
    return str({name: value for name, value in said.items() if value})


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
