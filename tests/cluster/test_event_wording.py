"""Events of controllers, word for word as kube-controller-manager 1.37.2 recorded them."""

from __future__ import annotations

from typing import Any

import yaml

from sampan.schema import api, codec
from sampan.testing import Cluster

OBJECTS = """
{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: rs},
 spec: {replicas: 2, selector: {matchLabels: {a: rs}}, template: {metadata: {labels: {a: rs}}, spec: NOBODY}}}
---
{apiVersion: v1, kind: ReplicationController, metadata: {name: rc},
 spec: {replicas: 2, selector: {a: rc}, template: {metadata: {labels: {a: rc}}, spec: NOBODY}}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: ds},
 spec: {selector: {matchLabels: {a: ds}}, template: {metadata: {labels: {a: ds}}, spec: NOBODY}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: sts},
 spec: {replicas: 2, serviceName: s, podManagementPolicy: Parallel, selector: {matchLabels: {a: sts}},
        template: {metadata: {labels: {a: sts}}, spec: NOBODY}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: stsc},
 spec: {replicas: 2, serviceName: s, podManagementPolicy: Parallel, selector: {matchLabels: {a: stsc}},
        template: {metadata: {labels: {a: stsc}}, spec: RUNS}, volumeClaimTemplates: [{metadata: {name: d},
       spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Mi}}}}]}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: job},
 spec: {completions: 2, parallelism: 2, template: {spec: NOBODY_ONCE}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: susp}, spec: {suspend: true, template: {spec: ONCE}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: short},
 spec: {activeDeadlineSeconds: 2, template: {spec: ONCE}}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: nobody},
 spec: {minAvailable: 1, selector: {matchLabels: {a: none}}}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: lost},
 spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: gone}}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: noclass},
 spec: {storageClassName: "", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}
"""
RUNS: dict[str, Any] = {"containers": [{"name": "c", "image": "x"}]}
SPECS: dict[str, dict[str, Any]] = {
    "RUNS": RUNS,
    "NOBODY": RUNS | {"serviceAccountName": "nobody"},
    "ONCE": RUNS | {"restartPolicy": "Never"},
    "NOBODY_ONCE": RUNS | {"restartPolicy": "Never", "serviceAccountName": "nobody"},
}
NOBODY = 'is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found'
SPENT = (
    'persistentvolumeclaims "d-stsc-1" is forbidden: exceeded quota: few, '
    "requested: persistentvolumeclaims=1, used: persistentvolumeclaims=2, limited: persistentvolumeclaims=2"
)
# Who says it, of which object, the reason and the message.
WANTED = {
    ("replicaset-controller", "rs", "FailedCreate", f'Error creating: pods "rs-" {NOBODY}'),
    ("replication-controller", "rc", "FailedCreate", f'Error creating: pods "rc-" {NOBODY}'),
    ("daemonset-controller", "ds", "FailedCreate", f'Error creating: pods "ds-" {NOBODY}'),
    (
        "statefulset-controller",
        "sts",
        "FailedCreate",
        f'Create Pod sts-0 in StatefulSet sts failed error: pods "sts-0" {NOBODY}',
    ),
    (
        "statefulset-controller",
        "stsc",
        "SuccessfulCreate",
        "Create Claim d-stsc-0 Pod stsc-0 in StatefulSet stsc success",
    ),
    (
        "statefulset-controller",
        "stsc",
        "SuccessfulCreate",
        "Create Pod stsc-0 in StatefulSet stsc successful",
    ),
    (
        "statefulset-controller",
        "stsc",
        "FailedCreate",
        f"Create Claim d-stsc-1 for Pod stsc-1 in StatefulSet stsc failed error: {SPENT}",
    ),
    (
        "statefulset-controller",
        "stsc",
        "FailedCreate",
        f"Create Pod stsc-1 in StatefulSet stsc failed error: failed to create PVC d-stsc-1: {SPENT}",
    ),
    ("job-controller", "job", "FailedCreate", f'Error creating: pods "job-" {NOBODY}'),
    ("job-controller", "susp", "Suspended", "Job suspended"),
    ("job-controller", "short", "DeadlineExceeded", "Job was active longer than specified deadline"),
    ("controllermanager", "nobody", "NoPods", "No matching pods found"),
    ("horizontal-pod-autoscaler", "lost", "FailedGetScale", 'deployments.apps "gone" not found'),
    ("node-controller", "n1", "RegisteredNode", "Node n1 event: Registered Node n1 in Controller"),
    ("node-controller", "n1", "NodeNotReady", "Node n1 status is now: NodeNotReady"),
    (
        "persistentvolume-controller",
        "noclass",
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
    ),
}


def read() -> list[Any]:
    made = []
    for each in yaml.safe_load_all(OBJECTS):
        if each["kind"] != "Node":
            each["metadata"]["namespace"] = "default"
        template = each.get("spec", {}).get("template")
        if template is not None:
            template["spec"] = SPECS[template["spec"]]
        name = each["kind"] + ("V2" if each["apiVersion"] == "autoscaling/v2" else "")
        made.append(codec.from_builtins(each, getattr(api, name)))
    return made


def test_events_are_worded_as_in_kubernetes() -> None:
    with Cluster(nodes=0) as cluster:
        hard = {"persistentvolumeclaims": "2"}
        quota = {"metadata": {"name": "few", "namespace": "default"}, "spec": {"hard": hard}}
        cluster.client.create(codec.from_builtins(quota, api.ResourceQuota))
        cluster.wait_until(lambda: bool(cluster.client.get(api.ResourceQuota, "few", "default").status.hard))
        objects = read()
        for obj in (objects.pop(), *objects):  # the claim first: the quota has room for one more
            cluster.client.create(obj)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        cluster.client.patch(api.Node, "n1", "", ready, subresource="status")
        cluster.advance(90)
        cluster.settle()
        found = {
            (one.source.component, one.involvedObject.name, one.reason, one.message)
            for one in cluster.client.list(api.Event, "")
        }
        assert WANTED - found == set()
        # What is refused again and again is one event with a count.
        refused = [one for one in cluster.client.list(api.Event, "") if one.involvedObject.name == "rs"]
        (event,) = [one for one in refused if one.reason == "FailedCreate"]
        assert event.count > 5
