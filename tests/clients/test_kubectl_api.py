"""The real kubectl against the API server: every command that people use, against simulated nodes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.schema import api
from sampan.testing.cluster import Cluster
from tests.api.server import certificate_request
from tests.kubectl import Kubectl, binaries, newest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "web:1", ports: [{containerPort: 80}]}
"""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=2, simulated_clock=False) as started:
        yield started


@pytest.fixture(scope="module", params=["oldest", "newest"])
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: Any) -> Kubectl:
    """kubectl in the oldest and the newest version that the machine has, with a home of its own."""
    newest()  # skips where there is none
    versions = sorted(binaries(), key=lambda version: int(version.split(".")[1]))
    chosen = versions[0] if request.param == "oldest" else versions[-1]
    made = Kubectl(cluster.kubeconfig, binaries()[chosen])
    made.environment["HOME"] = str(tmp_path_factory.mktemp("home"))
    return made


@pytest.fixture
def space(kubectl: Kubectl, cluster: Cluster) -> Iterator[list[str]]:
    """A namespace of the test's own, as the arguments that name it."""
    name = f"space-{next(_numbers)}"
    kubectl("create", "namespace", name)
    cluster.wait_until(lambda: bool(cluster.client.list(api.ServiceAccount, name)))
    yield ["-n", name]
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def web(kubectl: Kubectl, space: list[str]) -> list[str]:
    """The same, with a deployment of two running pods."""
    kubectl("apply", "-f", "-", *space, stdin=DEPLOYMENT)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s", *space)
    return space


@pytest.mark.conformance(
    "Kubectl client Kubectl api-versions should check if v1 is in available api versions "
)
def test_what_there_is(kubectl: Kubectl) -> None:
    listed = kubectl("api-resources")
    for line in ("deployments", "horizontalpodautoscalers", "networkpolicies", "events.k8s.io/v1"):
        assert line in listed
    names = kubectl("api-resources", "--namespaced=false", "--verbs=list", "-o", "name").split()
    assert {"nodes", "namespaces", "persistentvolumes", "clusterroles.rbac.authorization.k8s.io"} <= set(
        names
    )
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1"} <= set(versions)


@pytest.mark.conformance(
    "Kubectl client Kubectl cluster-info should check if Kubernetes control plane "
    "services is included in cluster-info"
)
@pytest.mark.conformance("Kubectl client Kubectl version should check is all data is printed")
def test_version_and_cluster_info(kubectl: Kubectl) -> None:
    assert kubectl.json("version")["serverVersion"]["gitVersion"].startswith("v1.")
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert kubectl("get", "componentstatuses") is not None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("deployment.spec.strategy", ["FIELD: strategy <DeploymentStrategy>", "rollingUpdate"]),
        ("pod.spec.containers.livenessProbe.httpGet", ["FIELD: httpGet <HTTPGetAction>", "-required-"]),
        ("hpa", ["KIND:       HorizontalPodAutoscaler", "VERSION:    v2"]),
        ("node.status", ["FIELD: status <NodeStatus>"]),
    ],
)
def test_explain(kubectl: Kubectl, path: str, words: list[str]) -> None:
    told = kubectl("explain", path)
    for word in words:
        assert word in told
    assert "containers\t<[]Container>" in kubectl("explain", "pod", "--recursive")


CREATES = [
    ("clusterrole test-{n} --verb=get --resource=pods", "clusterrole/test-{n}"),
    ("clusterrolebinding test-{n} --clusterrole=view --user=jane", "clusterrolebinding/test-{n}"),
    ("configmap test --from-literal=a=b", "configmap/test"),
    ("cronjob test --image=busybox --schedule=@hourly", "cronjob/test"),
    ("deployment test --image=web:1 --replicas=1 --port=80", "deployment/test"),
    ("ingress test --rule=example.com/*=web:80", "ingress/test"),
    ("job test --image=busybox -- true", "job/test"),
    ("poddisruptionbudget test --selector=app=web --min-available=1", "pdb/test"),
    ("priorityclass test-{n} --value=5", "priorityclass/test-{n}"),
    ("quota test --hard=pods=5", "quota/test"),
    ("role test --verb=get --resource=pods", "role/test"),
    ("rolebinding test --role=test --serviceaccount=default:default", "rolebinding/test"),
    ("secret generic test --from-literal=a=b", "secret/test"),
    ("secret docker-registry pull --docker-username=u --docker-password=p", "secret/pull"),
    ("service clusterip plain --tcp=80:8080", "service/plain"),
    ("service nodeport open --tcp=80:8080", "service/open"),
    ("service loadbalancer wide --tcp=80:8080", "service/wide"),
    ("service externalname away --external-name=example.com", "service/away"),
    ("serviceaccount test", "serviceaccount/test"),
]


