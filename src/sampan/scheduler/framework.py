"""How plugins are made: what they are asked, what they answer, and which events may turn them round. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.scheduler.changes import RowIndex, Rows, count_of
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Bools, Numbers
from sampan.schema import api

if TYPE_CHECKING:
    from sampan.client.client import Client
    from sampan.scheduler.world import World

MOST_SCORE: Final = 100
# The scores of a curve's points go to 10, a node's to 100.
_CURVE_UNIT: Final = 10

# What a plugin's answer about a row depends on, besides the pod's shape:
# NODE: on the row's node alone; ROOM: also on the pods of that row; CLUSTER: on anything, and on the pod's
# labels and namespace. Answers of the first two are kept and worked out again only for rows that changed.
NODE: Final = "node"
ROOM: Final = "room"
CLUSTER: Final = "cluster"

# What raw scores mean: 0..100 as they are, or to be scaled to that over the nodes that passed the filters.
AS_IS: Final = "as is"
MORE_IS_BETTER: Final = "more is better"
LESS_IS_BETTER: Final = "less is better"

# Kinds of events (`Event.kind`), as kube-scheduler's EventResource.
NODE_EVENT: Final = "Node"
ASSIGNED_POD: Final = "AssignedPod"
PENDING_POD: Final = "PendingPod"
# Actions (`Event.actions`).
ADD: Final = "Add"
DELETE: Final = "Delete"
UPDATE: Final = "Update"
UPDATE_LABELS: Final = "UpdateLabels"
UPDATE_TAINTS: Final = "UpdateTaints"
UPDATE_ALLOCATABLE: Final = "UpdateAllocatable"
SCALE_DOWN: Final = "ScaleDown"


class Event(msgspec.Struct, frozen=True):
    """Something changed in the cluster. `kind` is one of the above or the name of the API kind."""

    kind: str
    actions: frozenset[str]
    old: Any = None
    new: Any = None

    def does(self, *actions: str) -> bool:
        return not self.actions.isdisjoint(actions)


class Reason(msgspec.Struct, frozen=True):
    """Why nodes are out. `resolvable` where evicting pods could help."""

    text: str
    where: Bools
    resolvable: bool = True


class Verdict(msgspec.Struct, frozen=True):
    """What a filter says of the rows it was asked about, in their order: who is out, and why."""

    refused: Bools
    reasons: tuple[Reason, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """A plugin's word that no node will do whatsoever (kube-scheduler's PreFilter refusals)."""

    text: str
    resolvable: bool = False


class Refused(Exception):
    """Raised by a plugin that turns a pod down after the decision; the text says why."""

    plugin: str = ""


def refuse(where: Bools, text: str, *, resolvable: bool = True) -> Verdict | None:
    """The verdict with one reason; None where nobody is out."""
    return Verdict(where, (Reason(text, where, resolvable),)) if where.any() else None


class Plugin:
    """One plugin of one profile. Methods are pure: what they learn is in their arguments.

    A plugin overrides what it takes part in. `prepare` and `prepare_score` work out what is common to all
    rows; None means that the plugin has nothing to say about this pod. The results of NODE and ROOM plugins
    are kept for all pods of one shape, and must not depend on anything else of the pod.
    """

    name: ClassVar[str] = ""
    reach: ClassVar[str] = CLUSTER
    scaling: ClassVar[str] = AS_IS
    # The kinds of events that `wakes` is asked about; others never make the plugin change its mind.
    events: ClassVar[frozenset[str]] = frozenset()
    # Whether it is asked only about pods that mount claims or disks.
    mounts_only: ClassVar[bool] = False
    # Further kinds whose objects the plugin reads through `world.cache`; their changes are events too.
    kinds: ClassVar[tuple[type[Any], ...]] = ()
    # How long `permit` may hold a pod back; 900 s at most.
    permit_timeout_s: float = 900.0

    def narrow(self, pod: PodInfo, world: World) -> frozenset[str] | None:
        """The only nodes that are worth a look, by name; None for all."""
        return None

    def confine(self, pod: PodInfo, world: World) -> RowIndex | None:
        """The only rows that `filter` may leave, where that is known at once; None for any.

        Unlike `narrow` it changes no words: it spares the look at rows that are out in any case.
        """
        return None

    def prepare(self, pod: PodInfo, world: World) -> Any | Rejected | None:
        """What `filter` needs of the pod, or a `Rejected`."""
        return None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        """Which of the rows the pod cannot run on; None where it can on all of them."""
        return None

    def passes(self, state: Any, world: World, row: int) -> bool:
        """Whether `filter` leaves one row. To be overridden where that can be told without arrays."""
        verdict = self.filter(state, world, np.array([row], dtype=np.intp))
        return verdict is None or not verdict.refused[0]

    def prepare_score(self, pod: PodInfo, world: World) -> Any | None:
        """What `score` needs of the pod."""
        return None

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        """A raw score for each of the rows; None where all are the same."""
        return None

    def score_one(self, state: Any, world: World, row: int) -> int:
        """What `score` gives one row. To be overridden where that can be told without arrays."""
        scores = self.score(state, world, np.array([row], dtype=np.intp))
        return int(scores[0]) if scores is not None else 0

    def reserve(self, pod: PodInfo, node: api.Node, world: World) -> Sequence[Any]:
        """What has to be done for the pod before it is bound to the node: see claims.py.

        A plugin may also note for itself that the pod has the node, or raise Refused.
        """
        return ()

    def unreserve(self, pod: PodInfo, node: api.Node, world: World) -> None:
        """The pod does not get the node after all: take back what `reserve` noted, if it did."""

    async def permit(self, pod: PodInfo, node: api.Node, client: Client) -> None:
        """Return once the pod may be bound; raise Refused where it may not. Others go on meanwhile."""

    async def pre_bind(self, pod: PodInfo, node: api.Node, client: Client) -> None:
        """Do what the pod needs on its node; an exception has it tried again, after its back-off."""

    async def post_bind(self, pod: PodInfo, node: api.Node, client: Client) -> None:
        """The pod has been bound."""

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        """Whether the event may let a pod pass that this plugin refused (kube-scheduler's queueing hints)."""
        return True

    @classmethod
    def overrides(cls, method: str) -> bool:
        """Whether the plugin takes part in this step."""
        return getattr(cls, method) is not getattr(Plugin, method)


def scaled(raw: Numbers, meaning: str) -> Numbers:
    """To 0..100, where the most that any node has is 100 (or 0, where less is better)."""
    if meaning == AS_IS:
        return raw
    most = int(raw.max(initial=0))
    shares: Numbers = raw * MOST_SCORE // most if most else np.zeros_like(raw)
    return shares if meaning == MORE_IS_BETTER else MOST_SCORE - shares


def on_curve(curve: Sequence[tuple[int, int]], utilization: Numbers) -> Numbers:
    """Straight lines between the points, cut to whole numbers as Go's division does."""
    first, last = curve[0], curve[-1]
    scores = np.where(utilization <= first[0], first[1] * _CURVE_UNIT, last[1] * _CURVE_UNIT)
    for (from_u, from_s), (to_u, to_s) in itertools.pairwise(curve):
        rise = (to_s - from_s) * _CURVE_UNIT * (utilization - from_u)
        on_line = from_s * _CURVE_UNIT + np.trunc(rise / (to_u - from_u)).astype(np.int64)
        scores = np.where((utilization > from_u) & (utilization <= to_u), on_line, scores)
    return scores.astype(np.int64)


def row_list(world: World, rows: Rows) -> list[int]:
    """The rows one by one, for what cannot be asked of an array."""
    return list(range(world.table.size)) if isinstance(rows, slice) else rows.tolist()


def nobody(world: World, rows: Rows) -> Bools:
    """False for each of the rows."""
    return np.zeros(count_of(rows, world.table.size), dtype=np.bool_)
