"""Volumes: what is in them, with which modes, how they change under a running pod."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.node.images.builtin import BUSYBOX
from sampan.node.volumes.mounting import mounts_below
from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster, mounts

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

MODES = "for f in $(ls -A {0}); do stat -L -c '%a %u:%g %n' {0}/$f; done"


@pytest.fixture
def host_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sp-host-") as name:
        yield Path(name)


def shell(name: str, script: str, **more: object) -> dict[str, object]:
    return {"name": name, "image": BUSYBOX, "command": ["sh", "-c", script], **more}


@pytest.mark.conformance("EmptyDir volumes pod should support shared volumes between containers")
@pytest.mark.parametrize("medium", ["", "Memory"])
def test_an_empty_dir_is_shared_by_the_containers(cluster: Cluster, medium: str) -> None:
    both = {"volumeMounts": mounts(shared="/shared")}
    look = "stat -c %a /shared; grep ' /shared ' /proc/mounts; df -k /shared | tail -1; echo end"
    pod = cluster.pod(
        containers=[
            shell("writer", "umask 0; echo from-writer > /shared/file; sleep 1000", **both),
            shell(
                "reader",
                f"until grep from-writer /shared/file; do sleep 0.05; done; {look}; sleep 1000",
                **both,
            ),
        ],
        volumes=[{"name": "shared", "emptyDir": {"medium": medium, "sizeLimit": "8Mi"}}],
    )
    pod.says("\nend", "reader")
    *_, text, mode, mount, size, _ = pod.log("reader").splitlines()
    assert text == "from-writer"
    assert mode == ("1777" if medium else "777")
    assert mount.startswith("tmpfs ") is (medium == "Memory")
    if medium:
        assert size.split()[1] == "8192"
    uid = pod.uid
    assert (cluster.pods_directory / uid / "volumes/kubernetes.io~empty-dir/shared").is_dir()
    pod.delete(grace_s=1)
    cluster.until(lambda: not (cluster.pods_directory / uid).exists(), "the pod's directory is gone")


def test_an_empty_dir_outlives_a_restart_of_its_container(cluster: Cluster) -> None:
    pod = cluster.pod(
        "echo run >> /data/runs; cat /data/runs; [ $(wc -l < /data/runs) -ge 2 ]",
        container={"volumeMounts": mounts(data="/data")},
        restartPolicy="OnFailure",
        volumes=[{"name": "data", "emptyDir": {}}],
    )
    assert pod.over().status.phase == "Succeeded"
    assert pod.log(attempt=1) == "run\nrun"


def test_host_paths(cluster: Cluster, host_dir: Path) -> None:
    (host_dir / "file").write_text("from the host\n")
    kinds = {
        "dir": (str(host_dir), "Directory"),
        "made": (str(host_dir / "deep" / "made"), "DirectoryOrCreate"),
        "any": (str(host_dir / "any"), ""),
        "file": (str(host_dir / "file"), "File"),
        "touched": (str(host_dir / "touched"), "FileOrCreate"),
        "device": ("/dev/null", "CharDevice"),
    }
    log = cluster.output(
        "cat /in/file /in/dir/file; echo back > /in/made/x; echo touched > /in/touched; "
        "[ -c /in/device ] && [ -d /in/any ] && echo fine",
        container={"volumeMounts": mounts(**{name: f"/in/{name}" for name in kinds})},
        volumes=[
            {"name": name, "hostPath": {"path": path, "type": kind}} for name, (path, kind) in kinds.items()
        ],
    )
    assert log.splitlines() == ["from the host", "from the host", "fine"]
    assert (host_dir / "deep/made/x").read_text() == "back\n"
    assert (host_dir / "touched").read_text() == "touched\n"
    assert stat.S_IMODE((host_dir / "deep/made").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("kind", "what"), [("Directory", "a directory"), ("File", "a file"), ("Socket", "a socket file")]
)
def test_a_host_path_of_another_kind_is_told(cluster: Cluster, host_dir: Path, kind: str, what: str) -> None:
    path = host_dir / "thing"
    pod = cluster.pod(
        container={"volumeMounts": mounts(v="/v")},
        volumes=[{"name": "v", "hostPath": {"path": str(path), "type": kind}}],
    )
    told = pod.told("FailedMount", "hostPath type check failed")
    assert told.startswith('MountVolume.SetUp failed for volume "v" : ')
    assert told.endswith(f"{path} is not {what}")
    assert pod.waits("ContainerCreating") == ""


def test_config_map_and_secret_files(cluster: Cluster) -> None:
    cluster.config_map("files", a="alpha", b="beta")
    cluster.secret("secret-files", s="sigma", t="tau")
    items = [{"key": "a", "path": "deep/er/a.txt", "mode": 0o400}, {"key": "b", "path": "b.txt"}]
    pod = cluster.pod(
        f"cd /some && cat deep/er/a.txt b.txt && stat -L -c %a deep/er/a.txt b.txt; {MODES.format('/all')};"
        "readlink /all/s; touch /all/new 2>/dev/null || echo read-only",
        container={"volumeMounts": mounts(some="/some", all="/all")},
        volumes=[
            {"name": "some", "configMap": {"name": "files", "items": items, "defaultMode": 0o440}},
            {"name": "all", "secret": {"secretName": "secret-files", "defaultMode": 0o600}},
        ],
    )
    pod.over()
    values, mode, *listing, link, refusal = pod.log().splitlines()
    assert (values, mode) == ("alphabeta400", "440")
    assert {"600 0:0 /all/s", "600 0:0 /all/t", "755 0:0 /all/..data"} <= set(listing)
    assert (link, refusal) == ("..data/s", "read-only")


@pytest.mark.conformance("Projected configMap updates should be reflected in volume")
@pytest.mark.conformance("Downward API volume should update annotations on modification")
@pytest.mark.conformance("Downward API volume should update labels on modification")
@pytest.mark.conformance("Projected downwardAPI should update annotations on modification")
@pytest.mark.conformance("Projected downwardAPI should update labels on modification")
@pytest.mark.conformance("ConfigMap updates should be reflected in volume")
def test_changes_appear_in_a_running_pod(cluster: Cluster) -> None:
    cluster.config_map("live", key="old", gone="x")
    cluster.secret("live-secret", key="old")
    sources = [
        {"secret": {"name": "live-secret"}},
        {"configMap": {"name": "live", "items": [{"key": "key", "path": "mapped"}]}},
    ]
    down = {
        "items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
        ]
    }
    pod = cluster.pod(
        "while :; do echo $(cat /map/key /secret/key /all/key /all/mapped) $(ls /map) "
        "$(cat /down/labels /all/labels /down/notes /all/notes); "
        "sleep 0.1; done",
        labels={"stage": "old"},
        annotations={"note": "-a-"},
        container={"volumeMounts": mounts(map="/map", secret="/secret", all="/all", down="/down")},
        volumes=[
            {"name": "map", "configMap": {"name": "live"}},
            {"name": "secret", "secret": {"secretName": "live-secret"}},
            {"name": "all", "projected": {"sources": [*sources, {"downwardAPI": down}]}},
            {"name": "down", "downwardAPI": down},
        ],
    )
    pod.says('oldoldoldold gone key stage="old"stage="old"-a--a-')
    cluster.patch(api.ConfigMap, "live", {"data": {"key": "new", "gone": None, "more": "x"}})
    pod.says('newoldoldnew key more stage="old"stage="old"-a--a-')
    cluster.patch(api.Secret, "live-secret", {"stringData": {"key": "NEW"}})
    pod.says('newNEWNEWnew key more stage="old"stage="old"-a--a-')
    cluster.patch(
        api.Pod, pod.name, {"metadata": {"labels": {"stage": "new"}, "annotations": {"note": "-b-"}}}
    )
    pod.says('newNEWNEWnew key more stage="new"stage="new"-b--b-')


def test_downward_files(cluster: Cluster) -> None:
    items = [
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
        {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {
            "path": "cpu",
            "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"},
        },
    ]
    pod = cluster.pod(
        "cd /down; stat -L -c %a name; cat name; echo; cat notes; echo; cat cpu",
        annotations={"b": "2", "a": 'say "1"'},
        container={"volumeMounts": mounts(down="/down"), "resources": {"limits": {"cpu": "300m"}}},
        volumes=[{"name": "down", "downwardAPI": {"items": items}}],
    )
    pod.over()
    assert pod.log().splitlines() == ["400", pod.name, 'a="say \\"1\\""', 'b="2"', "300"]


def test_a_volume_waits_for_its_config_map(cluster: Cluster) -> None:
    volumes = [
        {"name": "maybe", "configMap": {"name": "never", "optional": True}},
        {"name": "must", "configMap": {"name": "late-volume"}},
    ]
    pod = cluster.pod(
        "ls -A /maybe | grep -v '^\\.\\.' ; cat /must/key",
        container={"volumeMounts": mounts(maybe="/maybe", must="/must")},
        volumes=volumes,
    )
    told = pod.told("FailedMount")
    assert told == 'MountVolume.SetUp failed for volume "must" : configmap "late-volume" not found'
    assert pod.waits("ContainerCreating") == ""
    cluster.config_map("late-volume", key="at last")
    assert pod.over().status.phase == "Succeeded"
    assert pod.log() == "at last"


@pytest.mark.conformance("ServiceAccounts should mount an API token into pods")
def test_the_service_accounts_files(cluster: Cluster) -> None:
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    pod = cluster.pod(
        f"cd {place}; cat namespace; echo; grep -c BEGIN ca.crt; stat -L -c '%a %u' token; cat token"
    )
    pod.over()
    namespace, certificates, mode, token = pod.log().splitlines()
    assert (namespace, certificates, mode) == (NAMESPACE, "1", "644 0")
    review = cluster.make(api.TokenReview, {"spec": {"token": token}})
    assert review.status.authenticated
    assert review.status.user is not None
    assert review.status.user.username == f"system:serviceaccount:{NAMESPACE}:default"
    assert review.status.user.extra["authentication.kubernetes.io/pod-name"] == [pod.name]
    assert review.status.user.extra["authentication.kubernetes.io/pod-uid"] == [pod.uid]


@pytest.mark.conformance("ServiceAccounts should mount projected service account token")
def test_a_projected_token_is_for_its_audience_and_its_user(cluster: Cluster) -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
        {"downwardAPI": {"items": [{"path": "pod", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    pod = cluster.pod(
        "cd /all; stat -L -c '%a %u' token; cat pod; echo; cat token; echo; "
        "ls /var/run/secrets/kubernetes.io 2>/dev/null || echo none",
        container={"volumeMounts": mounts(all="/all")},
        automountServiceAccountToken=False,
        securityContext={"runAsUser": 1234},
        volumes=[{"name": "all", "projected": {"sources": sources}}],
    )
    assert pod.over().status.phase == "Succeeded"
    mode, name, token, automounted = pod.log().splitlines()
    assert (mode, name, automounted) == ("600 1234", pod.name, "none")
    for audience, accepted in (("vault", True), ("other", False)):
        review = cluster.make(api.TokenReview, {"spec": {"token": token, "audiences": [audience]}})
        assert bool(review.status.authenticated) is accepted


@pytest.mark.conformance("Variable Expansion should allow substituting values in a volume subpath")
@pytest.mark.conformance("Variable Expansion should succeed in writing subpaths in container")
def test_sub_paths(cluster: Cluster, host_dir: Path) -> None:
    (host_dir / "one").mkdir()
    (host_dir / "one" / "file").write_text("in one\n")
    cluster.config_map("sub", config="configured", other="unseen")
    pod = cluster.pod(
        "cat /dir/file /etc/app/config; echo; ls /etc/app; echo $POD > /logs/name; "
        "touch /fixed/x 2>/dev/null || echo refused",
        container={
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "volumeMounts": [
                {"name": "host", "mountPath": "/dir", "subPath": "one"},
                {"name": "host", "mountPath": "/fixed", "subPath": "one", "readOnly": True},
                {"name": "host", "mountPath": "/logs", "subPathExpr": "logs/$(POD)"},
                {"name": "map", "mountPath": "/etc/app/config", "subPath": "config"},
            ],
        },
        volumes=[
            {"name": "host", "hostPath": {"path": str(host_dir)}},
            {"name": "map", "configMap": {"name": "sub"}},
        ],
    )
    pod.over()
    log = pod.log().splitlines()
    assert log[:3] == ["in one", "configured", "config"]
    assert log[-1] == "refused"
    assert (host_dir / "logs" / pod.name / "name").read_text() == f"{pod.name}\n"


def test_a_sub_path_does_not_leave_its_volume(cluster: Cluster, host_dir: Path) -> None:
    (host_dir / "volume").mkdir()
    (host_dir / "volume" / "link").symlink_to("/etc")
    pod = cluster.pod(
        container={"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "link"}]},
        volumes=[{"name": "v", "hostPath": {"path": str(host_dir / "volume")}}],
    )
    told = pod.waits("CreateContainerConfigError")
    assert told == 'failed to prepare subPath for volumeMount "v" of container "main"'


def test_fs_group_owns_what_the_pod_may_write(cluster: Cluster) -> None:
    cluster.secret("group", key="value")
    pod = cluster.pod(
        "id -G; stat -c '%g %a' /data; echo x > /data/new && stat -c %g /data/new; "
        "stat -L -c '%g %a' /secret/key; cat /secret/key",
        container={"volumeMounts": mounts(data="/data", secret="/secret")},
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 4321},
        volumes=[
            {"name": "data", "emptyDir": {}},
            {"name": "secret", "secret": {"secretName": "group", "defaultMode": 0o400}},
        ],
    )
    assert pod.over().status.phase == "Succeeded", pod.log()
    groups, directory, file, secret, value = pod.log().splitlines()
    assert "4321" in groups.split()
    assert directory == "4321 2777"
    assert file == "4321"
    assert (secret, value) == ("4321 440", "value")


def test_mounts_are_shown_in_the_status(cluster: Cluster) -> None:
    pod = cluster.pod(
        container={"volumeMounts": [{"name": "d", "mountPath": "/d", "readOnly": True}]},
        automountServiceAccountToken=False,
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    [status] = pod.running().status.containerStatuses
    [mount] = status.volumeMounts
    assert (mount.name, mount.mountPath, mount.readOnly, mount.recursiveReadOnly) == (
        "d",
        "/d",
        True,
        "Disabled",
    )


# --- images -----------------------------------------------------------------------------------------------


@pytest.fixture
def model_image(cluster: Cluster, tmp_path: Path) -> str:
    """An image of data only, in the cluster."""
    root = tmp_path / "model"
    (root / "weights").mkdir(parents=True)
    (root / "weights" / "layer-1").write_text("w1\n")
    cluster.sampan("image", "build", str(root), "--tag", "sampan.local/model:1")
    return "sampan.local/model:1"


def image_volume(reference: str) -> dict[str, object]:
    return {"name": "model", "image": {"reference": reference, "pullPolicy": "Never"}}


def test_an_image_is_mounted_read_only_whole_and_in_part(cluster: Cluster, model_image: str) -> None:
    script = """
        cat /model/weights/layer-1 /part/layer-1
        touch /model/new 2>&1 | sed 's/.*: //'
        sleep 1000
    """
    both = [*mounts(model="/model"), {"name": "model", "mountPath": "/part", "subPath": "weights"}]
    pod = cluster.pod(script, container={"volumeMounts": both}, volumes=[image_volume(model_image)])
    pod.says("file system")
    assert pod.log() == "w1\nw1\nRead-only file system"
    told = pod.running().status.containerStatuses[0].volumeMounts
    shown = {mount.mountPath: mount.volumeStatus for mount in told}
    assert shown["/model"] == shown["/part"]
    assert shown["/model"] is not None and shown["/model"].image is not None
    assert "sha256:" in (shown["/model"].image.imageRef or "")
    uid = pod.uid
    place = cluster.pods_directory / uid / "volumes/kubernetes.io~image/model"
    assert mounts_below(place) == [place]
    pod.delete(grace_s=1)
    cluster.until(lambda: not (cluster.pods_directory / uid).exists(), "the pod's directory is gone")


def test_a_volume_whose_image_is_not_there_is_shown_as_an_image_that_is_not_there(cluster: Cluster) -> None:
    pod = cluster.pod(
        container={"volumeMounts": mounts(model="/model")}, volumes=[image_volume("sampan.local/none:1")]
    )
    message = pod.waits("ErrImageNeverPull")
    assert 'Container image "sampan.local/none:1" is not present' in message