@pytest.fixture(scope="module")
def shared(kubectl: Kubectl) -> list[str]:
    """A namespace for what does not get into each other's way."""
    name = f"shared-{next(_numbers)}"
    kubectl("create", "namespace", name)
    return ["-n", name]


@pytest.mark.parametrize(("arguments", "made"), CREATES, ids=[made for _, made in CREATES])
def test_create(kubectl: Kubectl, shared: list[str], arguments: str, made: str) -> None:
    number = str(next(_numbers))
    words = arguments.format(n=number).split()
    at = words.index("--") if "--" in words else len(words)
    command = ["create", *words[:at], *shared, *words[at:]]
    assert kubectl(*command).rstrip().endswith("created")
    kubectl("get", made.format(n=number), *shared)
    assert "already exists" in kubectl.run(*command).stderr


@pytest.mark.conformance(
    "Kubectl client Kubectl run pod should create a pod from an image when restart is Never"
)
def test_create_token_and_run(kubectl: Kubectl, space: list[str]) -> None:
    token = kubectl("create", "token", "default", "--duration=20m", *space).strip()
    assert token.count(".") == 2
    kubectl("run", "one", "--image=busybox", "--restart=Never", "--labels=a=b", *space)
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=20s", *space)
    kubectl("expose", "pod", "one", "--port=80", *space)
    assert kubectl.json("get", "service", "one", *space)["spec"]["selector"] == {"a": "b"}


def test_validation_of_what_is_applied(kubectl: Kubectl, space: list[str]) -> None:
    wrong = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  colour: red")
    refused = kubectl.run("apply", "-f", "-", *space, stdin=wrong)
    assert 'unknown field "spec.colour"' in refused.stderr
    warned = kubectl.run("apply", "--validate=warn", "-f", "-", *space, stdin=wrong)
    assert (warned.returncode, 'unknown field "spec.colour"' in warned.stderr) == (0, True)


@pytest.mark.conformance(
    "Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments"
)
def test_apply_diff_and_apply_again(kubectl: Kubectl, web: list[str]) -> None:
    assert kubectl("apply", "-f", "-", *web, stdin=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    diff = kubectl.run("diff", "-f", "-", *web, stdin=changed)
    assert (diff.returncode, "+  replicas: 3" in diff.stdout) == (1, True)
    assert kubectl.run("diff", "-f", "-", *web, stdin=DEPLOYMENT).returncode == 0
    assert "configured" in kubectl("apply", "-f", "-", *web, stdin=changed)
    dry = kubectl("apply", "--dry-run=server", "-f", "-", *web, stdin=DEPLOYMENT)
    assert "(server dry run)" in dry
    assert kubectl.json("get", "deployment", "web", *web)["spec"]["replicas"] == 3


def test_server_side_apply(kubectl: Kubectl, space: list[str]) -> None:
    apply = ["apply", "--server-side", "-f", "-", *space]
    assert "serverside-applied" in kubectl(*apply, stdin=DEPLOYMENT)
    kubectl("scale", "deployment/web", "--replicas=4", *space)
    refused = kubectl.run(*apply, stdin=DEPLOYMENT)
    assert "conflict with" in refused.stderr
    assert ".spec.replicas" in refused.stderr
    kubectl(*apply, "--force-conflicts", stdin=DEPLOYMENT)
    assert kubectl.json("get", "deployment", "web", *space)["spec"]["replicas"] == 2
    shown = kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields", *space)
    assert "operation: Apply" in shown


def test_edit(kubectl: Kubectl, web: list[str], tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/replicas: 2/replicas: 3/" "$1"\n')
    editor.chmod(0o755)
    kubectl.environment["EDITOR"] = str(editor)
    assert "edited" in kubectl("edit", "deployment/web", *web)
    assert kubectl.json("get", "deployment", "web", *web)["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", '{"spec":{"replicas":3}}'),
        ("json", '[{"op":"replace","path":"/spec/replicas","value":3}]'),
        (
            "strategic",
            '{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"main","tty":true}]}}}}',
        ),
    ],
)
def test_patch(kubectl: Kubectl, space: list[str], kind: str, patch: str) -> None:
    kubectl("create", "-f", "-", *space, stdin=DEPLOYMENT)
    kubectl("patch", "deployment", "web", f"--type={kind}", "-p", patch, *space)
    spec = kubectl.json("get", "deployment", "web", *space)["spec"]
    assert spec["replicas"] == 3
    assert spec["template"]["spec"]["containers"][0]["image"] == "web:1"
    kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", "{}", *space)


