"""A course of events in which every controller of the catalog has something to do, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import yaml

from sampan.client.client import MERGE, STRATEGIC
from sampan.schema import api, codec
from sampan.testing import Cluster
from tests.cluster.world import TAINTED, happen, objects

HOUR_S: Final = 3700.0
SILENT: Final = "silent"

# For controllers that the first objects leave idle.
FURTHER: Final = """
{apiVersion: v1, kind: Node, metadata: {name: silent}}
---
{apiVersion: v1, kind: Pod, metadata: {name: stranded, namespace: shop},
 spec: {nodeName: silent, serviceAccountName: lost, containers: [{name: c, image: "web:1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: intolerant, namespace: shop},
 spec: {nodeName: node-3, serviceAccountName: lost, containers: [{name: c, image: "web:1"}]}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token,
 metadata: {name: key, namespace: shop, annotations: {kubernetes.io/service-account.name: lost}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: part, labels: {into: whole}},
 rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: whole}, rules: [],
 aggregationRule: {clusterRoleSelectors: [{matchLabels: {into: whole}}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: outside, namespace: shop}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: outside, namespace: shop},
 subsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 80}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: front, namespace: shop},
 spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: gold},
 driverName: disks.example.com, parameters: {tier: gold}}
---
{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk},
 spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}, storageClassName: "",
        csi: {driver: disks.example.com, volumeHandle: disk}}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: disk, namespace: shop},
 spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: disk,
        resources: {requests: {storage: 1Mi}}}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: spare, namespace: shop},
 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: with-disk, namespace: shop},
 spec: {nodeName: node-1, serviceAccountName: lost, containers: [{name: c, image: "web:1"}],
        volumes: [{name: disk, persistentVolumeClaim: {claimName: disk}}]}}
---
{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: gpu},
 spec: {selectors: [{cel: {expression: "device.driver == 'gpu.example.com'"}}]}}
---
{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: node-1},
 spec: {driver: gpu.example.com, nodeName: node-1, pool: {name: node-1, generation: 1, resourceSliceCount: 1},
        devices: [{name: gpu-0}]}}
