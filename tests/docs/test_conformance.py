"""Markers name sentences that exist; docs/conformance.md lists exactly those that no test is marked with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.docs import conformance
from tests.shared import shared

MEND = "run `python -m tests.docs.conformance`, and give each new line of docs/conformance.md its reason"


@pytest.fixture
def told() -> dict[str, list[str]]:
    return conformance.sections(shared("CONFORMANCE.txt").read_text(encoding="utf-8"))


def test_markers_are_literals() -> None:
    assert [f"{m.file}:{m.line}" for m in conformance.marks() if not m.sentence] == []


def test_sentences_are_told_apart_without_their_tags(told: dict[str, list[str]]) -> None:
    count = Counter(sentence for sentences in told.values() for sentence in sentences)
    assert [sentence for sentence, times in count.items() if times > 1] == []
    assert set(told) >= {"sig-api-machinery", "sig-apps", "sig-auth", "sig-node", "sig-storage"}


def test_marked_sentences_exist(told: dict[str, list[str]]) -> None:
    known = {sentence for sentences in told.values() for sentence in sentences}
    unknown = [f"{m.file}:{m.line}: {m.sentence}" for m in conformance.marks() if m.sentence not in known]
    assert unknown == [], "these are no lines of CONFORMANCE.txt"


def test_page_lists_the_sentences_without_a_test(
    told: dict[str, list[str]], record_property: Callable[[str, object], None]
) -> None:
    missing = conformance.without_test(told, {mark.sentence for mark in conformance.marks()})
    page = conformance.listed(conformance.PAGE.read_text(encoding="utf-8"))
    assert list(page) == list(told), MEND
    for section, sentences in told.items():
        record_property(section, missing[section])
        assert list(page[section].reasons) == missing[section], f"{section}: {MEND}"
        counts = (page[section].covered, page[section].total)
        assert counts == (len(sentences) - len(missing[section]), len(sentences)), f"{section}: {MEND}"


TEXT = """A heading.

## sig-one (2)
Boats [Serial] should float [Slow]
Boats should sink

## sig-two (1)
Oars [Privileged:ClusterAdmin] should row
"""

SOURCE = """
@pytest.mark.conformance("Boats should " "float")
@pytest.mark.conformance("Oars [Privileged:ClusterAdmin] should row", NAME)
def test(): ...
"""


def test_reading() -> None:
    told = conformance.sections(TEXT)
    assert told == {
        "sig-one": ["Boats should float", "Boats should sink"],
        "sig-two": ["Oars should row"],
    }
    found = list(conformance.marks_in(SOURCE, "x.py"))
    assert [m.sentence for m in found] == ["Boats should float", "Oars should row", ""]
    page = conformance.render("# Page\n\nWords.\n", told, {m.sentence for m in found})
    assert page.startswith("# Page\n\nWords.\n\n## sig-one: 1 of 2\n\n- Boats should sink — ")
    assert page.endswith("\n\n## sig-two: 1 of 1\n")
    reasoned = page.replace(conformance.NO_TEST_YET, "they do not")
    assert conformance.render(reasoned, told, {"Boats should float", "Oars should row"}) == reasoned
    assert conformance.listed(reasoned)["sig-one"] == (1, 2, {"Boats should sink": "they do not"})
    assert conformance.without_test(told, ["Boats should sink"])["sig-one"] == ["Boats should float"]
