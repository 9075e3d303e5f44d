"""Volumes on a real disk, in temporary directories."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.client.transport import Reply
from sampan.kinds import localpath
from sampan.node.config import AgentConfig
from sampan.node.errors import ConfigError, VolumeError
from sampan.node.names import CONTAINER_NAME, MESSAGE_POLICY
from sampan.node.runtimes.runtime import Container, State
from sampan.node.volumes import plugins
from sampan.node.volumes.manager import VolumeManager
from sampan.node.volumes.mounting import can_mount, mounts_below
from sampan.node.volumes.plan import FileEntry
from sampan.node.volumes.plugins import check_host_path
from sampan.node.volumes.subpath import open_subpath
from sampan.node.volumes.writer import write_files
from sampan.schema import api
from tests.unit.node.bench import NODE
from tests.unit.node.fakes import FakeApi, container, make_pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"


# --- the writer -------------------------------------------------------------------------------------------


def entry(path: str, text: str = "x", mode: int = 0o644) -> FileEntry:
    return FileEntry(path, text.encode(), mode)


def test_files_are_seen_through_symlinks_with_their_modes(tmp_path: Path) -> None:
    assert write_files(tmp_path, [entry("a", "1"), entry("deep/er/b", "2", 0o400)], NOW)
    assert (tmp_path / "a").read_text() == "1"
    assert (tmp_path / "deep/er/b").read_text() == "2"
    assert stat.S_IMODE((tmp_path / "deep/er/b").stat().st_mode) == 0o400
    assert (tmp_path / "a").readlink() == Path("..data/a")
    assert (tmp_path / "..data").is_symlink()


def test_an_update_swaps_everything_at_once_and_leaves_nothing_old(tmp_path: Path) -> None:
    write_files(tmp_path, [entry("a", "1"), entry("gone", "1")], NOW)
    first = (tmp_path / "..data").readlink()
    assert write_files(tmp_path, [entry("a", "2"), entry("new", "2")], NOW)
    assert (tmp_path / "..data").readlink() != first
    assert not (tmp_path / first).exists()
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("..")) == ["a", "new"]
    assert (tmp_path / "a").read_text() == "2"


def test_writing_the_same_again_touches_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, [entry("a")], NOW)
    before = (tmp_path / "..data").readlink()
    assert not write_files(tmp_path, [entry("a")], NOW)
    assert (tmp_path / "..data").readlink() == before
    assert write_files(tmp_path, [entry("a", mode=0o600)], NOW)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..data/x", ""])
def test_paths_that_escape_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(VolumeError):
        write_files(tmp_path / "v", [entry(path)], NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another group")
def test_fs_group_owns_the_files(tmp_path: Path) -> None:
    write_files(tmp_path, [entry("a", mode=0o400)], NOW, fs_group=4242)
    found = (tmp_path / "a").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, 0o440)


# --- subPath ----------------------------------------------------------------------------------------------


def opened(volume: Path, subpath: str) -> Path:
    fd = open_subpath(volume, subpath)
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)


def test_subpaths_are_made_and_followed_inside_the_volume(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    (volume / "real").mkdir(parents=True)
    (volume / "link").symlink_to("real")
    assert opened(volume, "made/for/me") == volume / "made/for/me"
    assert opened(volume, "link") == volume / "real"


@pytest.mark.parametrize("subpath", ["link", "link/below", "../out", "/abs", "a/../../out"])
def test_subpaths_do_not_lead_out_of_the_volume(tmp_path: Path, subpath: str) -> None:
    volume, out = tmp_path / "v", tmp_path / "out"
    volume.mkdir()
    out.mkdir()
    (volume / "link").symlink_to(out)
    with pytest.raises(ConfigError):
        open_subpath(volume, subpath)
    assert list(out.iterdir()) == []


# --- the manager ------------------------------------------------------------------------------------------


class Disk:
    def __init__(self, root: Path) -> None:
        self.clock = SimulatedClock()
        self.api = FakeApi()
        config = AgentConfig(
            node_name="node-1", node_ips=("192.0.2.1",), root_dir=str(root), log_dir=str(root / "logs")
        )
        self.manager = VolumeManager(self.api.client, self.clock, config)
        self.root = root

    def volume(self, plugin: str, name: str = "v") -> Path:
        return self.root / "pods/web-uid/volumes" / f"kubernetes.io~{plugin}" / name

    async def mounts(self, pod: api.Pod, env: dict[str, str] | None = None) -> dict[str, Any]:
        found = await self.manager.mounts(pod, pod.spec.containers[0], 0, env or {}, NODE, ("10.0.0.9",))
        return {m.container_path: m for m in found}


def run(root: Path, test: Callable[[Disk], Awaitable[None]]) -> None:
    async def main() -> None:
        disk = Disk(root)
        task = asyncio.create_task(disk.manager.run(list))
        try:
            await test(disk)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await disk.manager.remove(make_pod())
            assert mounts_below(root) == []

    asyncio.run(main())


def put_map(disk: Disk, name: str = "settings", **data: str) -> None:
    disk.api.put(f"{MAPS}/{name}", api.ConfigMap(metadata=meta(name), data=data))


def put_secret(disk: Disk, name: str = "keys", **data: bytes) -> None:
    disk.api.put(f"{SECRETS}/{name}", api.Secret(metadata=meta(name), data=data))


def meta(name: str) -> api.ObjectMeta:
    return api.ObjectMeta(name=name, namespace="default", uid=f"{name}-uid")


def pod_with(source: dict[str, Any], mount: dict[str, Any] | None = None, **spec: Any) -> api.Pod:
    mounted = {"name": "v", "mountPath": "/data", **(mount or {})}
    return make_pod(containers=[container(volumeMounts=[mounted])], volumes=[{"name": "v", **source}], **spec)


def test_a_config_map_volume_follows_its_config_map(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        put_map(disk, color="blue")
        pod = pod_with({"configMap": {"name": "settings", "defaultMode": 0o440}})
        await disk.manager.prepare(pod, NODE)
        file = disk.volume("configmap") / "color"
        assert file.read_text() == "blue"
        assert stat.S_IMODE(file.stat().st_mode) == 0o440
        await disk.clock.advance(0.1)
        put_map(disk, color="green", size="big")
        await disk.clock.advance(0.1)
        assert file.read_text() == "green"
        assert (disk.volume("configmap") / "size").read_text() == "big"

    run(tmp_path, scenario)


def test_kubelets_directory_is_the_node_s_own(tmp_path: Path) -> None:
    """Drivers mount /var/lib/kubelet, whatever the node's directory is."""

    async def scenario(disk: Disk) -> None:
        path = "/var/lib/kubelet/plugins/disk.example.com"
        pod = pod_with({"hostPath": {"path": path, "type": "DirectoryOrCreate"}})
        await disk.manager.prepare(pod, NODE)
        assert (await disk.mounts(pod))["/data"].host_path == str(tmp_path / "plugins/disk.example.com")
        assert (tmp_path / "plugins/disk.example.com").is_dir()

    run(tmp_path, scenario)


