"""kubectl get, describe, explain, edit, apply and delete for an object of every common kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.testing.cluster import Cluster
from tests.kubectl import Kubectl, binaries, newest

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
FOLDER = Path(__file__).parent / "kinds.yaml"
DEPRECATED = "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\n"
_numbers = itertools.count()
KINDS: list[dict[str, Any]] = list(yaml.safe_load_all(FOLDER.read_text()))


@pytest.fixture(scope="module")
def kubectl(live: Cluster, tmp_path_factory: Any) -> Kubectl:
    made = Kubectl(live.kubeconfig, newest())
    made.environment["HOME"] = str(tmp_path_factory.mktemp("home"))
    return made


@pytest.fixture(scope="module")
def applied(kubectl: Kubectl) -> Iterator[str]:
    """A namespace with one object of each kind."""
    kubectl("create", "namespace", "kinds")
    said = kubectl("apply", "-n", "kinds", "-f", str(FOLDER))
    assert said.count("created") == len(KINDS)
    yield "kinds"
    kubectl("delete", "-n", "kinds", "-f", str(FOLDER), "--wait=false", "--ignore-not-found")
    kubectl("delete", "namespace", "kinds", "--wait=false")


def named(document: dict[str, Any]) -> str:
    """`deployment.v1.apps/web`: as kubectl takes it."""
    group, _, version = document["apiVersion"].rpartition("/")
    kind = f"{document['kind']}.{version}.{group}" if group else document["kind"]
    return f"{kind.lower()}/{document['metadata']['name']}"


def test_applied_again_nothing_changes(kubectl: Kubectl, applied: str) -> None:
    said = kubectl("apply", "-n", applied, "-f", str(FOLDER))
    changed = [line for line in said.splitlines() if not line.endswith("unchanged")]
    # kubectl sends fields with the patch strategy `replace` each time.
    assert changed == ["poddisruptionbudget.policy/web configured"]
    diff = kubectl.run("diff", "-n", applied, "-f", str(FOLDER))
    assert (diff.returncode, diff.stdout) == (0, "")


def test_applied_on_the_server_too(kubectl: Kubectl, applied: str) -> None:
    """What kubectl applied on its own side, it takes over with server-side apply, without a conflict."""
    done = kubectl.run("apply", "--server-side", "-n", applied, "-f", str(FOLDER))
    assert (done.returncode, done.stderr.replace(DEPRECATED, "")) == (0, "")
    assert done.stdout.count("serverside-applied") == len(KINDS)
    shown = yaml.safe_load(
        kubectl("get", "deployment/web", "-n", applied, "-o", "yaml", "--show-managed-fields")
    )
    managers = {(e["manager"], e["operation"]) for e in shown["metadata"]["managedFields"]}
    assert ("kubectl", "Apply") in managers


@pytest.mark.parametrize("document", KINDS, ids=lambda d: d["kind"])
def test_get_and_describe(kubectl: Kubectl, applied: str, document: dict[str, Any]) -> None:
    what, name = named(document), document["metadata"]["name"]
    told = kubectl("describe", what, "-n", applied)
    assert told.startswith("Name:")
    assert name in told
    table = kubectl("get", what, "-n", applied, "-o", "wide").splitlines()
    assert table[0].split()[0] == "NAME"
    assert table[1].split()[0] == name
    shown = yaml.safe_load(kubectl("get", what, "-n", applied, "-o", "yaml"))
    assert (shown["kind"], shown["apiVersion"]) == (document["kind"], document["apiVersion"])


@pytest.mark.parametrize("document", KINDS, ids=lambda d: d["kind"])
def test_explain(kubectl: Kubectl, document: dict[str, Any]) -> None:
    told = kubectl("explain", document["kind"].lower(), "--api-version", document["apiVersion"])
    assert f"KIND:       {document['kind']}" in told
    assert "metadata\t<ObjectMeta>" in told


@pytest.mark.parametrize("document", KINDS, ids=lambda d: d["kind"])
def test_label_annotate_and_patch(kubectl: Kubectl, applied: str, document: dict[str, Any]) -> None:
    what = named(document)
    kubectl("label", what, "-n", applied, "seen=yes")
    kubectl("annotate", what, "-n", applied, "seen=yes")
    kubectl("patch", what, "-n", applied, "--type=merge", "-p", '{"metadata":{"labels":{"seen":null}}}')
    shown = yaml.safe_load(kubectl("get", what, "-n", applied, "-o", "yaml"))["metadata"]
    assert "seen" not in shown.get("labels", {})
    assert shown["annotations"]["seen"] == "yes"
    kubectl("annotate", what, "-n", applied, "seen-")


@pytest.mark.parametrize("version", ["1.30", "1.31", "1.32", "1.33"])
def test_every_kubectl_from_130_on(live: Cluster, tmp_path: Path, version: str) -> None:
    """The shortest life of an object, in each version that the machine has."""
    newest()
    if version not in binaries():
        pytest.skip(f"there is no kubectl {version} on this machine")
    kubectl = Kubectl(live.kubeconfig, binaries()[version])
    kubectl.environment["HOME"] = str(tmp_path)
    name = f"life-{next(_numbers)}"
    kubectl("create", "namespace", name)
    kubectl("create", "deployment", "web", "--image=web:1", "-n", name)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s", "-n", name)
    kubectl("scale", "deployment/web", "--replicas=2", "-n", name)
    kubectl("set", "image", "deployment/web", "web=web:2", "-n", name)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s", "-n", name)
    assert "web" in kubectl("get", "all", "-n", name)
    assert "deployment.apps/web" in kubectl("apply", "-n", name, "-f", "-", stdin=SERVICE)
    assert "Name:" in kubectl("describe", "deployment/web", "-n", name)
    assert "FIELD: replicas <integer>" in kubectl("explain", "deployment.spec.replicas")
    kubectl("delete", "namespace", name, "--timeout=30s")


SERVICE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: "web:2"}]}
"""