def test_replace_label_annotate_and_set(kubectl: Kubectl, space: list[str]) -> None:
    kubectl("create", "-f", "-", *space, stdin=DEPLOYMENT)
    kubectl("replace", "-f", "-", *space, stdin=DEPLOYMENT.replace("web:1", "web:2"))
    kubectl("label", "deployment", "web", "tier=front", *space)
    refused = kubectl.run("label", "deployment", "web", "tier=back", *space)
    assert "--overwrite is false" in refused.stderr
    kubectl("label", "deployment", "web", "tier=back", "--overwrite", *space)
    kubectl("annotate", "deployment", "web", "why=because", *space)
    kubectl("set", "image", "deployment/web", "main=web:3", *space)
    kubectl("set", "env", "deployment/web", "A=B", *space)
    kubectl("set", "resources", "deployment/web", "--limits=cpu=200m", *space)
    kubectl("set", "serviceaccount", "deployment/web", "default", *space)
    found = kubectl.json("get", "deployment", "web", *space)
    assert found["metadata"]["labels"] == {"app": "web", "tier": "back"}
    assert found["metadata"]["annotations"]["why"] == "because"
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["env"]) == ("web:3", [{"name": "A", "value": "B"}])
    kubectl("label", "deployment", "web", "tier-", *space)
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu-percent=50", *space)
    assert "web" in kubectl("get", "hpa.v1.autoscaling", *space)
    assert kubectl.json("get", "hpa", "web", *space)["apiVersion"] == "autoscaling/v2"


def test_rollouts(kubectl: Kubectl, web: list[str]) -> None:
    kubectl("set", "image", "deployment/web", "main=web:2", *web)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=20s", *web)
    assert kubectl("rollout", "history", "deployment/web", *web).count("\n2 ") == 1
    assert "web:1" in kubectl("rollout", "history", "deployment/web", "--revision=1", *web)
    kubectl("rollout", "undo", "deployment/web", *web)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s", *web)
    shown = kubectl("get", "deployment", "web", "-o", "jsonpath={..image}", *web)
    assert shown == "web:1"
    kubectl("rollout", "pause", "deployment/web", *web)
    refused = kubectl.run("rollout", "undo", "deployment/web", *web)
    assert "paused" in refused.stderr
    kubectl("rollout", "resume", "deployment/web", *web)
    kubectl("rollout", "restart", "deployment/web", *web)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s", *web)


def test_scale_and_wait(kubectl: Kubectl, web: list[str]) -> None:
    refused = kubectl.run("scale", "deployment/web", "--current-replicas=9", "--replicas=1", *web)
    assert "Expected replicas to be 9" in refused.stderr
    kubectl("scale", "deployment/web", "--replicas=3", *web)
    wanted = "--for=jsonpath={.status.readyReplicas}=3"
    assert "condition met" in kubectl("wait", wanted, "deployment/web", "--timeout=20s", *web)
    kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=20s", *web)
    kubectl("delete", "deployment", "web", "--wait=false", *web)
    kubectl("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=30s", *web)