def test_items_choose_keys_paths_and_modes(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        put_secret(disk, user=b"bob", password=b"pw")
        items = [{"key": "password", "path": "my/pass", "mode": 0o400}]
        await disk.manager.prepare(pod_with({"secret": {"secretName": "keys", "items": items}}), NODE)
        root = disk.volume("secret")
        assert (root / "my/pass").read_bytes() == b"pw"
        assert not (root / "user").exists()
        assert stat.S_IMODE((root / "my/pass").stat().st_mode) == 0o400

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "settings", "items": [{"key": "k", "path": "p"}]}},
            "references non-existent config key: k",
        ),
        (
            {"hostPath": {"path": "/does/not/exist", "type": "Directory"}},
            "hostPath type check failed: /does/not/exist is not a directory",
        ),
        ({"nfs": {"server": "s", "path": "/"}}, "no volume plugin matched for a volume of kind nfs"),
    ],
)
def test_what_is_missing_is_said_in_kubelets_words(
    tmp_path: Path, source: dict[str, Any], message: str
) -> None:
    async def scenario(disk: Disk) -> None:
        put_map(disk, a="1")
        with pytest.raises(VolumeError) as raised:
            await disk.manager.prepare(pod_with(source), NODE)
        assert str(raised.value) == f'MountVolume.SetUp failed for volume "v" : {message}'

    run(tmp_path, scenario)


