"""Images: references, archives, the pause program."""

from __future__ import annotations

import gzip
import io
import os
import platform
import signal
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.images import archive, builtin, elf, oci, reference
from sampan.node.images.oci import ImageConfig, ImageError


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("user/tool", "docker.io/user/tool:latest"),
        ("index.docker.io/tool", "docker.io/library/tool:latest"),
        ("localhost/tool", "localhost/tool:latest"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
        ("registry.example.com/a", "registry.example.com/a:latest"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
        ("a:1@sha256:" + "0" * 64, "docker.io/library/a:1@sha256:" + "0" * 64),
    ],
)
def test_references_are_completed(text: str, full: str) -> None:
    parsed = reference.parse(text)
    assert str(parsed) == full
    assert reference.parse(full) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPPER",
        "a b",
        "a:",
        ":tag",
        "a@sha256:12",
        "a//b",
        "-a",
        "a/",
        "0" * 64,
        "a:" + "t" * 129,
        "a" * 300,
        "a" * 240,  # as docker.io/library/aaa…
    ],
)
def test_malformed_references_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid image reference"):
        reference.parse(text)


@given(
    st.from_regex(
        r"[a-z0-9]+(?:-[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)?){0,2}(?::[a-zA-Z0-9_]{1,9})?",
        fullmatch=True,
    ).filter(lambda text: len(text) < 200)  # longer ones are refused
)
def test_completing_twice_changes_nothing(text: str) -> None:
    full = str(reference.parse(text))
    assert str(reference.parse(full)) == full


def tree(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/run").write_text("#!/bin/sh\n")
    (root / "bin/run").chmod(0o755)
    (root / "bin/link").symlink_to("run")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


def test_the_same_directory_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    os.utime(second / "bin/run", (1, 1))
    one = oci.build_image(first, "x:1").read_bytes()
    assert oci.build_image(second, "x:1").read_bytes() == one


def test_a_layer_keeps_modes_and_links_and_forgets_owners(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(oci.layer_of(tree(tmp_path / "a")))) as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert list(members) == ["bin", "bin/link", "bin/run", "tmp"]
    assert members["bin/link"].linkname == "run"
    assert members["bin/run"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}


def test_image_json_says_how_containers_start(tmp_path: Path) -> None:
    root = tree(tmp_path / "a")
    (root / "image.json").write_text(
        '{"entrypoint": ["/bin/run"], "cmd": ["-v"], "env": {"B": "2", "A": "1"}, '
        '"user": "5:6", "workdir": "/tmp"}'
    )
    [(name, content)] = archive.read_archive(oci.build_image(root, "x:1"))
    config = msgspec.json.decode(content.config.data)
    assert name == "x:1"
    assert config["config"] == {
        "Entrypoint": ["/bin/run"],
        "Cmd": ["-v"],
        "Env": ["A=1", "B=2"],
        "User": "5:6",
        "WorkingDir": "/tmp",
    }
    assert config["rootfs"]["diff_ids"] == [content.layers[0].digest]
    with tarfile.open(fileobj=io.BytesIO(content.layers[0].data)) as tar:
        assert "image.json" not in tar.getnames()


@pytest.mark.parametrize("text", ["{", '{"entrypiont": []}', '{"cmd": "sh"}'])
def test_a_bad_image_json_is_named(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path / "a")
    (root / "image.json").write_text(text)
    with pytest.raises(ImageError, match=r"image\.json is not a valid image configuration"):
        oci.build_image(root, "x:1")


def test_what_is_no_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not a directory"):
        oci.build_image(tmp_path / "absent", "x:1")


def docker_archive(layers: list[bytes]) -> bytes:
    files = {"config.json": msgspec.json.encode({"architecture": "amd64", "os": "linux"})}
    files |= {f"{index}/layer.tar": layer for index, layer in enumerate(layers)}
    entry = {
        "Config": "config.json",
        "RepoTags": ["a:1", "b:2"],
        "Layers": [name for name in files if "/" in name],
    }
    return oci.tar_of(files | {"manifest.json": msgspec.json.encode([entry])})


def test_docker_save_archives_are_read(tmp_path: Path) -> None:
    layer = oci.tar_of({"file": b"x"})
    (tmp_path / "image.tar").write_bytes(docker_archive([layer, gzip.compress(layer)]))
    found = archive.read_archive(tmp_path / "image.tar")
    assert [name for name, _ in found] == ["a:1", "b:2"]
    assert [each.data for each in found[0][1].layers] == [layer, layer]


def test_of_several_platforms_ours_is_taken(tmp_path: Path) -> None:
    contents = {
        machine: oci.image_content([oci.tar_of({"machine": machine.encode()})], ImageConfig(), machine)
        for machine in ("x86_64", "aarch64")
    }
    inner = oci.Blob(
        oci.INDEX_TYPE,
        msgspec.json.encode(
            {
                "manifests": [
                    content.manifest.descriptor()
                    | {"platform": {"os": "linux", "architecture": oci.architecture(machine)}}
                    for machine, content in contents.items()
                ]
            }
        ),
    )
    blobs = [
        inner,
        *(blob for each in contents.values() for blob in (each.manifest, each.config, *each.layers)),
    ]
    index = {"manifests": [inner.descriptor() | {"annotations": {oci.REF_ANNOTATION: "x:1"}}]}
    files = {f"blobs/sha256/{blob.digest.removeprefix('sha256:')}": blob.data for blob in blobs}
    (tmp_path / "image.tar").write_bytes(oci.tar_of(files | {"index.json": msgspec.json.encode(index)}))
    for machine, content in contents.items():
        assert archive.read_archive(tmp_path / "image.tar", machine) == [("x:1", content)]
    with pytest.raises(ImageError, match="no named image for linux/riscv64"):
        archive.read_archive(tmp_path / "image.tar", "riscv64")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"nonsense", "not a tar archive"), (oci.tar_of({"x": b""}), "neither an OCI image archive nor")],
)
def test_what_is_no_image_archive_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "image.tar").write_bytes(data)
    with pytest.raises(ImageError, match=message):
        archive.read_archive(tmp_path / "image.tar")


