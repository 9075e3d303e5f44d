"""Runs what the README and the tutorials tell people to type."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")))
TESTED = [page for page in PAGES if pages.blocks(pages.read(ROOT / page))]
PAGE_LIMIT_S = 240
# What the tutorials name; a test takes others, since these may be in use here.
PORT, NODE_PORT = "7443", "30090"


def _case(page: str) -> object:
    needy = pages.needs_containers(pages.read(ROOT / page))
    marks = [pytest.mark.timeout(PAGE_LIMIT_S + 60)]
    return pytest.param(page, id=page, marks=[*marks, *[pytest.mark.containers] * needy])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A working directory with a short name: sockets below it must fit into 100 bytes."""
    made = Path(tempfile.mkdtemp(prefix="sd-"))
    try:
        yield made
    finally:
        demo = made / "demo"
        if (demo / "config.json").exists():  # a page that failed half-way
            done = _sampan("down", "--delete", "--data-dir", str(demo))
            assert done.returncode == 0, done.stderr
        shutil.rmtree(made)


@pytest.mark.parametrize("page", [_case(page) for page in TESTED])
def test_page(page: str, folder: Path) -> None:
    text = _with_free_ports(pages.read(ROOT / page))
    for name, content in pages.files(text).items():
        (folder / name).write_text(content)
    steps = pages.steps(text)
    assert steps, f"{page} has blocks that say they are tested, and none that is a command"
    _run(steps, folder)
    for number, step in enumerate(steps):
        status = folder / f"{number}.rc"
        assert status.exists(), f"{step.command!r} did not come to its end"
        printed = (folder / f"{number}.out").read_text()
        assert status.read_text().strip() == "0", f"{step.command!r} failed:\n{printed}"
        assert pages.shows(step.shown, printed), (
            f"{step.command!r} printed\n{printed}\nwhere {page} shows\n" + "\n".join(step.shown)
        )


def _run(steps: list[pages.Step], folder: Path) -> None:
    """All commands in one shell, so that what one exports the next one sees; the first failure ends it."""
    script = "".join(
        f"{{\n{step.command}\n}} >{number}.out 2>&1\nrc=$?; echo $rc >{number}.rc; [ $rc = 0 ] || exit 0\n"
        for number, step in enumerate(steps)
    )
    subprocess.run(
        ["bash", "-c", script], cwd=folder, env=_environment(folder), check=True, timeout=PAGE_LIMIT_S
    )


def _environment(folder: Path) -> dict[str, str]:
    """This Python and its programs first, nobody's kubeconfig, and no bytecode beside the pages' files."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "PYTEST"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _sampan(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "sampan.cli.main", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PAGE_LIMIT_S)


def _with_free_ports(text: str) -> str:
    return text.replace(PORT, str(free_port())).replace(NODE_PORT, str(_free_node_port()))


def _free_node_port() -> int:
    # Node ports are the kernel's rules, not listeners: one that somebody answers on is taken.
    for port in range(32000 + os.getpid() % 500, 32768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no node port is free")


def test_every_tutorial_is_tested() -> None:
    tutorials = {page for page in PAGES if page.startswith("docs/tutorials/")}
    assert tutorials and tutorials <= set(TESTED)


def test_shell_words() -> None:
    """A command of a page that no shell can split would run as something else."""
    for page in TESTED:
        for step in pages.steps(pages.read(ROOT / page)):
            assert shlex.split(step.command), page
