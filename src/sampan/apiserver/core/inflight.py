"""A bound on the requests that are under way at once, so that a flood is refused and not stored up."""

from __future__ import annotations

from typing import Final

from sampan.apiserver.core import status
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.users import MASTERS, User

# A write waits for the disk together with others, so many at once cost little and are committed together.
MAX_MODIFYING: Final = 1000
MAX_READING: Final = 2000
RETRY_AFTER_S: Final = 1
_READING: Final = frozenset({"get", "list"})
# Subresources that last as long as their client likes, and watches, are not counted.
_LONG: Final = frozenset({"log", "exec", "attach", "portforward", "proxy"})


class InFlight:
    """Counts requests; administrators and what runs long are not limited, as in kube-apiserver."""

    def __init__(self, modifying: int = MAX_MODIFYING, reading: int = MAX_READING) -> None:
        self._left = {False: modifying, True: reading}

    def enter(self, user: User, target: Target) -> bool | None:
        """Count a request; the result is for `leave`. Raises 429 where there are too many already."""
        if target.verb == "watch" or target.subresource in _LONG or MASTERS in user.groups:
            return None
        reads = target.verb in _READING
        if not self._left[reads]:
            raise status.too_many_requests(
                "too many requests are under way, please try again later.", RETRY_AFTER_S
            )
        self._left[reads] -= 1
        return reads

    def leave(self, entered: bool | None) -> None:
        """Give back what `enter` took."""
        if entered is not None:
            self._left[entered] += 1
