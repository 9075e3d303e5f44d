"""The JavaScript client @kubernetes/client-node, as npm installs it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.testing.cluster import Cluster

SOURCES = Path(__file__).parent / "javascript"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sampan-tests"
INSTALL_LIMIT_S = 240
RUN_LIMIT_S = 60

pytestmark = [pytest.mark.clients, pytest.mark.timeout(INSTALL_LIMIT_S + RUN_LIMIT_S)]


@pytest.fixture(scope="module")
def installed() -> Path:
    """A folder with the client in its node_modules. It is kept from one run to the next."""
    if shutil.which("npm") is None:
        message = "there is no npm on this machine; `make test-packages` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    wanted = (SOURCES / "package.json").read_bytes()
    folder = CACHE / f"javascript-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_bytes(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT_S
        )
        assert done.returncode == 0, done.stderr or done.stdout
        (folder / "complete").touch()
    return folder


def test_the_javascript_client(live: Cluster, own: str, installed: Path) -> None:
    """Typed and generic objects, patches, pages, an informer, a watch, logs, exec."""
    # Modules are looked for beside the script.
    script = installed / "objects.mjs"
    script.write_bytes((SOURCES / "objects.mjs").read_bytes())
    done = subprocess.run(
        ["node", str(script), str(live.kubeconfig), own],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