def test_forms_of_get(kubectl: Kubectl, web: list[str]) -> None:
    table = kubectl("get", "pods", "-o", "wide", *web).splitlines()
    assert table[0].split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "NODE" in table[0]
    assert all("1/1" in line and "Running" in line for line in table[1:])
    assert len(kubectl.json("get", "pods", *web)["items"]) == 2
    assert "kind: Deployment" in kubectl("get", "deploy", "web", "-o", "yaml", *web)
    assert kubectl("get", "deploy", "-o", "name", *web) == "deployment.apps/web\n"
    columns = "NAME:.metadata.name,IMAGE:.spec.template.spec.containers[0].image"
    shown = kubectl("get", "deploy", "-o", f"custom-columns={columns}", *web)
    assert [line.split() for line in shown.splitlines()] == [["NAME", "IMAGE"], ["web", "web:1"]]
    template = "{{range .items}}{{.metadata.name}} {{end}}"
    assert kubectl("get", "deploy", "-o", f"go-template={template}", *web) == "web "
    assert kubectl("get", "pods", "--selector=app=none", *web) == ""
    running = kubectl("get", "pods", "--field-selector=status.phase=Running", "--no-headers", *web)
    assert running.count("\n") == 2
    assert "deployment.apps/web" in kubectl("get", "all", *web)
    sorted_names = kubectl("get", "pods", "--sort-by=.metadata.name", "-o", "name", *web).split()
    assert sorted_names == sorted(sorted_names)
    assert "LABELS" in kubectl("get", "pods", "--show-labels", *web)
    paged = kubectl("get", "pods", "-A", "--chunk-size=1", "-o", "name")
    assert paged.count("pod/") >= 2
    missing = kubectl.run("get", "pod", "none", *web)
    assert missing.stderr == 'Error from server (NotFound): pods "none" not found\n'


def test_watch(kubectl: Kubectl, space: list[str]) -> None:
    watching = subprocess.Popen(
        [kubectl.binary, "get", "configmaps", "-w", "-o", "name", *space],
        stdout=subprocess.PIPE,
        text=True,
        env=kubectl.environment,
    )
    try:
        assert watching.stdout is not None
        kubectl("create", "configmap", "seen", *space)
        lines = iter(watching.stdout.readline, "")
        assert "configmap/seen\n" in lines
    finally:
        os.kill(watching.pid, signal.SIGTERM)
        watching.wait(10)
        watching.communicate()


@pytest.mark.parametrize(
    "what",
    ["deployment/web", "replicasets", "pods", "serviceaccount/default", "configmap/kube-root-ca.crt"],
)
def test_describe_in_a_namespace(kubectl: Kubectl, web: list[str], what: str) -> None:
    # From 1.37 on kubectl shows the events of several objects only if told to.
    told = kubectl("describe", what, "--show-events=true", *web)
    assert "Name:" in told
    if what == "pods":
        assert "Successfully assigned" in told


@pytest.mark.parametrize(
    "what",
    [
        "node/node-1",
        "namespace/default",
        "service/kubernetes",
        "clusterrole/view",
        "clusterrolebinding/cluster-admin",
        "priorityclass/system-node-critical",
        "lease/node-1 -n kube-node-lease",
    ],
)
def test_describe(kubectl: Kubectl, what: str) -> None:
    assert "Name:" in kubectl("describe", *what.split())


def test_events(kubectl: Kubectl, web: list[str]) -> None:
    assert "Scaled up replica set" in kubectl("events", "--for=deployment/web", *web)
    assert "SuccessfulCreate" in kubectl("get", "events", *web)


@pytest.mark.parametrize(
    ("cascade", "pods_stay"), [("background", False), ("foreground", False), ("orphan", True)]
)
def test_delete(kubectl: Kubectl, web: list[str], cascade: str, pods_stay: bool) -> None:
    kubectl("delete", "deployment", "web", f"--cascade={cascade}", "--timeout=30s", *web)
    if pods_stay:
        (left,) = kubectl.json("get", "replicasets", *web)["items"]
        assert not left["metadata"].get("ownerReferences")
        assert len(kubectl.json("get", "pods", *web)["items"]) == 2
    else:
        kubectl("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=30s", *web)


def test_delete_of_many_kinds(kubectl: Kubectl, space: list[str]) -> None:
    for name in ("a", "b", "c"):
        kubectl("create", "configmap", name, *space)
    kubectl("label", "configmap", "a", "b", "old=yes", *space)
    assert kubectl("delete", "configmaps", "-l", "old=yes", *space).count("deleted") == 2
    assert "deleted" in kubectl("delete", "configmap/c", "--dry-run=server", *space)
    kubectl("delete", "configmap", "c", *space)
    assert "NotFound" in kubectl.run("delete", "configmap", "c", *space).stderr
    kubectl("delete", "configmap", "c", "--ignore-not-found", *space)
    kubectl("run", "p", "--image=busybox", *space)
    kubectl("delete", "pod", "p", "--now", "--timeout=30s", *space)
    kubectl("run", "p", "--image=busybox", *space)
    kubectl("delete", "pod", "p", "--force", "--grace-period=0", *space)


