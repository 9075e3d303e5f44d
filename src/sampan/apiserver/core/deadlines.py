"""How long a client is willing to wait: the parameter `timeout`. Pure."""

from __future__ import annotations

import re
from typing import Final

from sampan.apiserver.core.status import StatusError, bad_request

# No request may take longer, whatever its client says; as kube-apiserver's --request-timeout.
MAX_S: Final = 60.0
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_WHOLE: Final = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_MAX_CHARS: Final = 64


def parse(text: str) -> float:
    """Seconds of a Go duration ("1m30s"), 60 at most; 60 for zero and nothing. Raises 400."""
    if text in ("", "0"):
        return MAX_S
    if len(text) > _MAX_CHARS or not _WHOLE.fullmatch(text):
        shown = text[:_MAX_CHARS]
        raise bad_request(f'invalid timeout specified in the request URL - time: invalid duration "{shown}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if text.startswith("-") or not seconds:
        return MAX_S
    return min(seconds, MAX_S)


def exceeded() -> StatusError:
    """The answer to a client whose time is up; what it asked for may be done all the same."""
    return StatusError(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
