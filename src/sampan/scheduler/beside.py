"""Whether a pod fits beside those that nodes were promised to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sampan.scheduler.amounts import ByAmounts
from sampan.scheduler.changes import RowIndex
from sampan.scheduler.decision import Diagnosis
from sampan.scheduler.plugins.node_resources import NodeResourcesFit
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.promised import Refusal
from sampan.scheduler.table import Bools, Numbers

if TYPE_CHECKING:
    from sampan.scheduler.cycle import Engine


class Beside:
    """Which plugin keeps a pod off a row once those are there that the row was promised to, and why.

    Where amounts alone count that is a sum, on all rows at once where everybody who was promised one comes
    before the pod. Else it is tried row by row, and what is `known` holds until the row changes, except where
    what is on other rows has a say.
    """

    def __init__(
        self,
        engine: Engine,
        pod: PodInfo,
        amounts: ByAmounts | None,
        known: dict[int, Refusal] | None = None,
        looks_around: bool = False,
    ) -> None:
        self._engine = engine
        self._world = engine.world
        self._pod = pod
        self._amounts = amounts
        self._known = known
        self._looks_around = looks_around
        nominations = engine.world.nominations
        self._at_once = (
            amounts is not None and not nominations.of(pod.key) and nominations.least_priority >= pod.priority
        )

    def __call__(self, row: int) -> Refusal:
        """The plugin, "" for none, and its reasons."""
        engine, pod, known = self._engine, self._pod, self._known
        rivals = self._world.rivals(pod, engine.name_of(row))
        if not rivals:
            return "", ()
        amounts = self._amounts
        if amounts is not None and amounts.rows.item(row):
            short = amounts.short(amounts.free(row, rivals))
            return (NodeResourcesFit.name if short else ""), short
        if known is not None and row in known:
            return known[row]
        with self._world.without(engine.name_of(row), ()) as trial:
            for rival in rivals:
                trial.add(rival)
            found = engine.first_refusal(pod, row)
            lasts = known is not None and not engine.looks_around(pod)
        if lasts and known is not None:
            known[row] = found
        return found

    def unpromised(self, rows: RowIndex) -> tuple[RowIndex, Numbers | None]:
        """The rows without those that are promised and leave no room, with the scores among all of them.

        Where what is on other rows has a say, each would have to be tried: that is left to the choice.
        """
        if self._looks_around:
            return rows, None
        out = self._out()
        if not out.any():
            return rows, None
        totals = self._engine.totals(self._pod, rows)
        keep = ~out[rows]
        return rows[keep], totals[keep]

    def tell(self, found: Diagnosis, left: Bools) -> None:
        """Say of rows that pass by themselves what is short once those they were promised to are counted."""
        if self._at_once and self._amounts is not None:
            for text, short in self._amounts.short_of_promised():
                self._note(found, NodeResourcesFit.name, text, short & left)
            return
        for row in np.flatnonzero(left).tolist():
            plugin, texts = self(row)
            for text in texts:
                self._note(found, plugin, text, self._only(row))

    def _only(self, row: int) -> Bools:
        only: Bools = np.zeros(self._world.table.size, dtype=np.bool_)
        only[row] = True
        return only

    def _out(self) -> Bools:
        """The rows that leave no room to the pod."""
        world = self._world
        out: Bools = np.zeros(world.table.size, dtype=np.bool_)
        if self._amounts is not None:
            for _, short in self._amounts.short_of_promised():
                out |= short
            if self._at_once:
                return out
            waited_for = out.copy()  # beside all of them there is too little; not all may come before the pod
        else:
            waited_for = world.nominations.rows > 0
        for row in np.flatnonzero(waited_for).tolist():
            out[row] = bool(self(row)[0])
        return out

    @staticmethod
    def _note(found: Diagnosis, plugin: str, text: str, where: Bools) -> None:
        count = int(np.count_nonzero(where))
        if count:
            found.reasons[text] = found.reasons.get(text, 0) + count
            found.refused_by.add(plugin)
            found.resolvable |= where
