"""What the pages say about the tree and the command line is so."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from sampan.cli.main import build_parser
from tests.docs.test_pages import PAGES, ROOT

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]*src=\"([^\"]+)\"")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_MAP_ENTRY = re.compile(r"^  (\w+)/ ", re.MULTILINE)
_SHOWN_COMMAND = re.compile(r"^\| `sampan (\w+)", re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = _FENCED.sub("", (ROOT / page).read_text())
    targets = [one or other for one, other in _LINK.findall(text)]
    local = [target.partition("#")[0] for target in targets if not re.match(r"https?:|#", target)]
    missing = [target for target in local if not ((ROOT / page).parent / target).exists()]
    assert not missing, f"{page} links to {', '.join(missing)}"


def test_map_is_the_tree() -> None:
    source = (ROOT / "docs" / "ARCHITECTURE.md").read_text().partition("src/sampan/\n")[2]
    present = {p.parent.name for p in (ROOT / "src" / "sampan").glob("*/__init__.py") if _has_code(p.parent)}
    assert set(_MAP_ENTRY.findall(source.partition("\ntests/")[0])) == present


def test_map_has_the_tests() -> None:
    source = (
        (ROOT / "docs" / "ARCHITECTURE.md").read_text().partition("\ntests/\n")[2].partition("\nbench/")[0]
    )
    present = {p.parent.name for p in (ROOT / "tests").glob("*/__init__.py")}
    assert set(_MAP_ENTRY.findall(f"{source}\n")) == present


def _has_code(package: Path) -> bool:
    return any(p.stat().st_size for p in package.rglob("*.py"))


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md"])
def test_every_command_is_listed(page: str) -> None:
    actions = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert set(_SHOWN_COMMAND.findall((ROOT / page).read_text())) == set(actions[0].choices)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    unlisted = [page for page in PAGES if page.startswith("docs/") and page != "docs/README.md"]
    assert [page for page in unlisted if f"({page.removeprefix('docs/')})" not in index] == []
