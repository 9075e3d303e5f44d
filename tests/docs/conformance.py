"""Which sentences of Kubernetes' conformance tests have a test here, by the marker `conformance`.

    @pytest.mark.conformance("Watchers should be able to start watching from a specific resource version")

The sentences are the lines of CONFORMANCE.txt beside the checkout. Their tags in brackets may be left out.
The marker takes string literals alone, so that this module finds them by reading the tests, importing none.

`python -m tests.docs.conformance` writes docs/conformance.md anew; reasons that stand there are kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.shared import SHARED

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "conformance.md"
MARKER: Final = "conformance"
NO_TEST_YET: Final = "no test is marked with it yet"

_TAG = re.compile(r"\s*\[[^\]]*\]")
_SECTION = re.compile(r"^## (\S+) \(\d+\)$")
# What stands after the sections begins with this.
_AFTER: Final = "\n## The original suite, of the API"
_LISTED_SECTION = re.compile(r"^## (\S+): (\d+) of (\d+)$")
_LISTED = re.compile(r"^- (.+?) — (.+)$")


class Mark(NamedTuple):
    """One use of the marker. `sentence` is "" where it is no literal."""

    sentence: str
    file: str
    line: int


class Listed(NamedTuple):
    """A section of the page: how many sentences have a test, of how many, and why the others have none."""

    covered: int
    total: int
    reasons: dict[str, str]


def plain(sentence: str) -> str:
    """The sentence without its tags in brackets."""
    return " ".join(_TAG.sub("", sentence).split())


def sections(text: str) -> dict[str, list[str]]:
    """CONFORMANCE.txt: section to plain sentences."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            current = found.setdefault(heading[1], [])
        elif current is not None and line.strip():
            current.append(plain(line))
    return found


def marks_in(source: str, file: str) -> Iterator[Mark]:
    """Every use of the marker in one file of tests."""
    if MARKER not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == MARKER:
            for argument in node.args:
                literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                yield Mark(plain(argument.value) if literal else "", file, argument.lineno)


def marks(folder: Path = ROOT / "tests") -> list[Mark]:
    return [
        mark
        for path in sorted(folder.rglob("test_*.py"))
        for mark in marks_in(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


def listed(page: str) -> dict[str, Listed]:
    """What docs/conformance.md says, by section."""
    found: dict[str, Listed] = {}
    current: Listed | None = None
    for line in page.splitlines():
        heading = _LISTED_SECTION.match(line)
        if heading:
            current = found[heading[1]] = Listed(int(heading[2]), int(heading[3]), {})
        elif (entry := _LISTED.match(line)) and current is not None:
            current.reasons[entry[1]] = entry[2]
    return found


def without_test(told: Mapping[str, list[str]], marked: Iterable[str]) -> dict[str, list[str]]:
    """Section to the sentences that no test is marked with."""
    covered = set(marked)
    return {section: [s for s in sentences if s not in covered] for section, sentences in told.items()}


def render(page: str, told: Mapping[str, list[str]], marked: Iterable[str]) -> str:
    """The page with its sections made anew; what stands before and after them, and reasons, stay."""
    known = {sentence: reason for each in listed(page).values() for sentence, reason in each.reasons.items()}
    lines = [page.partition("\n## sig-")[0].rstrip()]
    for section, missing in without_test(told, marked).items():
        total = len(told[section])
        lines += ["", f"## {section}: {total - len(missing)} of {total}"]
        lines += ["", *(f"- {s} — {known.get(s, NO_TEST_YET)}" for s in missing)] if missing else []
    _, heading, rest = page.partition(_AFTER)
    return "\n".join(lines) + "\n" + (f"{heading}{rest}" if heading else "")


def main() -> None:
    told = sections((SHARED / "CONFORMANCE.txt").read_text(encoding="utf-8"))
    page = render(PAGE.read_text(encoding="utf-8"), told, {mark.sentence for mark in marks()})
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
