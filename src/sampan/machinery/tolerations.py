"""Which tolerations stand against which taints, of nodes and of devices. Pure.

Both kinds of taints have a key, a value and an effect, and both kinds of tolerations these with an operator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

NO_EXECUTE: Final = "NoExecute"
# Effects of node taints that keep new pods away.
KEEP_AWAY: Final = ("NoSchedule", NO_EXECUTE)
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")


def tolerates(toleration: Any, taint: Any) -> bool:
    """Whether one toleration covers one taint, whatever its time (core/v1 Toleration.ToleratesTaint).

    No effect is every effect and no key every key; the operator is Equal where none is said. An operator that
    nobody knows covers nothing.
    """
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    operator = toleration.operator or "Equal"
    if operator == "Exists":
        return True
    wanted, present = toleration.value or "", taint.value or ""
    if operator == "Equal":
        return bool(wanted == present)
    if operator not in ("Lt", "Gt") or not _INTEGER.fullmatch(wanted) or not _INTEGER.fullmatch(present):
        return False
    return int(present) < int(wanted) if operator == "Lt" else int(present) > int(wanted)


def tolerated(taint: Any, tolerations: Iterable[Any]) -> bool:
    """Whether any of the tolerations covers the taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def untolerated(taints: Iterable[Any], tolerations: Iterable[Any]) -> bool:
    """Whether a taint that keeps new pods away is covered by none of the tolerations."""
    return any(taint.effect in KEEP_AWAY and not tolerated(taint, tolerations) for taint in taints)


def mentions(toleration: Any, key: str, effect: str) -> bool:
    """Whether the toleration speaks of such taints at all, whatever its operator and value say of them.

    What kube-apiserver's DefaultTolerationSeconds asks before it adds tolerations of its own.
    """
    return (not toleration.key or toleration.key == key) and toleration.effect in (None, "", effect)