def test_an_archive_that_lacks_a_layer_is_named(tmp_path: Path) -> None:
    entry = {"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["gone.tar"]}
    files = {"config.json": b"{}", "manifest.json": msgspec.json.encode([entry])}
    (tmp_path / "image.tar").write_bytes(oci.tar_of(files))
    with pytest.raises(ImageError, match=r"lacks gone\.tar"):
        archive.read_archive(tmp_path / "image.tar")


def test_the_python_host_image_has_mount_points_only(tmp_path: Path) -> None:
    [(name, content)] = archive.read_archive(builtin.build_python_host(tmp_path / "image.tar"))
    assert name == builtin.PYTHON_HOST
    with tarfile.open(fileobj=io.BytesIO(content.layers[0].data)) as tar:
        directories = {member.name for member in tar.getmembers() if member.isdir()}
        files = {member.name for member in tar.getmembers() if member.isfile()}
    assert {"tmp", "etc", "usr", "lib", "lib64", "bin", "proc"} <= directories
    assert files == {"etc/passwd", "etc/group", "etc/nsswitch.conf"}


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_pause_program_is_a_small_elf(machine: str, number: int) -> None:
    program = elf.pause(machine)
    assert program[:4] == b"\x7fELF"
    assert struct.unpack_from("<HH", program, 16) == (2, number)
    entry = struct.unpack_from("<Q", program, 24)[0]
    load = struct.unpack_from("<IIQQQQQQ", program, 64)
    assert load[0] == 1
    assert load[5] == len(program) < 600
    assert load[3] + 120 < entry < load[3] + len(program)
    # Both signals' actions point into the code.
    handler = struct.unpack_from("<Q", program, 120 + 32)[0]
    assert entry < handler < load[3] + len(program)
    assert struct.unpack_from("<Q", program, 120)[0] == 1


def test_the_arm_program_waits_in_a_loop() -> None:
    program = elf.pause("aarch64")
    entry, handler = struct.unpack_from("<Q", program, 24)[0], struct.unpack_from("<Q", program, 152)[0]
    words = struct.unpack(f"<{(handler - entry) // 4}I", program[entry - 0x400000 : handler - 0x400000])
    branch = words[-1]
    assert branch >> 26 == 0b000101
    back = (branch & 0x3FFFFFF) - (1 << 26)
    # movz x0, #0: the first instruction of the wait.
    assert words[len(words) - 1 + back] == 0xD2800000


@pytest.mark.skipif(
    not elf.supported(platform.machine()), reason="its instructions are not written for this machine"
)
def test_the_pause_program_waits_reaps_and_leaves_on_term(tmp_path: Path) -> None:
    path = tmp_path / "pause"
    path.write_bytes(elf.pause(platform.machine()))
    path.chmod(0o755)
    process = subprocess.Popen([path])
    try:
        deadline_s = time.monotonic() + 10
        while True:
            status = Path(f"/proc/{process.pid}/status").read_text()
            masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
            caught = int(masks["SigCgt"], 16)
            if caught >> (signal.SIGINT - 1) & 1:
                break
            assert time.monotonic() < deadline_s
        assert caught >> (signal.SIGTERM - 1) & 1
        assert int(masks["SigIgn"], 16) >> (signal.SIGCHLD - 1) & 1
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
