"""Which nodes of the groups are on their way, which came, and which took too long. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from sampan.autoscaler.nodes.config import Config
from sampan.controllers.taints import is_ready
from sampan.schema import api

# Since when a node is on its way that is so no more: it was Ready once, or was given up.
SETTLED: Final = float("inf")


class Coming(msgspec.Struct, frozen=True):
    """What is known of the nodes that are not Ready.

    `seen` is since when each node of a group has been on its way, by the monotonic clock, to be handed in at
    the next look. `upcoming` are those on their way, by group; `late` the (group, node) that never registered
    in time; `stuck` those that registered and did not become Ready in time; `arrived` the groups of which a
    node that was on its way became Ready.
    """

    seen: Mapping[str, float]
    upcoming: Mapping[str, tuple[str, ...]]
    late: tuple[tuple[str, str], ...] = ()
    stuck: tuple[tuple[str, str], ...] = ()
    arrived: tuple[str, ...] = ()


def look_out(
    config: Config,
    members: Mapping[str, Sequence[str]],
    nodes: Mapping[str, api.Node],
    seen: Mapping[str, float],
    now: datetime,
    now_s: float,
) -> Coming:
    """Look at the nodes of all groups that could be asked (`members`); `nodes` are those in the API, by name.

    A node that registered counts from its creation, so that a new manager does not wait for it afresh; one
    that was Ready before and fell silent is not on its way.
    """
    kept: dict[str, float] = {}
    upcoming: dict[str, tuple[str, ...]] = {}
    late: list[tuple[str, str]] = []
    stuck: list[tuple[str, str]] = []
    arrived: list[str] = []
    for group, names in members.items():
        for name in names:
            node = nodes.get(name)
            since_s = seen.get(name, now_s - _age_s(node, now))
            kept[name] = since_s
            if node is not None and is_ready(node):
                if name in seen and since_s != SETTLED:
                    arrived.append(group)
                kept[name] = SETTLED
            elif since_s == SETTLED:
                continue
            elif now_s - since_s < config.max_node_provision_time_s:
                upcoming[group] = (*upcoming.get(group, ()), name)
            elif node is None:
                late.append((group, name))
            else:
                stuck.append((group, name))
                kept[name] = SETTLED
    return Coming(kept, upcoming, tuple(late), tuple(stuck), tuple(dict.fromkeys(arrived)))


def _age_s(node: api.Node | None, now: datetime) -> float:
    created = node.metadata.creationTimestamp if node is not None else None
    return max((now - created).total_seconds(), 0.0) if created is not None else 0.0
