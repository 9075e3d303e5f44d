"""What is wrong is said in one sentence, with exit status 1, and nothing is left half done."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.sampans import Machine, Sampan, eventually, own_network, sampan_in, snapshot

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]

POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: LABEL}}
    spec: {containers: [{name: web, image: "IMAGE", imagePullPolicy: POLICY}]}
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_network() as made:
        yield made


@pytest.fixture
def sampan(machine: Machine) -> Iterator[Sampan]:
    with sampan_in(machine) as made:
        yield made


def written(sampan: Sampan, text: str, name: str = "given.yaml") -> str:
    path = sampan.root.parent / name
    path.write_text(text)
    return str(path)


def pod(label: str = "web", image: str = "sampan.local/busybox:1", policy: str = "IfNotPresent") -> str:
    return POD.replace("LABEL", label).replace("IMAGE", image).replace("POLICY", policy)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("up", "--node", "x"), "--node"),
        (("up", "--no-such-flag"), "--no-such-flag"),
        (("up", "--nodes", "0"), "'0' is not a number of nodes"),
        (("up", "--nodes", "many"), "'many' is not a number of nodes"),
        (("up", "--port", "70000"), "'70000' is not a port"),
        (("up", "--runtime", "docker"), "docker"),
        (("up", "--kubernetes-version", "1.2"), "1.2"),
        (("down", "--remove"), "--remove"),
        (("frobnicate",), "frobnicate"),
        (("status",), "There is no cluster in"),
        (("kubeconfig",), "There is no cluster in"),
        (("logs", "apiserver"), "There is no cluster in"),
    ],
)
def test_wrong_arguments(sampan: Sampan, arguments: tuple[str, ...], named: str) -> None:
    said = sampan(*arguments)
    assert named in said.complaint()
    assert len(said.errors.splitlines()) == 1
    assert not sampan.root.exists()


@pytest.mark.parametrize("runtime", ["simulated", "containerd"])
def test_port_in_use(machine: Machine, runtime: str) -> None:
    here = Machine()
    with socket.create_server(("127.0.0.1", 0)) as taken, sampan_in(here) as sampan:
        port = taken.getsockname()[1]
        said = sampan.try_up("--runtime", runtime, "--port", str(port))
        assert f"Port {port}" in said.complaint() and "--port" in said.complaint()
        assert not sampan.root.exists() and sampan.traces() == []


def test_missing_programs(machine: Machine, tmp_path: Path) -> None:
    before = snapshot(machine)
    with sampan_in(machine, "env", f"PATH={tmp_path}") as sampan:
        said = sampan.try_up("--runtime", "containerd")
        assert "containerd" in said.complaint() and "apt-get install" in said.complaint()
        assert len(said.errors.splitlines()) == 1
        assert not sampan.root.exists()
        assert snapshot(machine) == before


def test_containers_without_root(machine: Machine) -> None:
    from tests.node.test_up_down import as_nobody

    with sampan_in(machine, *as_nobody()) as sampan:
        shutil.chown(sampan.root.parent, 65534, 65534)
        said = sampan.try_up("--runtime", "containerd")
        assert "root" in said.complaint() and "--runtime process" in said.complaint()
        assert not sampan.root.exists()


def test_a_directory_that_is_somebody_elses(sampan: Sampan) -> None:
    sampan.root.mkdir()
    (sampan.root / "letter.txt").write_text("dear")
    assert "letter.txt" in sampan.try_up("--runtime", "simulated").complaint()
    assert [p.name for p in sampan.root.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.json", b'{"id": "ab', "config.json is damaged"),
        ("pki/ca.key", None, "key pair ca"),
        ("pki/admin.crt", b"-----BEGIN CERT", "key pair admin"),
        ("pki/sa.pub", b"", "key pair sa"),
        ("store/state.db", b"this is no database" * 1000, "state.db"),
    ],
)
def test_damaged_data(sampan: Sampan, file: str, content: bytes | None, named: str) -> None:
    sampan.up("--runtime", "simulated")
    sampan.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    sampan.down()
    path = sampan.root / file
    whole = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    for extra in path.parent.glob(path.name + "-*"):  # SQLite's log would mend the file
        extra.unlink()
    assert named in sampan.try_up().complaint()
    assert sampan.traces() == []
    # Nothing is lost by having tried.
    path.write_bytes(whole)
    sampan.up()
    assert "kept" in {item["metadata"]["name"] for item in sampan.get("configmaps")}


def test_a_new_authority_signs_everything_anew(sampan: Sampan) -> None:
    sampan.up("--runtime", "simulated")
    sampan.down()
    for name in ("ca.crt", "ca.key"):
        (sampan.root / "pki" / name).unlink()
    sampan.up()
    assert len(sampan.get("nodes")) == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kind: [unclosed", "given.yaml is no YAML (line"),
        ("metadata: {name: x}\n", "without apiVersion and kind"),
        ("- just\n- a list\n", "without apiVersion and kind"),
    ],
)
def test_manifests_that_cannot_be_read_start_nothing(sampan: Sampan, text: str, named: str) -> None:
    said = sampan.try_up("--runtime", "simulated", "--apply", written(sampan, text))
    assert named in said.complaint()
    assert len(said.errors.splitlines()) == 1
    assert not sampan.root.exists()
    missing = sampan.try_up("--runtime", "simulated", "--apply", "/nowhere/at-all.yaml")
    assert "/nowhere/at-all.yaml cannot be read" in missing.complaint()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{apiVersion: boats/v1, kind: Oar, metadata: {name: x}}", "boats/v1 Oar is no built-in kind"),
        ("{apiVersion: v1, kind: Pod, metadata: {}}", "no metadata.name"),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: [1]}",
            "ConfigMap 'x' cannot be applied",
        ),
        (pod(label="other"), "refused the Deployment 'web'"),
    ],
)
def test_manifests_that_are_refused_apply_nothing(sampan: Sampan, text: str, named: str) -> None:
    first = "{apiVersion: v1, kind: ConfigMap, metadata: {name: first}}\n---\n"
    sampan.up("--runtime", "simulated")
    said = sampan("up", "--apply", written(sampan, first + text))
    assert named in said.complaint()
    if "refused" not in named:  # what Sampan itself sees, it sees before it applies anything
        assert "first" not in {item["metadata"]["name"] for item in sampan.get("configmaps")}


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        ("sampan.local/missing:1", "Never", "ErrImageNeverPull"),
        ("127.0.0.1:1/missing:1", "IfNotPresent", "ImagePullBackOff"),
    ],
)
def test_image_that_is_not_there(sampan: Sampan, image: str, policy: str, reason: str) -> None:
    said = sampan.try_up("--apply", written(sampan, pod(image=image, policy=policy)))
    assert reason in said.complaint() and image in said.complaint()
    (found,) = sampan.get("pods")
    waiting = found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
    assert waiting in (reason, "ErrImagePull")
    assert sampan("status").status == 0


@pytest.fixture
def small_disk(sampan: Sampan) -> Iterator[Path]:
    """A file system of 12 MB at the data directory."""
    sampan.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(sampan.root)], check=True)
    try:
        yield sampan.root
    finally:
        Sampan(sampan.machine, sampan.root)("down")
        subprocess.run(["umount", "-l", str(sampan.root)], check=True)


def fill(disk: Path) -> Path:
    """Leave not one byte."""
    path = disk / "logs" / "filler" if (disk / "logs").exists() else disk / "store"
    with path.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 65536)
        except OSError:
            pass
        try:
            while True:
                filler.write(b"\0")
        except OSError:
            return path


def test_full_disk_at_the_start(sampan: Sampan, small_disk: Path) -> None:
    filler = fill(small_disk)
    said = sampan.try_up("--runtime", "simulated")
    assert "No space left" in said.complaint() and "make room" in said.complaint()
    assert list(small_disk.iterdir()) == [filler]
    filler.unlink()
    sampan.up("--runtime", "simulated")


def test_disk_that_fills_up(sampan: Sampan, small_disk: Path) -> None:
    sampan.up("--runtime", "simulated")
    assert sampan.kubectl("create", "configmap", "before", "--from-literal=a=b").status == 0
    filler = fill(small_disk)

    def refused() -> str:
        said = sampan.kubectl(
            "create", "configmap", f"full-{os.urandom(4).hex()}", f"--from-literal=a={'x' * 99999}"
        )
        return said.errors if said.status else ""

    words = eventually(refused)
    assert "cannot take writes now" in words and "make room" in words, words
    assert "before" in {item["metadata"]["name"] for item in sampan.get("configmaps")}
    parts = sampan.parts()
    filler.unlink()
    eventually(lambda: sampan.kubectl("create", "configmap", "after").status == 0)
    assert sampan.parts() == parts  # nothing had to be started again
    assert sampan("status").status == 0
