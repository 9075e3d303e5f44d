"""How long a node may use a Secret or ConfigMap that it has read, by the size of the cluster.

Kubelets read `node.alpha.kubernetes.io/ttl` (seconds). As in kube-controller-manager, the steps overlap, so
that a cluster at the edge of one does not go to and fro.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from sampan.client.effects import Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api

ANNOTATION: Final = "node.alpha.kubernetes.io/ttl"
# (fewest nodes, most nodes, seconds)
STEPS: Final = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**31 - 1, 300))

# A cluster that grows passes through the steps: nodes are looked at when it has come to rest.
DELAY_S: Final = 5.0


class View(msgspec.Struct, frozen=True):
    """A node and how many there are."""

    node: api.Node
    count: int


def gather(caches: Caches, key: Key) -> View | None:
    nodes = caches.of(api.Node)
    node = nodes.get("", key.name)
    return View(node, len(nodes)) if node is not None else None


def plan(view: View, now: datetime) -> Plan:
    """Write the seconds where they are others."""
    annotated = view.node.metadata.annotations.get(ANNOTATION)
    wanted = str(seconds(annotated, view.count))
    if annotated == wanted:
        return Plan()
    meta = {"uid": view.node.metadata.uid, "annotations": {ANNOTATION: wanted}}
    return Plan((Patch(ref_of(view.node), {"metadata": meta}),))


def seconds(annotated: str | None, count: int) -> int:
    """The seconds for so many nodes, coming from what the node has now."""
    step = next((i for i, (_, _, s) in enumerate(STEPS) if annotated == str(s)), 0)
    while count > STEPS[step][1]:
        step += 1
    while count < STEPS[step][0]:
        step -= 1
    return STEPS[step][2]


def _itself(_caches: Caches, node: api.Node) -> tuple[Key]:
    return (Key("", node.metadata.name or ""),)


CONTROLLER: Final = Controller(
    name="node-ttl", watches=(mapped(api.Node, _itself, delay_s=DELAY_S),), gather=gather, plan=plan
)
