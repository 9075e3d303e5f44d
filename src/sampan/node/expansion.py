"""`$(VAR)` in commands, arguments, environment values and subPathExpr. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sampan.node.errors import ConfigError

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` becomes `$`; a reference to what is not there stays as it is."""
    if "$" not in text:
        return text

    def replaced(found: re.Match[str]) -> str:
        name = found.group(1)
        if name is None:
            return "$"
        return values.get(name, found.group(0))

    return _REFERENCE.sub(replaced, text)


def expand_strictly(text: str, values: Mapping[str, str]) -> str:
    """As `expand`, for subPathExpr. Raises ConfigError for a reference to what is not there."""
    missing = [
        found.group(1)
        for found in _REFERENCE.finditer(text)
        if found.group(1) is not None and found.group(1) not in values
    ]
    if missing:
        raise ConfigError(f"missing value for {missing[0]!r}")
    return expand(text, values)
