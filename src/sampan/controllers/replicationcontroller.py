"""ReplicationControllers: what ReplicaSets are, with a plain map of labels for a selector."""

from __future__ import annotations

from typing import Final

from sampan.controllers import replicaset
from sampan.schema import api

CONTROLLER: Final = replicaset.controller(
    "replicationcontroller", api.ReplicationController, "replication-controller"
)
