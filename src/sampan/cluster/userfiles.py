"""Configuration files that users name on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sampan.base.errors import SampanError

T = TypeVar("T")


def load(path: Path, what: str, parse: Callable[[Any], T]) -> T:
    """What `parse` makes of a YAML file, which errors call `what`; it raises ValueError for what is wrong.

    Raises SampanError that names the file and what is wrong.
    """
    import yaml

    try:
        return parse(yaml.safe_load(path.read_text()))
    except OSError as problem:
        raise SampanError(
            f"Cannot read the {what} {path}: {problem.strerror}; name a file that exists."
        ) from problem
    except (yaml.YAMLError, ValueError) as problem:
        raise SampanError(f"The {what} {path} cannot be used: {problem}.") from None
