"""The real kubectl, in every version that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

_FOLDERS = ("/usr/lib/google-cloud-sdk/bin", "/usr/local/bin", "/opt/kubectl")
_TIMEOUT_S = 90


@lru_cache(maxsize=1)
def binaries() -> dict[str, str]:
    """Version ("1.32") to path of each kubectl from 1.30 on."""
    candidates = [shutil.which("kubectl")]
    candidates += [str(p) for folder in _FOLDERS for p in sorted(Path(folder).glob("kubectl*"))]
    found: dict[str, str] = {}
    for path in candidates:
        if path is None or not os.access(path, os.X_OK):
            continue
        done = subprocess.run(
            [path, "version", "--client", "-o", "json"], capture_output=True, check=False, timeout=_TIMEOUT_S
        )
        if done.returncode:
            continue
        info = msgspec.json.decode(done.stdout)["clientVersion"]
        minor = int("".join(c for c in info["minor"] if c.isdigit()))
        if minor >= 30:
            found.setdefault(f"1.{minor}", path)
    return found


def newest() -> str:
    """The newest kubectl. Skips the test where there is none, but fails it in CI."""
    if not binaries():
        message = "there is no kubectl of 1.30 or newer on this machine; put one on the PATH"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return binaries()[max(binaries(), key=lambda v: int(v.split(".")[1]))]


class Kubectl:
    """Runs one kubectl against one cluster."""

    def __init__(self, kubeconfig: Path, binary: str = "") -> None:
        self.binary = binary or newest()
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_s: float = _TIMEOUT_S) -> str:
        """Run it; its output. Fails the test with what it said when it fails."""
        done = self.run(*arguments, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = _TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        return subprocess.run(
            [self.binary, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=timeout_s,
        )

    def json(self, *arguments: str) -> Any:
        """Run it with `-o json`."""
        return msgspec.json.decode(self(*arguments, "-o", "json"))
