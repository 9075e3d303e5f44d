"""How long a client is willing to wait: the parameter `timeout`. Pure."""

from __future__ import annotations

from typing import Final

from sampan.apiserver.core.status import StatusError, bad_request
from sampan.machinery import durations

# No request may take longer, whatever its client says; as kube-apiserver's --request-timeout.
MAX_S: Final = 60.0


def parse(text: str) -> float:
    """Seconds of a Go duration ("1m30s"), 60 at most; 60 for zero and nothing. Raises 400."""
    if not text:
        return MAX_S
    try:
        seconds = durations.parse_s(text)
    except durations.DurationError as error:
        raise bad_request(f"invalid timeout specified in the request URL - {error}") from None
    return min(seconds, MAX_S) if seconds > 0 else MAX_S


def exceeded() -> StatusError:
    """The answer to a client whose time is up; what it asked for may be done all the same."""
    return StatusError(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
