"""The private containerd's configuration, and what is read of the host."""

from __future__ import annotations

import json
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.containerd import cleanup, host
from sampan.node.containerd import config as configuration
from sampan.node.containerd.config import ContainerdConfig, RuntimeHandler

CONFIG = ContainerdConfig(
    data_dir="/var/lib/sampan/a", sandbox_image="sampan.local/pause:1", bridge="sampan-a1"
)
CRI = "io.containerd.grpc.v1.cri"


def test_all_paths_lie_in_the_data_directory() -> None:
    written = configuration.files(CONFIG, ("127.0.0.1:5000",))
    assert all(path.startswith("/var/lib/sampan/a/") for path in written)
    settings = tomllib.loads(written[CONFIG.config_path])
    assert settings["version"] == 2
    assert settings["root"] == "/var/lib/sampan/a/root"
    assert settings["state"] == "/var/lib/sampan/a/state"
    assert settings["grpc"]["address"] == "/var/lib/sampan/a/containerd.sock"
    cri = settings["plugins"][CRI]
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == "sampan.local/pause:1"
    assert cri["cni"]["conf_dir"] == "/var/lib/sampan/a/cni"
    assert cri["registry"]["config_path"] == "/var/lib/sampan/a/certs.d"
    hosts = tomllib.loads(written["/var/lib/sampan/a/certs.d/127.0.0.1:5000/hosts.toml"])
    assert hosts["server"] == "http://127.0.0.1:5000"
    assert hosts["host"]["http://127.0.0.1:5000"]["capabilities"] == ["pull", "resolve"]


def test_runtimes_have_their_options() -> None:
    config = msgspec.structs.replace(
        CONFIG,
        systemd_cgroup=True,
        snapshotter="native",
        handlers=(
            RuntimeHandler(name="runsc", runtime_type="io.containerd.runsc.v1"),
            RuntimeHandler(name="crun", runtime_type="io.containerd.runc.v2", binary="/usr/bin/crun"),
        ),
    )
    containerd = tomllib.loads(configuration.render_config(config))["plugins"][CRI]["containerd"]
    assert containerd["snapshotter"] == "native"
    assert containerd["runtimes"]["runc"]["options"] == {
        "SystemdCgroup": True,
        "Root": "/var/lib/sampan/a/state/runc",
    }
    assert containerd["runtimes"]["crun"]["options"]["BinaryName"] == "/usr/bin/crun"
    assert containerd["runtimes"]["runsc"] == {"runtime_type": "io.containerd.runsc.v1"}


@given(st.text(min_size=1, max_size=40))
def test_any_text_survives_in_toml(text: str) -> None:
    config = msgspec.structs.replace(CONFIG, sandbox_image=text)
    try:
        settings = tomllib.loads(configuration.render_config(config))
    except tomllib.TOMLDecodeError:
        assert "\x7f" in text  # JSON lets it stand, TOML does not; no image name has it
        return
    assert settings["plugins"][CRI]["sandbox_image"] == text


def test_the_network_is_a_bridge_without_masquerade() -> None:
    config = msgspec.structs.replace(CONFIG, pod_subnets=("10.1.0.0/24", "fd00::/64"), mtu=1400)
    network = json.loads(configuration.render_cni(config))
    [bridge] = network["plugins"]
    assert (bridge["bridge"], bridge["ipMasq"], bridge["mtu"]) == ("sampan-a1", False, 1400)
    assert bridge["ipam"]["dataDir"] == "/var/lib/sampan/a/ipam"
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]


@given(st.text(max_size=60))
def test_bridge_names_fit(cluster_id: str) -> None:
    assert (
        configuration.problems(msgspec.structs.replace(CONFIG, bridge=configuration.bridge_name(cluster_id)))
        == []
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"data_dir": "/" + "d" * 100}, "socket path"),
        ({"bridge": "b" * 16}, "bridge name"),
        ({"pod_subnets": ()}, "no subnet"),
    ],
)
def test_impossible_choices_are_named(changes: dict[str, object], word: str) -> None:
    [problem] = configuration.problems(msgspec.structs.replace(CONFIG, **changes))
    assert word in problem


MOUNTS = (
    "21 1 254:0 / / rw - ext4 /dev/vda rw\n"
    "30 21 0:40 / /var/lib/docker/x rw shared:1 - overlay overlay rw\n"
    "31 21 0:41 / /data rw - tmpfs tmpfs rw\n"
    "32 31 0:42 / /data/state/a\\040b rw - overlay overlay rw\n"
    "33 31 0:43 / /data/state/a\\040b/deep rw - nsfs nsfs rw\n"
    "34 21 0:44 / /database rw - ext4 /dev/vdb rw\n"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/data/x", "tmpfs"), ("/database", "ext4"), ("/home", "ext4"), ("/var/lib/docker/x/y", "overlay")],
)
def test_the_filesystem_below_a_path(path: str, kind: str) -> None:
    assert host.filesystem_of(MOUNTS, path) == kind


def test_the_snapshotter_follows_the_kernel_and_the_filesystem() -> None:
    kernel = "nodev\toverlay\n\text4\n"
    assert host.choose_snapshotter(kernel, MOUNTS, "/data/x") == "overlayfs"
    assert host.choose_snapshotter(kernel, MOUNTS, "/var/lib/docker/x/y") == "native"
    assert host.choose_snapshotter("\text4\n", MOUNTS, "/data/x") == "native"


def test_capabilities_are_read_from_the_status() -> None:
    status = "Name:\tx\nCapEff:\t0000000001000000\n"
    assert host.has_capability(status, 24)
    assert not host.has_capability(status, 23)
    assert not host.has_capability("", 24)


def test_container_ids_in_cgroups() -> None:
    text = "4:memory:/sampan-x/abc\n0::/kubepods.slice/cri-containerd-def.scope\n"
    assert cleanup.cgroup_names(text) == {"abc", "def"}
