"""Images from a registry that asks for a password: Debian's docker-registry on loopback."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.node.containerd import config as configuration
from sampan.node.containerd.host import find_program
from sampan.node.images import builtin, oci
from sampan.node.images.archive import read_archive
from sampan.node.images.oci import ImageContent
from sampan.node.runtimes.cri.runtime import CriRuntime
from sampan.node.runtimes.runtime import Credentials, RuntimeFailure
from tests.node.conftest import Node
from tests.node.runtime_conformance import Subject, pod_of
from tests.ports import free_port

pytestmark = pytest.mark.containers

USER, PASSWORD = "sailor", "ahoy there"
DEADLINE_S = 20.0


@dataclass(frozen=True)
class Registry:
    """A running registry."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        connection.request(method, path, body, {"Authorization": f"Basic {token}"} | (headers or {}))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def push(self, name: str, tag: str, content: ImageContent) -> None:
        for blob in (*content.layers, content.config):
            begun = self.request("POST", f"/v2/{name}/blobs/uploads/")
            assert begun.status == 202
            location = begun.headers["Location"].partition(self.host)[2]
            headers = {"Content-Type": "application/octet-stream"}
            done = self.request("PUT", f"{location}&digest={blob.digest}", blob.data, headers)
            assert done.status == 201
        headers = {"Content-Type": oci.MANIFEST_TYPE}
        assert (
            self.request("PUT", f"/v2/{name}/manifests/{tag}", content.manifest.data, headers).status == 201
        )


def bcrypt(password: str) -> str:
    """The hash that the registry's htpasswd file wants; the C library makes it."""
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    hashed: bytes = libcrypt.crypt(password.encode(), b"$2b$04$abcdefghijklmnopqrstuu")
    assert hashed.startswith(b"$2b$")
    return hashed.decode()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    port = free_port()
    (tmp_path / "htpasswd").write_text(f"{USER}:{bcrypt(PASSWORD)}\n")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [find_program("docker-registry"), "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log
        )
    try:
        found = Registry(port)
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                if found.request("GET", "/v2/").status == 200:
                    break
            except ConnectionError:
                pass
            assert time.monotonic() < deadline_s, (tmp_path / "registry.log").read_text()
            time.sleep(0.02)
        yield found
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@pytest.fixture
def pushed(registry: Registry, node: Node, tmp_path: Path) -> str:
    """The reference of an image in the registry that the node does not have."""
    [(_, content)] = read_archive(builtin.build_busybox(tmp_path / "image.tar"))
    registry.push("team/tool", "1", content)
    for name, text in configuration.files(node.process.config, (registry.host,)).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return f"{registry.host}/team/tool:1"


def test_credentials_decide_whether_an_image_is_pulled(node: Node, pushed: str, tmp_path: Path) -> None:
    def open_runtime() -> CriRuntime:
        return CriRuntime(node.process.socket_path, cgroup_parent=node.cgroup_parent)

    async def main() -> None:
        runtime = open_runtime()
        assert await runtime.find_image(pushed) is None
        for wrong in (None, Credentials(USER, "guess")):
            with pytest.raises(RuntimeFailure) as failure:
                await runtime.pull_image(pushed, wrong)
            assert failure.value.reason == "ErrImagePull"
            assert "401" in str(failure.value) or "authorization" in str(failure.value)
        pulled = await runtime.pull_image(pushed, Credentials(USER, PASSWORD))
        assert pushed in pulled.tags
        assert any(digest.startswith(pushed.removesuffix(":1") + "@sha256:") for digest in pulled.digests)
        assert await runtime.find_image(pushed) == pulled
        subject = Subject(open_runtime, pulled.id, tmp_path / "logs", tmp_path)
        async with pod_of(subject, runtime) as pod:
            container = await pod.start("/bin/sh", "-c", "exit 9")
            assert (await pod.exited(container)).exit_code == 9
        await runtime.remove_image(pushed)
        await runtime.remove_image(pushed)
        assert await runtime.find_image(pushed) is None
        await runtime.close()

    asyncio.run(main())


def test_a_tag_that_is_not_there_cannot_be_pulled(node: Node, pushed: str) -> None:
    async def main() -> None:
        runtime = CriRuntime(node.process.socket_path)
        with pytest.raises(RuntimeFailure) as failure:
            await runtime.pull_image(pushed + "-missing", Credentials(USER, PASSWORD))
        assert failure.value.reason == "ErrImagePull"
        assert "not found" in str(failure.value)
        await runtime.close()

    asyncio.run(main())
