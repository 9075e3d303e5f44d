"""One thing to be done so that a node takes a pod, and how much several of them are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

UNCORDON: Final = "uncordon"
TOLERATION: Final = "toleration"
LABEL: Final = "label"
PORT: Final = "port"
RESOURCE: Final = "resource"
GATE: Final = "gate"
SCHEDULER: Final = "scheduler"
SPREAD: Final = "spread"
NEIGHBOUR: Final = "neighbour"
VOLUME: Final = "volume"
DEVICE: Final = "device"
# Where as many changes open two nodes, the one that is done more easily comes first.
_EASE: Final = (
    GATE, SCHEDULER, UNCORDON, LABEL, TOLERATION, SPREAD, PORT, NEIGHBOUR, RESOURCE, VOLUME, DEVICE,
)  # fmt: skip


class Change(msgspec.Struct, frozen=True):
    """One thing to be done. `size` is how large it is beside what the node has, for resources."""

    kind: str
    node: str
    text: str
    size: float = 0.0


def cost(needed: Sequence[Change]) -> tuple[int, int, float]:
    """The lower the smaller: how many, of which kind, how much."""
    return len(needed), max(_EASE.index(c.kind) for c in needed), sum(c.size for c in needed)


def amount_text(resource: str, amount: int) -> str:
    """So much of a resource, as people write it."""
    if resource == "cpu":
        return f"{amount // 1000}" if amount % 1000 == 0 else f"{amount}m"
    if resource in ("memory", "ephemeral-storage", "storage") or resource.startswith("hugepages-"):
        return f"{amount // _MI}Mi" if amount % _MI == 0 else f"{amount}"
    return f"{amount}"


_MI: Final = 1024 * 1024
