"""The blocks of a page that say they are tested, and how what they printed is compared with what they show.

A fence whose info string has the word `test` behind the language is run: a console block in one shell for the
whole page, a Python block as a program. `python file=NAME` writes the block to a file before anything runs.
The word `containers` says that the page needs root and what `sampan check --runtime containerd` names.
In shown output `…` stands for any text, and a line of nothing but `…` for any lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

_FENCE: Final = re.compile(r"^```(\w+)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT: Final = "$ "


class Block(msgspec.Struct, frozen=True):
    """A fenced block with its info string taken apart."""

    language: str
    words: frozenset[str]
    file: str
    text: str

    @property
    def tested(self) -> bool:
        return "test" in self.words or bool(self.file)


class Step(msgspec.Struct, frozen=True):
    """A command and what the page shows of its output."""

    command: str
    shown: tuple[str, ...]


def blocks(page: str) -> list[Block]:
    """Every tested block, in order."""
    found = []
    for language, info, text in _FENCE.findall(page):
        words = info.split()
        files = [word.removeprefix("file=") for word in words if word.startswith("file=")]
        found.append(Block(language, frozenset(words), files[0] if files else "", text))
    return [block for block in found if block.tested]


def needs_containers(page: str) -> bool:
    return any("containers" in block.words for block in blocks(page))


def steps(page: str) -> list[Step]:
    """The commands to run, in order; a Python block is one too."""
    found: list[Step] = []
    for number, block in enumerate(blocks(page)):
        if block.language == "console":
            found += console_steps(block.text)
        elif block.language == "python" and not block.file:
            found.append(Step(f"python {program_name(number)}", ("…",)))
    return found


def files(page: str) -> dict[str, str]:
    """What has to be on the disk before the first command: file name to text."""
    return {
        block.file or program_name(number): block.text
        for number, block in enumerate(blocks(page))
        if block.file or block.language == "python"
    }


def program_name(number: int) -> str:
    return f"block_{number}.py"


def console_steps(text: str) -> list[Step]:
    """Commands behind prompts, continued after a backslash, each with the lines below it."""
    found: list[Step] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(_PROMPT):
            command = line.removeprefix(_PROMPT)
            while command.endswith("\\"):
                command = f"{command[:-1].rstrip()} {next(lines).strip()}"
            found.append(Step(command, ()))
        else:
            assert found, f"the first line of a console block must start with {_PROMPT!r}: {line!r}"
            found[-1] = Step(found[-1].command, (*found[-1].shown, line))
    return found


def shows(shown: tuple[str, ...], printed: str) -> bool:
    """Whether the output is what the page shows; runs of blanks count as one."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    pattern = "".join(_line_pattern(" ".join(line.split())) for line in shown if line.strip())
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _line_pattern(line: str) -> str:
    if line == "…":
        return r"(?:[^\n]*\n)*"
    return r"[^\n]*".join(re.escape(part) for part in line.split("…")) + r"\n"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
