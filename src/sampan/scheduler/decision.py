"""What comes of looking for a node for a pod. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from sampan.scheduler.framework import Rejected, Verdict
from sampan.scheduler.table import Bools

NO_NODES: Final = "no nodes available to schedule pods"


class Decision(msgspec.Struct, frozen=True):
    """Where a pod goes (`node` set), or why it cannot go anywhere.

    `reasons` are (how many nodes, why) and `refused_by` the plugins behind them, which tell what would have
    to change before another try is worth it. `rejection` is a word on all nodes at once, `after` what
    preemption came to.
    """

    node: str = ""
    row: int = -1
    nodes: int = 0
    reasons: tuple[tuple[int, str], ...] = ()
    refused_by: frozenset[str] = frozenset()
    rejection: str = ""
    after: str = ""

    @property
    def message(self) -> str:
        """The text of the PodScheduled condition, worded as kube-scheduler's."""
        if self.nodes == 0:
            return NO_NODES
        parts = [f"0/{self.nodes} nodes are available:"]
        if self.rejection:
            parts.append(f"{self.rejection}.")
        if self.reasons:
            parts.append(", ".join(sorted(f"{count} {reason}" for count, reason in self.reasons)) + ".")
        if self.after:
            parts.append(self.after)
        return " ".join(parts)


class Diagnosis(msgspec.Struct):
    """Why each row is out: counts by reason, plugins, and which rows evicting pods could open."""

    reasons: dict[str, int]
    refused_by: set[str]
    resolvable: Bools
    rejection: str = ""

    def tell(self, plugin: str, verdict: Verdict, left: Bools) -> None:
        """Count what a plugin says of the rows that are left."""
        for reason in verdict.reasons:
            where = left & reason.where
            count = int(np.count_nonzero(where))
            if count:
                self.reasons[reason.text] = self.reasons.get(reason.text, 0) + count
                self.refused_by.add(plugin)
                if reason.resolvable:
                    self.resolvable |= where
        for reason in verdict.reasons:
            if not reason.resolvable:  # one reason that nothing helps against outweighs the others
                self.resolvable &= ~(left & reason.where)

    def decision(self, nodes: int) -> Decision:
        """The decision that none of so many nodes will do."""
        return Decision(
            nodes=nodes,
            reasons=tuple((count, reason) for reason, count in self.reasons.items()),
            refused_by=frozenset(self.refused_by),
            rejection=self.rejection,
        )


def rejected(plugin: str, word: Rejected, live: Bools) -> Diagnosis:
    """A plugin's word on all nodes at once."""
    resolvable = live.copy()
    if not word.resolvable:
        resolvable[:] = False
    return Diagnosis({}, {plugin}, resolvable, word.text)
