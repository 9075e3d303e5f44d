"""Manifest files as the objects in them; apart from applying: they are read before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sampan.base.errors import SampanError


def read(paths: list[Path]) -> list[dict[str, Any]]:
    """The objects in YAML files and folders of them. Raises SampanError that names the bad file."""
    return [document for path in paths for file in _files(path) for document in _documents(file)]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
    else:
        yield path


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = [d for d in yaml.safe_load_all(file.read_text()) if d is not None]
    except OSError as problem:
        raise SampanError(f"{file} cannot be read: {problem.strerror}; name a file or a folder.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise SampanError(f"{file} is no YAML ({_sentence(problem)}); mend it and apply it again.") from None
    for document in documents:
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise SampanError(
                f"{file} holds something without apiVersion and kind; mend it and apply it again."
            )
        yield document


def _sentence(problem: Exception) -> str:
    """PyYAML draws the place over several lines; its line number is enough."""
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        return f"line {problem.problem_mark.line + 1}: {problem.problem}"
    return " ".join(str(problem).split())
