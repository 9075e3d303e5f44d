"""Regular expressions as RE2 has them: time grows with the text alone, whatever the pattern is."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from sampan.machinery.cel.values import CelError

CACHED_PATTERNS: Final = 512
# Memory that one compiled pattern may take.
_PATTERN_BYTES: Final = 1 << 20


@lru_cache(maxsize=CACHED_PATTERNS)
def compiled(pattern: str) -> Any:
    """A pattern. Raises CelError, as Go's regexp words it."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as refused:
        why = refused.args[0] if refused.args else b""
        text = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise CelError(f"error parsing regexp: {text}") from None


def matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


def find(text: str, pattern: str) -> str:
    """The first match, empty where there is none."""
    found = compiled(pattern).search(text)
    return found.group(0) if found is not None else ""


def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    """The matches from the left, at most `limit` of them where that is not negative."""
    found: list[str] = []
    if limit == 0:
        return found
    for match in compiled(pattern).finditer(text):
        found.append(match.group(0))
        if len(found) == limit:
            break
    return found