---
{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: gpu, namespace: shop},
 spec: {devices: {requests: [{name: one, exactly: {deviceClassName: gpu}}]}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: with-gpu, namespace: shop},
 spec: {serviceAccountName: lost, resourceClaims: [{name: gpu, resourceClaimName: gpu}],
        containers: [{name: c, image: "web:1", resources: {claims: [{name: gpu}]}}]}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: hourly, namespace: shop},
 spec: {schedule: "0 * * * *", successfulJobsHistoryLimit: 1, jobTemplate: {spec: {template: {
        metadata: {annotations: {sampan.dev/simulate: '{"run_s": 2}'}},
        spec: {restartPolicy: Never, containers: [{name: c, image: "web:1"}]}}}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: brief, namespace: shop},
 spec: {ttlSecondsAfterFinished: 30, template: {
        metadata: {annotations: {sampan.dev/simulate: '{"run_s": 2}'}},
        spec: {restartPolicy: Never, containers: [{name: c, image: "web:1"}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: broken, namespace: shop},
 spec: {completions: 1, backoffLimit: 1, template: {
        metadata: {annotations: {sampan.dev/simulate: '{"run_s": 2, "exit_code": 1}'}},
        spec: {restartPolicy: Never, containers: [{name: c, image: "web:1"}]}}}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: left, namespace: shop},
 spec: {replicas: 1, selector: {matchLabels: {app: left}}, template: {metadata: {labels: {app: left}},
        spec: {containers: [{name: c, image: "web:1"}]}}}}
"""
RULE: Final = """
{apiVersion: resource.k8s.io/v1, kind: DeviceTaintRule, metadata: {name: broken-gpu},
 spec: {deviceSelector: {device: gpu-0}, taint: {key: broken, effect: NoExecute}}}
---
{apiVersion: v1, kind: ResourceQuota, metadata: {name: late, namespace: shop}, spec: {hard: {pods: "90"}}}
---
{apiVersion: networking.k8s.io/v1, kind: IPAddress,
 metadata: {name: "10.96.0.77", labels: {ipaddress.kubernetes.io/ip-family: IPv4,
            ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io}},
 spec: {parentRef: {resource: services, namespace: shop, name: nobody}}}
"""


def read(text: str) -> list[Any]:
    return [codec.from_builtins(each, getattr(api, each["kind"])) for each in yaml.safe_load_all(text)]


def begin(cluster: Cluster) -> None:
    """Everything is made; the namespace first, whose account the pods need."""
    first, *others = objects()
    cluster.client.create(first)
    cluster.advance(1)
    for obj in [*others, *read(FURTHER)]:
        if isinstance(obj, api.DaemonSet):
            # The node that never says a word must not hold up the rollout.
            update = api.RollingUpdateDaemonSet(maxUnavailable=2)
            obj.spec.updateStrategy = api.DaemonSetUpdateStrategy(type="RollingUpdate", rollingUpdate=update)
        cluster.client.create(obj)


def befall(cluster: Cluster) -> None:
    """The first things that happen to what is there: owners go in every way, and somebody attaches a disk."""
    client = cluster.client
    happen(cluster)
    client.delete(api.ReplicationController, "old", "shop", propagation="Foreground")
    client.delete(api.ReplicaSet, "left", "shop", propagation="Orphan")
    client.delete(api.PersistentVolumeClaim, "spare", "shop")
    client.delete(api.VolumeAttributesClass, "gold")
    attached = client.list(api.VolumeAttachment)
    for one in attached:
        status = {"status": {"attached": True}}
        client.patch(api.VolumeAttachment, one.metadata.name, "", status, subresource="status")
    client.patch(
        api.PersistentVolumeClaim,
        "data-db-0",
        "shop",
        {"spec": {"resources": {"requests": {"storage": "2Mi"}}}},
        patch_type=MERGE,
    )
    for obj in read(RULE):
        client.create(obj)
    web = client.get(api.Service, "web", "shop")
    client.delete(api.IPAddress, str(web.spec.clusterIP))


def roll(cluster: Cluster) -> None:
    """New templates for all who roll out, and fewer replicas."""
    image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
    for kind, name in ((api.Deployment, "web"), (api.DaemonSet, "every"), (api.StatefulSet, "db")):
        cluster.client.patch(kind, name, "shop", image, patch_type=STRATEGIC)


def shrink(cluster: Cluster) -> None:
    """Fewer replicas; the autoscaler, which would want more, goes."""
    client = cluster.client
    client.delete(api.HorizontalPodAutoscaler, "web", "shop")
    for kind, name in ((api.Deployment, "web"), (api.StatefulSet, "db")):
        client.patch(kind, name, "shop", {"spec": {"replicas": 1}}, patch_type=MERGE)
    client.delete(api.Service, "front", "shop")
    client.delete(api.Endpoints, "outside", "shop")
    client.delete(api.Pod, "with-disk", "shop")


def wait(cluster: Cluster) -> None:
    """An hour passes: requests grow old, a schedule's time comes, the silent node goes."""
    cluster.advance(HOUR_S)
    cluster.client.patch(api.CronJob, "hourly", "shop", {"spec": {"suspend": True}}, patch_type=MERGE)
    cluster.client.delete(api.Node, SILENT)
    untaint = {"spec": {"taints": None}}
    cluster.client.patch(api.Node, TAINTED, "", untaint, patch_type=MERGE)


def end(cluster: Cluster) -> None:
    """The namespace goes, with all that is in it."""
    cluster.client.delete(api.Namespace, "shop")


STEPS: Final[tuple[Callable[[Cluster], None], ...]] = (begin, befall, roll, shrink, wait, end)
