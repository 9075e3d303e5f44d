"""Admission that users configure, as kubectl's user meets it: against a live server, over HTTPS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.testing.cluster import Cluster
from tests.api.webhooks import Hooks, hooks, json_patch
from tests.kubectl import Kubectl

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  variables:
  - {name: most, expression: "int(namespaceObject.metadata.?labels[?'most'].orValue('5'))"}
  validations:
  - expression: object.spec.replicas <= variables.most
    messageExpression: "'at most ' + string(variables.most) + ' replicas here'"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas}
spec: {policyName: few-replicas, validationActions: [Deny]}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=0, controllers=False) as started:
        yield started


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Kubectl:
    made = Kubectl(cluster.kubeconfig)
    made.environment["HOME"] = str(tmp_path)
    return made


@pytest.fixture
def server() -> Iterator[Hooks]:
    """A webhook server in a thread of its own, as kubectl blocks the test's."""
    loop = asyncio.new_event_loop()
    started, over = threading.Event(), asyncio.Event()
    found: list[Hooks] = []

    async def serve() -> None:
        async with hooks() as made:
            found.append(made)
            started.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
    loop.close()


def test_a_policy_refuses_a_deployment(kubectl: Kubectl) -> None:
    assert "validatingadmissionpolicy.admissionregistration.k8s.io/few-replicas created" in kubectl(
        "apply", "-f", "-", stdin=POLICY
    )
    assert "few-replicas" in kubectl("get", "validatingadmissionpolicies")
    refused = kubectl.run("create", "deployment", "web", "--image=web:1", "--replicas=6")
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        'error: failed to create deployment: deployments.apps "web" is forbidden: '
        "ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas' denied request: "
        "at most 5 replicas here"
    )
    kubectl("label", "namespace", "default", "most=6")
    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=6")
    kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "few-replicas")
    kubectl("create", "deployment", "many", "--image=web:1", "--replicas=60")


def test_webhooks_change_refuse_and_warn(kubectl: Kubectl, server: Hooks) -> None:
    server.review(
        "/label", lambda _: json_patch({"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}})
    )

    def judge(request: dict[str, Any]) -> dict[str, Any]:
        if "password" in (request["object"].get("data") or {}):
            return {"allowed": False, "status": {"message": "passwords belong into secrets", "code": 403}}
        return {"allowed": True, "warnings": ["this is looked at"]}

    server.review("/judge", judge)
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    ]
    for kind, path in (
        ("MutatingWebhookConfiguration", "/label"),
        ("ValidatingWebhookConfiguration", "/judge"),
    ):
        one = {
            "name": f"{path[1:]}.example.com",
            "clientConfig": server.config(path),
            "rules": rules,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        document = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "tests"},
            "webhooks": [one],
        }
        kubectl("apply", "-f", "-", stdin=msgspec.json.encode(document).decode())
    made = kubectl.run("create", "configmap", "plain", "--from-literal=a=b")
    assert made.returncode == 0, made.stderr
    assert "Warning: this is looked at" in made.stderr
    assert kubectl("get", "configmap", "-l", "seen=yes", "-o", "name").split() == ["configmap/plain"]
    refused = kubectl.run("create", "configmap", "bad", "--from-literal=password=x")
    assert refused.returncode == 1
    assert (
        'admission webhook "judge.example.com" denied the request: passwords belong into secrets'
        in refused.stderr
    )
    dry = kubectl("create", "configmap", "dry", "--from-literal=a=b", "--dry-run=server", "-o", "name")
    assert dry.strip() == "configmap/dry"
    assert server.seen["/judge"][-1]["dryRun"] is True