def test_who_am_i_and_can_i(kubectl: Kubectl, space: list[str]) -> None:
    me = kubectl.json("auth", "whoami")
    assert me["status"]["userInfo"]["username"] == "kubernetes-admin"
    assert kubectl("auth", "can-i", "*", "*") == "yes\n"
    kubectl("create", "rolebinding", "v", "--clusterrole=view", "--user=vera", *space)
    vera = ["--as=vera", *space]
    assert kubectl("auth", "can-i", "list", "pods", *vera) == "yes\n"
    refused = kubectl.run("auth", "can-i", "delete", "pods", *vera)
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    assert "selfsubjectaccessreviews" in kubectl("auth", "can-i", "--list", *vera)
    forbidden = kubectl.run("create", "configmap", "x", *vera)
    assert 'User "vera" cannot create resource "configmaps"' in forbidden.stderr
    as_account = ["--as=system:serviceaccount:default:default", "--as-group=a", "--as-group=b"]
    groups = kubectl.json("auth", "whoami", *as_account)["status"]["userInfo"]["groups"]
    assert {"a", "b"} <= set(groups)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": space[1]},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=msgspec.json.encode(role).decode())


def test_taint_cordon_and_drain(kubectl: Kubectl, web: list[str]) -> None:
    kubectl("taint", "node", "node-1", "key=value:NoSchedule")
    assert kubectl.json("get", "node", "node-1")["spec"]["taints"][0]["key"] == "key"
    kubectl("taint", "node", "node-1", "key:NoSchedule-")
    assert "cordoned" in kubectl("cordon", "node-1")
    assert "SchedulingDisabled" in kubectl("get", "node", "node-1")
    try:
        kubectl("drain", "node-1", "--ignore-daemonsets", "--force", "--timeout=40s")
        left = kubectl("get", "pods", "-A", "--field-selector=spec.nodeName=node-1", "-o", "name")
        assert left == ""
        kubectl("rollout", "status", "deployment/web", "--timeout=20s", *web)
    finally:
        kubectl("uncordon", "node-1")


def test_a_budget_holds_up_a_drain(kubectl: Kubectl, web: list[str]) -> None:
    kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=2", *web)
    kubectl("wait", "--for=jsonpath={.status.expectedPods}=2", "pdb/web", "--timeout=10s", *web)
    pod = kubectl.json("get", "pods", *web)["items"][0]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod["metadata"]["name"], "namespace": web[1]},
    }
    path = f"/api/v1/namespaces/{web[1]}/pods/{pod['metadata']['name']}/eviction"
    refused = kubectl.run("create", "--raw", path, "-f", "-", stdin=msgspec.json.encode(eviction).decode())
    assert "Cannot evict pod as it would violate the pod's disruption budget" in refused.stderr


def test_ephemeral_containers(kubectl: Kubectl, web: list[str]) -> None:
    name = kubectl.json("get", "pods", *web)["items"][0]["metadata"]["name"]
    kubectl("debug", name, "--image=busybox", "--attach=false", "--container=debugger", *web)
    spec = kubectl.json("get", "pod", name, *web)["spec"]
    assert spec["ephemeralContainers"][0]["name"] == "debugger"


def test_metrics_are_not_there(kubectl: Kubectl) -> None:
    refused = kubectl.run("top", "nodes")
    assert (refused.returncode, "Metrics API not available" in refused.stderr) == (1, True)


def test_certificates(kubectl: Kubectl, tmp_path: Path) -> None:
    name = f"jane-{next(_numbers)}"
    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": certificate_request(),
            "signerName": "example.com/nobody",
            "usages": ["client auth"],
        },
    }
    kubectl("create", "-f", "-", stdin=msgspec.json.encode(request).decode())
    assert "approved" in kubectl("certificate", "approve", name)
    assert "Approved" in kubectl("get", "csr", name)
    kubectl("delete", "csr", name)
