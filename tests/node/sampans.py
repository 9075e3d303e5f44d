"""`sampan` as a user runs it: in a process of its own, in a directory of its own, seen from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

from sampan.cluster.running import Lock
from tests.ports import free_port

DEADLINE_S = 60.0
T = TypeVar("T")


class Said:
    """What a command printed, and its exit status."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.errors = done.returncode, done.stdout, done.stderr

    def complaint(self) -> str:
        """The one sentence of a command that failed; the lines before it are of steps that were done."""
        assert self.status == 1, (self.status, self.out, self.errors)
        lines = self.errors.strip().splitlines()
        assert "Traceback" not in self.errors, self.errors
        assert [line for line in lines if line.startswith("sampan")] == lines[-1:], self.errors
        return lines[-1]


class Machine:
    """A network namespace to run `sampan` in; "" is the machine itself."""

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace

    def argv(self, *command: str) -> list[str]:
        # Not `ip netns exec`, which hides the mounts below /sys.
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []
        return [*inside, *command]

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*command), capture_output=True, text=True, timeout=110, check=False, **options
        )

    def output(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout


class Sampan:
    """One data directory."""

    def __init__(self, machine: Machine, root: Path, *prefix: str) -> None:
        self.machine, self.root, self.prefix = machine, root, prefix
        self.port = free_port()
        self.env = {**os.environ, "HOME": str(root.parent)}

    def __call__(self, *arguments: str) -> Said:
        return Said(self.machine.run(*self.argv(*arguments), env=self.env, cwd=self.root.parent))

    def argv(self, *arguments: str) -> list[str]:
        command = [*self.prefix, sys.executable, "-m", "sampan.cli.main", *arguments]
        return [*command, "--data-dir", str(self.root)]

    def up(self, *arguments: str) -> Said:
        said = self.try_up(*arguments)
        assert said.status == 0, said.errors + self.logs()
        return said

    def try_up(self, *arguments: str) -> Said:
        return self(
            "up", "--no-merge", *([] if "--port" in arguments else ["--port", str(self.port)]), *arguments
        )

    def down(self, *arguments: str) -> Said:
        said = self("down", *arguments)
        assert said.status == 0, said.errors + self.logs()
        return said

    def logs(self) -> str:
        return "\n".join(f"== {p}\n{p.read_text()[-1500:]}" for p in sorted(self.root.glob("logs/*.log")))

    def kubectl(self, *arguments: str, text: str | None = None) -> Said:
        command = ("kubectl", "--kubeconfig", str(self.root / "kubeconfig"), *arguments)
        return Said(self.machine.run(*command, input=text, env=self.env))

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        said = self.kubectl("get", *arguments, "-o", "json")
        assert said.status == 0, said.errors
        found: list[dict[str, Any]] = json.loads(said.out)["items"]
        return found

    def parts(self) -> dict[str, int]:
        """The pid of each part, by name."""
        return {part["name"]: part["pid"] for part in json.loads((self.root / "run/parts.json").read_bytes())}

    def supervisor(self) -> int:
        return Lock.holder(self.root / "run")

    def traces(self) -> list[str]:
        """Processes and mounts that have to do with this data directory."""
        found = []
        for pid, line in command_lines():
            if str(self.root) in line:
                found.append(f"process {pid}: {line}")
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [line for line in mounts if f" {self.root}/" in line]
        return found


def command_lines() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue


def snapshot(machine: Machine) -> dict[str, Any]:
    """All of the machine that a cluster changes while it is up."""
    settings = machine.output("sysctl", "-a", "-r", r"^net\.(ipv4\.ip_|ipv4\.conf\.(all|default)|bridge)")
    return {
        "links": machine.output("ip", "-o", "link").count("\n"),
        "routes": machine.output("ip", "route", "show", "table", "all"),
        "addresses": machine.output("ip", "-o", "-4", "address"),
        "tables": machine.output("nft", "list", "ruleset"),
        "namespaces": sorted(p.name for p in Path("/run/netns").iterdir()),
        "settings": settings,
    }


def cgroups(name: str) -> list[str]:
    """The cgroups of a cluster, by its id."""
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/sampan-{name}*")]


@contextmanager
def sampan_in(machine: Machine, *prefix: str) -> Iterator[Sampan]:
    """A data directory that is not there yet; whatever comes of it is removed at the end."""
    home = Path(mkdtemp(prefix="sampan-ud-", dir="/tmp"))
    home.chmod(0o755)
    sampan = Sampan(machine, home / "d", *prefix)
    try:
        yield sampan
    finally:
        Sampan(machine, sampan.root)("down", "--delete")
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def own_network() -> Iterator[Machine]:
    """A network namespace as bare as a machine without a network."""
    name = f"sampan-t{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        machine = Machine(name)
        machine.output("ip", "link", "set", "lo", "up")
        yield machine
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def eventually(look: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """The first true value that `look` gives."""
    end_s = time.monotonic() + deadline_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end_s, "what was waited for did not come"
        time.sleep(0.1)
