"""The scheduling cycle, pure: one pod and the world in, one decision out.

What NODE and ROOM plugins say of a pod's shape is kept as one mask and one array of scores, and brought up to
date for the rows that changed; what CLUSTER plugins say is worked out each time, over all rows at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from sampan.scheduler.amounts import ByAmounts
from sampan.scheduler.beside import Beside
from sampan.scheduler.changes import ALL, RowIndex
from sampan.scheduler.decision import Decision, Diagnosis, rejected
from sampan.scheduler.framework import CLUSTER, Plugin, Reason, Refused, Rejected, Verdict, scaled
from sampan.scheduler.kept import OUT, Kept, best_rows
from sampan.scheduler.plugins.node_resources import NodeResourcesFit, lack_of
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.promised import Promised
from sampan.scheduler.table import Bools, Numbers
from sampan.scheduler.world import World
from sampan.schema import api

# Cells (rows times shapes) of kept answers; the shapes used longest ago are worked out anew.
MOST_KEPT_CELLS: Final = 4_000_000
# However small a share is wanted, this many nodes are scored (as upstream).
LEAST_SCORED: Final = 100
_NO_ROWS: Final = np.array([], dtype=np.intp)
# Picks one of rows that are equally good.
Choose = Callable[[RowIndex], int]


class Engine:
    """Decides for the pods of one profile."""

    def __init__(self, profile: Profile, world: World) -> None:
        self.profile = profile
        self.world = world
        self._next_scored = 0
        # How often everything that was worked out had to be forgotten.
        self._forgot = 0
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._promises = Promised(world)
        self._local = tuple(p for p in profile.filters if p.reach != CLUSTER and p.overrides("filter"))
        self._wide = tuple(p for p in profile.filters if p.reach == CLUSTER and p.overrides("filter"))
        self._wide_bare = tuple(p for p in self._wide if not p.mounts_only)
        self._narrowing = tuple(p for p in profile.filters if p.overrides("narrow"))
        self._confining = tuple(p for p in profile.filters if p.overrides("confine"))
        scorers = [(p, w) for p, w in profile.scorers if p.overrides("score") and w]
        self._local_scorers = tuple((p, w) for p, w in scorers if p.reach != CLUSTER)
        self._reserving = tuple(p for p in profile.all_plugins if p.overrides("reserve"))
        self._reserving_bare = tuple(p for p in self._reserving if not p.mounts_only)
        self._wide_scorers = tuple((p, w) for p, w in scorers if p.reach == CLUSTER)

    # -- deciding ------------------------------------------------------------------------------------

    def decide(self, pod: PodInfo, choose: Choose, extra: Mapping[int, int] | None = None) -> Decision:
        """Decide for one pod. `choose` picks among rows of the same best score."""
        if not self.world.nominations and not extra and not self.profile.percentage_scored:
            return self._decide_at_once(pod, choose)
        found = self.feasible(pod)
        if isinstance(found, Decision):
            return found
        return self.pick(pod, self.sampled(found), choose, extra)

    def forget(self) -> None:
        """Something that kept answers depend on changed, besides nodes and pods."""
        self._forgot += 1
        self._kept.clear()
        self._promises.forget()

    def _decide_at_once(self, pod: PodInfo, choose: Choose) -> Decision:
        """The same where no row is promised and all that will do are scored.

        Where every score is kept, the best rows are read off without gathering those that will do.
        """
        rows, wide = self._start(pod)
        if isinstance(wide, Rejected) or rows is not None:
            passing = self._among(pod, rows, wide)
            return self.pick(pod, passing, choose) if len(passing) else self.explain_failure(pod)
        kept = self._shape(pod)
        refused = self._refused_by(wide)
        scorers = self._wide_scores(pod)
        if scorers or kept.is_scaled:
            passing = np.flatnonzero(kept.mask if refused is None else kept.mask & ~refused)
            if not len(passing):
                return self.explain_failure(pod)
            best = passing
            if len(passing) > 1:
                totals = self._sum(kept, scorers, passing)
                best = passing[totals == totals.max()]
        else:
            found = best_rows(kept.ranks if refused is None else np.where(refused, OUT, kept.ranks))
            if found is None:
                return self.explain_failure(pod)
            best = found
        row = int(best[0]) if len(best) == 1 else int(choose(best))
        return Decision(self.name_of(row), row, self.world.table.count)

    def sampled(self, rows: RowIndex) -> RowIndex:
        """As many of the rows as the profile wants to score, from another place on each time."""
        share = self.profile.percentage_scored
        if not 0 < share < 100:
            return rows
        wanted = max(self.world.table.count * share // 100, LEAST_SCORED)
        if len(rows) <= wanted:
            return rows
        begin = self._next_scored % len(rows)
        self._next_scored = begin + wanted
        return np.sort(np.roll(rows, -begin)[:wanted])

    def feasible(self, pod: PodInfo) -> RowIndex | Decision:
        """The rows that will do; or, where there are none, why. A node that was promised comes first."""
        world = self.world
        promised = world.table.rows.get(world.nomination(pod.key))
        if promised is not None and not self.refusal(pod, promised):
            return np.array([promised], dtype=np.intp)
        rows, wide = self._start(pod)
        if isinstance(wide, Rejected) or rows is not None:
            passing = self._among(pod, rows, wide)
        else:
            mask, refused = self._shape(pod).mask, self._refused_by(wide)
            passing = np.flatnonzero(mask if refused is None else mask & ~refused)
        if not len(passing):
            return self.explain_failure(pod)
        return passing

    def pick(
        self, pod: PodInfo, rows: RowIndex, choose: Choose, extra: Mapping[int, int] | None = None
    ) -> Decision:
        """The best of the rows. A row that was promised to others is taken only where there is room for all.

        `extra` are scores from outside (extenders), by row.
        """
        world = self.world
        totals: Numbers | None = None
        beside: Beside | None = None
        if world.nominations:
            beside = self._beside(pod)
            if not extra and len(rows) > 1:
                rows, totals = beside.unpromised(rows)
        while len(rows):
            if len(rows) == 1:
                row = int(rows[0])
            else:
                if totals is None:
                    totals = self.totals(pod, rows)
                    if extra:
                        totals = totals + np.array([extra.get(int(r), 0) for r in rows], dtype=np.int64)
                best = rows[totals == totals.max()]
                row = int(best[0]) if len(best) == 1 else int(choose(best))
            if beside is None or not beside(row)[0]:
                return Decision(self.name_of(row), row, world.table.count)
            keep = rows != row
            rows, totals = rows[keep], totals[keep] if totals is not None else None
        return self.explain_failure(pod)

    @property
    def volumes_timeout_s(self) -> float:
        """How long a pod waits for what it reserved."""
        return max((getattr(p, "timeout_s", 0.0) for p in self._reserving), default=0.0)

    def reserve(self, pod: PodInfo, row: int) -> list[Any]:
        """What has to be done for the pod before it is bound to the node of the row. Raises Refused."""
        node = self.world.table.nodes[row]
        assert node is not None
        reserving = self._reserving if pod.shape.has_mounts else self._reserving_bare
        work: list[Any] = []
        for plugin in reserving:
            try:
                work += plugin.reserve(pod, node, self.world)
            except Refused as word:
                word.plugin = plugin.name
                raise
        return work

    def totals(self, pod: PodInfo, rows: RowIndex) -> Numbers:
        """The weighted sum of all scores of rows that will do."""
        if pod_rows_few(rows):
            return self._totals_afresh(pod, rows)
        return self._sum(self._shape(pod), self._wide_scores(pod), rows)

    def breakdown(self, pod: PodInfo, rows: RowIndex) -> dict[str, Numbers]:
        """The weighted score of each plugin for these rows; for telling people."""
        found: dict[str, Numbers] = {}
        for plugin, weight in (*self._local_scorers, *self._wide_scorers):
            state = plugin.prepare_score(pod, self.world)
            raw = plugin.score(state, self.world, rows) if state is not None else None
            if raw is not None:
                found[plugin.name] = weight * scaled(raw, plugin.scaling)
        return found

    def looks_around(self, pod: PodInfo) -> bool:
        """Whether what is on other rows has a say on where the pod can run."""
        return any(plugin.prepare(pod, self.world) is not None for plugin in self._wide)

    def by_amounts(self, pod: PodInfo) -> ByAmounts | None:
        """The pod's amounts, where what runs on a node matters to it by nothing else; else None."""
        if pod.demand is not pod.shape.demand or self.world.nominations.repelling or self.looks_around(pod):
            return None
        kept = self._shape(pod)
        if len(kept.room_filters) != 1:
            return None
        plugin, asked = kept.room_filters[0]
        by_claim = self.world.devices.extended
        if type(plugin) is not NodeResourcesFit or any(name in by_claim for name, _ in asked):
            return None
        return ByAmounts(self.world, kept.node_mask, asked, lack_of)

    def refusal(self, pod: PodInfo, row: int) -> str:
        """Why the first filter keeps the pod off one row, as the world is now; "" if none does."""
        plugin, texts = self.first_refusal(pod, row)
        return texts[0] if plugin else ""

    # -- saying why ----------------------------------------------------------------------------------

    def diagnose(self, pod: PodInfo) -> Diagnosis:
        """Why the pod cannot run on the rows where it cannot: the first filter that refuses a row tells."""
        world = self.world
        table = world.table
        left = table.live.copy()
        found = Diagnosis({}, set(), np.zeros(table.size, dtype=np.bool_))
        for plugin in self._narrowing:
            names = plugin.narrow(pod, world)
            if names is not None:
                out = left.copy()
                out[[table.rows[name] for name in names if name in table.rows]] = False
                text = f"node(s) didn't satisfy plugin(s) [{plugin.name}]"
                found.tell(plugin.name, Verdict(out, (Reason(text, out, False),)), left)
                left &= ~out
        for plugin in self.profile.filters:
            state = plugin.prepare(pod, world) if plugin.overrides("prepare") else None
            if isinstance(state, Rejected):
                return rejected(plugin.name, state, table.live)
            if state is None or not left.any():
                continue
            verdict = plugin.filter(state, world, ALL)
            if verdict is not None:
                found.tell(plugin.name, verdict, left)
                left &= ~verdict.refused
        if left.any():  # only promises to others are in the way
            self._beside(pod).tell(found, left)
        return found

    def explain_failure(self, pod: PodInfo, found: Diagnosis | None = None) -> Decision:
        """The decision that there is no node, with its reasons."""
        return (found or self.diagnose(pod)).decision(self.world.table.count)

    def explain(self, pod: PodInfo) -> list[tuple[str, str, str]]:
        """For each node: its name, the plugin that refuses it ("" for none) and why."""
        world = self.world
        told: dict[str, tuple[str, str]] = {}
        verdicts: list[tuple[str, Verdict]] = []
        for plugin in self.profile.filters:
            state = plugin.prepare(pod, world) if plugin.overrides("prepare") else None
            if isinstance(state, Rejected):
                return [(name, plugin.name, state.text) for name in world.table.rows]
            verdict = plugin.filter(state, world, ALL) if state is not None else None
            if verdict is not None:
                verdicts.append((plugin.name, verdict))
        for name, row in world.table.rows.items():
            first = next(((p, v) for p, v in verdicts if v.refused[row]), None)
            if first is not None:
                told[name] = first[0], ", ".join(r.text for r in first[1].reasons if r.where[row])
            elif not self._leaves_room(pod, row):
                told[name] = "DefaultPreemption", "the room is promised to a pod that comes before"
        return [(name, *told.get(name, ("", ""))) for name in world.table.rows]

    # -- within --------------------------------------------------------------------------------------

    def _start(self, pod: PodInfo) -> tuple[RowIndex | None, Any]:
        """The rows worth a look (None for all), and the states of CLUSTER plugins or a Rejected."""
        world = self.world
        rows: RowIndex | None = None
        for plugin in self._narrowing:
            names = plugin.narrow(pod, world)
            if names is not None:
                found = world.table.rows
                some = np.array([found[name] for name in names if name in found], dtype=np.intp)
                rows = some if rows is None else np.intersect1d(rows, some)
        for plugin in self._confining:
            some_rows = plugin.confine(pod, world)
            if some_rows is not None:
                rows = some_rows if rows is None else np.intersect1d(rows, some_rows)
        wide = []
        for plugin in self._wide if pod.shape.has_mounts else self._wide_bare:
            state = plugin.prepare(pod, world)
            if isinstance(state, Rejected):
                return rows, state
            if state is not None:
                wide.append((plugin, state))
        return rows, wide

    def _among(self, pod: PodInfo, rows: RowIndex | None, wide: Any) -> RowIndex:
        if isinstance(wide, Rejected) or rows is None or not len(rows):
            return _NO_ROWS
        states = [*self._known_states(pod), *wide]
        if len(rows) == 1:
            row, world = int(rows[0]), self.world
            for plugin, state in states:
                if not plugin.passes(state, world, row):
                    return _NO_ROWS
            return rows
        for plugin, state in states:
            verdict = plugin.filter(state, self.world, rows)
            if verdict is not None:
                rows = rows[~verdict.refused]
                if not len(rows):
                    break
        return rows

    def _known_states(self, pod: PodInfo) -> list[tuple[Plugin, Any]]:
        """`_states`, worked out once for all pods of one shape, as what is kept is."""
        memo = pod.shape.memo
        known: tuple[int, list[tuple[Plugin, Any]]] | None = memo.get(self)
        if known is None or known[0] != self._forgot:
            known = memo[self] = self._forgot, self._states(pod)
        return known[1]

    def _states(self, pod: PodInfo) -> list[tuple[Plugin, Any]]:
        found = []
        for plugin in self._local:
            state = plugin.prepare(pod, self.world)
            if state is not None:
                found.append((plugin, state))
        return found

    def _shape(self, pod: PodInfo) -> Kept:
        """The kept answers for the pod's shape, up to date."""
        key = pod.shape.key
        world = self.world
        kept = self._kept.get(key)
        if kept is None or len(kept.mask) != world.table.size:
            kept = Kept(self._states(pod), self._local_scorers, pod, world)
            self._kept[key] = kept
            while len(self._kept) * world.table.size > MOST_KEPT_CELLS and len(self._kept) > 1:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        kept.refresh(world)
        return kept

    def _totals_afresh(self, pod: PodInfo, rows: RowIndex) -> Numbers:
        total = np.zeros(len(rows), dtype=np.int64)
        for scores in self.breakdown(pod, rows).values():
            total += scores
        return total

    def _sum(self, kept: Kept, wide: Sequence[tuple[Plugin, int, Any]], rows: RowIndex) -> Numbers:
        """The weighted scores of rows that will do: those that are kept, and those of CLUSTER plugins."""
        total = kept.ranks[rows]
        for (plugin, weight, _), raw in zip(kept.scaling, kept.raw, strict=True):
            if raw is not None:
                total = total + weight * scaled(raw[rows], plugin.scaling)
        for plugin, weight, state in wide:
            scores = plugin.score(state, self.world, rows)
            if scores is not None:
                total = total + weight * scaled(scores, plugin.scaling)
        return total

    def _wide_scores(self, pod: PodInfo) -> list[tuple[Plugin, int, Any]]:
        """The CLUSTER plugins that have a say on the pod's scores, with their weights and states."""
        found = []
        for plugin, weight in self._wide_scorers:
            state = plugin.prepare_score(pod, self.world)
            if state is not None:
                found.append((plugin, weight, state))
        return found

    def _refused_by(self, wide: Sequence[tuple[Plugin, Any]]) -> Bools | None:
        """The rows that CLUSTER plugins refuse; None where they refuse none."""
        refused: Bools | None = None
        for plugin, state in wide:
            verdict = plugin.filter(state, self.world, ALL)
            if verdict is not None:
                refused = verdict.refused if refused is None else refused | verdict.refused
        return refused

    def _leaves_room(self, pod: PodInfo, row: int) -> bool:
        """Whether the pod fits beside those that the row was promised to."""
        return not self.world.nominations or not self._beside(pod)(row)[0]

    def _beside(self, pod: PodInfo) -> Beside:
        """Tells whether the pod fits beside those that rows were promised to, as the world is now."""
        amounts = self.by_amounts(pod)
        if amounts is not None:
            return Beside(self, pod, amounts)
        looks_around = self.looks_around(pod)
        return Beside(self, pod, None, None if looks_around else self._promises.of(pod), looks_around)

    def first_refusal(self, pod: PodInfo, row: int) -> tuple[str, tuple[str, ...]]:
        rows = np.array([row], dtype=np.intp)
        for plugin in self.profile.filters:
            state = plugin.prepare(pod, self.world) if plugin.overrides("filter") else None
            if isinstance(state, Rejected):
                return plugin.name, (state.text,)
            verdict = plugin.filter(state, self.world, rows) if state is not None else None
            if verdict is not None and verdict.refused[0]:
                return plugin.name, tuple(r.text for r in verdict.reasons if r.where[0])
        return "", ()

    def name_of(self, row: int) -> str:
        node: api.Node | None = self.world.table.nodes[row]
        assert node is not None
        return node.metadata.name or ""


def pod_rows_few(rows: RowIndex) -> bool:
    """Whether it is cheaper to look at the rows than to bring the kept answers up to date."""
    return len(rows) <= FEW_ROWS


FEW_ROWS: Final = 2