def test_optional_sources_appear_when_they_are_made(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        await disk.manager.prepare(pod_with({"configMap": {"name": "late", "optional": True}}), NODE)
        root = disk.volume("configmap")
        assert [p.name for p in root.iterdir() if not p.name.startswith("..")] == []
        await disk.clock.advance(0.1)
        put_map(disk, "late", a="1")
        await disk.clock.advance(0.1)
        assert (root / "a").read_text() == "1"

    run(tmp_path, scenario)


def test_a_projected_volume_holds_token_certificate_and_labels(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        put_map(disk, "kube-root-ca.crt", **{"ca.crt": "PEM"})
        sources = [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
            {"configMap": {"name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ]
        pod = pod_with({"projected": {"sources": sources}})
        pod.metadata.labels = {"app": "web"}
        await disk.manager.prepare(pod, NODE)
        root = disk.volume("projected")
        assert (root / "token").read_text() == "token-1"
        assert (root / "ca.crt").read_text() == "PEM"
        assert (root / "labels").read_text() == 'app="web"'
        await disk.clock.advance(2700)
        assert (root / "token").read_text() == "token-1"
        await disk.clock.advance(300)  # past 80 % of the hour
        assert (root / "token").read_text() == "token-2"

    run(tmp_path, scenario)


def test_labels_that_change_show_in_the_volume(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
        pod = pod_with({"downwardAPI": {"items": items}})
        await disk.manager.prepare(pod, NODE)
        changed = pod_with({"downwardAPI": {"items": items}})
        changed.metadata.labels = {"a": 'b"c'}
        disk.manager.refresh(changed)
        await disk.clock.advance(0.1)
        assert (disk.volume("downward-api") / "labels").read_text() == 'a="b\\"c"'

    run(tmp_path, scenario)


def test_a_volume_of_a_pod_that_goes_is_not_written_again(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        put_map(disk, color="blue")
        pod = pod_with({"configMap": {"name": "settings"}})
        await disk.manager.prepare(pod, NODE)
        await disk.clock.advance(0.1)
        request, asked, go_on = disk.api.request, asyncio.Event(), asyncio.Event()

        async def slow(method: str, path: str, *rest: Any) -> Reply:
            if (method, path) == ("GET", f"{MAPS}/settings"):
                asked.set()
                await go_on.wait()
            return await request(method, path, *rest)

        disk.api.request = slow  # type: ignore[method-assign,assignment]
        disk.manager.refresh(pod)
        await disk.clock.advance(0.1)
        assert asked.is_set()
        await disk.manager.remove(pod)
        go_on.set()
        await disk.clock.advance(0.1)
        assert not disk.volume("configmap").exists()

    run(tmp_path, scenario)


def test_empty_dirs_are_open_to_all_and_go_with_the_pod(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        pod = pod_with({"emptyDir": {}})
        await disk.manager.prepare(pod, NODE)
        root = disk.volume("empty-dir")
        assert stat.S_IMODE(root.stat().st_mode) == 0o777
        (root / "kept").write_text("x")
        await disk.manager.prepare(pod, NODE)
        assert (root / "kept").exists()
        await disk.manager.remove(pod)
        assert not root.exists()

    run(tmp_path, scenario)


@pytest.mark.skipif(not can_mount(), reason="only root may mount")
def test_memory_is_a_tmpfs_of_its_size(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        pod = pod_with({"emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}})
        await disk.manager.prepare(pod, NODE)
        root = disk.volume("empty-dir")
        assert root.is_mount()
        assert os.statvfs(root).f_blocks * os.statvfs(root).f_frsize == 64 << 10
        assert stat.S_IMODE(root.stat().st_mode) == 0o1777
        await disk.manager.remove(pod)
        assert not root.exists()

    run(tmp_path, scenario)


def test_mounts_of_a_container(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        put_map(disk, a="1")
        pod = pod_with({"configMap": {"name": "settings"}})
        await disk.manager.prepare(pod, NODE)
        found = await disk.mounts(pod)
        assert found["/data"].readonly
        assert found["/data"].host_path == str(disk.volume("configmap"))
        hosts = Path(found["/etc/hosts"].host_path)
        assert "10.0.0.9\tweb\n" in hosts.read_text()
        last_words = Path(found["/dev/termination-log"].host_path)
        assert stat.S_IMODE(last_words.stat().st_mode) == 0o666

    run(tmp_path, scenario)


def test_subpath_mounts_show_one_part_of_a_volume(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        pod = pod_with({"emptyDir": {}}, {"subPathExpr": "logs/$(POD)"})
        await disk.manager.prepare(pod, NODE)
        found = await disk.mounts(pod, {"POD": "web-0"})
        shown = Path(found["/data"].host_path)
        (disk.volume("empty-dir") / "logs/web-0/file").write_text("x")
        assert (shown / "file").read_text() == "x"
        with pytest.raises(ConfigError, match="missing value"):
            await disk.mounts(pod, {})

    run(tmp_path, scenario)


def test_a_claim_bound_to_a_host_path_is_mounted(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        pod = pod_with({"persistentVolumeClaim": {"claimName": "c"}})
        with pytest.raises(VolumeError, match="not found"):
            await disk.manager.prepare(pod, NODE)
        claim = api.PersistentVolumeClaim(metadata=meta("c"))
        path = "/api/v1/namespaces/default/persistentvolumeclaims/c"
        disk.api.put(path, claim)
        with pytest.raises(VolumeError, match="PVC is not bound"):
            await disk.manager.prepare(pod, NODE)
        claim.spec.volumeName = "pv"
        claim.status.phase = "Bound"
        disk.api.put(path, claim)
        volume = api.PersistentVolume(metadata=api.ObjectMeta(name="pv"))
        volume.spec.hostPath = api.HostPathVolumeSource(path=str(tmp_path / "pv"), type="DirectoryOrCreate")
        disk.api.put("/api/v1/persistentvolumes/pv", volume)
        with pytest.raises(VolumeError, match=r"failed to process volumes=\[v\]: .* PVC is not bound"):
            await disk.manager.prepare(pod, NODE)  # the volume does not know of the claim
        volume.spec.claimRef = api.ObjectReference(uid=claim.metadata.uid)
        disk.api.put("/api/v1/persistentvolumes/pv", volume)
        await disk.manager.prepare(pod, NODE)
        assert (await disk.mounts(pod))["/data"].host_path == str(tmp_path / "pv")
        claim.spec.volumeMode = "Block"
        disk.api.put(path, claim)
        with pytest.raises(VolumeError, match="volumeMode Block"):
            await disk.manager.prepare(pod, NODE)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("place", "node", "is_made"),
    [("local-path/a", "node-1", True), ("local-path/a", "node-2", False), ("other/a", "node-1", False)],
)
def test_only_directories_of_its_own_are_made_by_the_node(
    tmp_path: Path, place: str, node: str, is_made: bool
) -> None:
    async def scenario(disk: Disk) -> None:
        claim = api.PersistentVolumeClaim(metadata=meta("c"))
        claim.spec.volumeName, claim.status.phase = "pv", "Bound"
        volume = api.PersistentVolume(metadata=api.ObjectMeta(name="pv"))
        volume.metadata.annotations = {localpath.VOLUME_NODE: node}
        path = Path(disk.manager._config.root_dir) / place
        volume.spec.local = api.LocalVolumeSource(path=str(path))
        volume.spec.claimRef = api.ObjectReference(uid=claim.metadata.uid)
        disk.api.put("/api/v1/namespaces/default/persistentvolumeclaims/c", claim)
        disk.api.put("/api/v1/persistentvolumes/pv", volume)
        pod = pod_with({"persistentVolumeClaim": {"claimName": "c"}})
        if is_made:
            await disk.manager.prepare(pod, NODE)
            assert stat.S_IMODE(path.stat().st_mode) == 0o777
        else:
            why = "does not exist" if node == "node-1" else "NodeAffinity check failed"
            with pytest.raises(VolumeError, match=why):
                await disk.manager.prepare(pod, NODE)
            assert not path.exists()

    run(tmp_path, scenario)


def test_what_a_local_volumes_link_leads_to_belongs_to_the_pods_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubelet mounts the directory behind the link first; a link has no files to give to a group."""
    owned: list[tuple[Path, int, str | None]] = []
    monkeypatch.setattr(plugins, "can_mount", lambda: True)
    monkeypatch.setattr(plugins, "own", lambda *given: owned.append(given))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    async def scenario(disk: Disk) -> None:
        claim = api.PersistentVolumeClaim(metadata=meta("c"))
        claim.spec.volumeName, claim.status.phase = "pv", "Bound"
        volume = api.PersistentVolume(metadata=api.ObjectMeta(name="pv"))
        volume.spec.local = api.LocalVolumeSource(path=str(tmp_path / "link"))
        volume.spec.claimRef = api.ObjectReference(uid=claim.metadata.uid)
        disk.api.put("/api/v1/namespaces/default/persistentvolumeclaims/c", claim)
        disk.api.put("/api/v1/persistentvolumes/pv", volume)
        pod = pod_with({"persistentVolumeClaim": {"claimName": "c"}})
        pod.spec.securityContext = api.PodSecurityContext(fsGroup=4321)
        await disk.manager.prepare(pod, NODE)
        assert owned == [((tmp_path / "real").resolve(), 4321, None)]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("type_", "made"), [("DirectoryOrCreate", "dir"), ("FileOrCreate", "file"), ("", "dir")]
)
def test_host_paths_are_made_where_their_type_says_so(tmp_path: Path, type_: str, made: str) -> None:
    path = tmp_path / "x"
    check_host_path(str(path), type_)
    assert (path.is_dir(), path.is_file()) == (made == "dir", made == "file")
    with pytest.raises(VolumeError, match="is not a socket file"):
        check_host_path(str(path), "Socket")


@pytest.mark.parametrize(
    ("policy", "code", "file", "message"),
    [
        ("File", 1, "said", "said"),
        ("File", 1, "", ""),
        ("FallbackToLogsOnError", 1, "", "one\ntwo three\n"),
        ("FallbackToLogsOnError", 0, "", ""),
        ("FallbackToLogsOnError", 1, "said", "said"),
    ],
)
def test_termination_messages(tmp_path: Path, policy: str, code: int, file: str, message: str) -> None:
    async def scenario(disk: Disk) -> None:
        pod = make_pod()
        await disk.manager.prepare(pod, NODE)
        last_words = Path((await disk.mounts(pod))["/dev/termination-log"].host_path)
        last_words.write_text(file)
        log = tmp_path / "logs/default_web_web-uid/app/0.log"
        log.parent.mkdir(parents=True)
        log.write_text(
            "2026-01-01T00:00:00Z stdout F one\n"
            "2026-01-01T00:00:00Z stderr P two \n"
            "2026-01-01T00:00:00Z stderr F three\n"
        )
        exited = Container(
            id="c1",
            sandbox_id="s1",
            name="app",
            attempt=0,
            state=State.EXITED,
            image="",
            image_ref="",
            created_at=NOW,
            finished_at=NOW + timedelta(seconds=1),
            exit_code=code,
            labels={
                CONTAINER_NAME: "app",
                "io.kubernetes.pod.name": "web",
                "io.kubernetes.pod.namespace": "default",
                "io.kubernetes.pod.uid": "web-uid",
            },
            annotations={MESSAGE_POLICY: policy},
        )
        assert disk.manager.termination_message("web-uid", exited) == message
        await disk.manager.forget(pod)
        assert not log.exists() and not last_words.exists()

    run(tmp_path, scenario)
