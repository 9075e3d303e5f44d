"""docs/controllers.md has a section for every controller, which names what it watches and what it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sampan.client.resources import resource_of
from sampan.cluster import pki
from sampan.controllers import catalog
from sampan.controllers.certificates.issuing import Authority
from sampan.controllers.nodeipam import Ranges
from sampan.controllers.runtime.controller import Controller

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "controllers.md").read_text()
# An event in a plan: its type, then its reason.
_EVENT = re.compile(r'"(?:Normal|Warning)",\s*"([A-Z]\w+)"')


def everything() -> tuple[Controller, ...]:
    """The catalog with nothing left out."""
    made = pki.make_authority("sampan", datetime.now(UTC))
    key = pki.make_signing_key()
    return catalog.controllers(
        catalog.Settings(
            ca_bundle="pem",
            trust_bundle="pem",
            authority=Authority(made.certificate, made.key),
            token_key=key.key,
            node_ranges=Ranges(("10.50.0.0/16",)),
        )
    )


def sections() -> dict[str, str]:
    """Name of a controller to the text of its section."""
    part = PAGE.partition("\n## Each of them\n")[2].partition("\n## ")[0]
    found = re.split(r"^### (\S+)$", part, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_each_controller_has_its_section_in_the_catalog_s_order() -> None:
    assert list(sections()) == [one.name for one in everything()]


@pytest.mark.parametrize("one", everything(), ids=lambda one: str(one.name))
def test_a_section_names_the_kinds_that_are_watched(one: Controller) -> None:
    text = sections()[one.name]
    entry = re.search(r"^- Watches: (.+?)(?=^- |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert entry is not None, f"the section {one.name} has no '- Watches: '"
    assert re.search(r"^- Writes: ", text, flags=re.MULTILINE)
    named = entry[1].partition(";")[0]
    every = "every kind" in named
    told = {word for word in re.findall(r"\w+", named) if word[0].isupper()}
    assert told == {resource_of(kind).kind for kind in one.kinds}
    assert every == any(watch.kind is None for watch in one.watches)


def test_every_event_is_told() -> None:
    sources = (ROOT / "src" / "sampan" / "controllers").rglob("*.py")
    reasons = {reason for path in sources for reason in _EVENT.findall(path.read_text())}
    assert len(reasons) > 40
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()
