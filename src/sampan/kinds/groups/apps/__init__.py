"""The kinds of apps/v1."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.apps import controllerrevision, daemonset, deployment, replicaset, statefulset
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    controllerrevision.KIND,
    daemonset.KIND,
    deployment.KIND,
    replicaset.KIND,
    statefulset.KIND,
)
