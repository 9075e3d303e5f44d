"""What the CSINode and the Node say of the CSI drivers on a node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sampan.client.client import Client
from sampan.client.errors import ApiError, is_already_exists, is_conflict
from sampan.node.drivers.csiplan import NODE_IDS, with_driver
from sampan.node.drivers.registry import RegistrationError
from sampan.node.references import get_or_none
from sampan.schema import api

MOST_TRIES: Final = 5


class Announcer:
    """Writes the two objects of one node. Raises RegistrationError and ApiError."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node

    async def withdraw(self, name: str) -> None:
        """The driver is gone."""
        await self._change_node(name, None)
        await self._change_csi_node(name, None)

    async def announce(self, name: str, info: Any) -> None:
        """The driver is there; `info` is what it says of the node."""
        segments = dict(info.accessible_topology.segments)
        entry = api.CSINodeDriver(name=name, nodeID=info.node_id, topologyKeys=sorted(segments))
        if info.max_volumes_per_node > 0:
            entry.allocatable = api.VolumeNodeResources(count=info.max_volumes_per_node)
        await self._change_node(name, info.node_id, segments)
        await self._change_csi_node(name, entry)

    async def _change_node(self, name: str, node_id: str | None, labels: Mapping[str, str] = {}) -> None:
        """What the node says of the driver's id for it; and where it is, by the driver's topology."""
        for _ in range(MOST_TRIES):
            node = await self._client.get(api.Node, self._node)
            ids = json.loads(node.metadata.annotations.get(NODE_IDS) or "{}")
            wanted = (
                {**ids, name: node_id} if node_id is not None else {k: v for k, v in ids.items() if k != name}
            )
            missing = {key: value for key, value in labels.items() if node.metadata.labels.get(key) != value}
            if wanted == ids and not missing:
                return
            meta: dict[str, Any] = {
                "resourceVersion": node.metadata.resourceVersion,
                "annotations": {NODE_IDS: json.dumps(wanted, sort_keys=True) if wanted else None},
            }
            if missing:
                meta["labels"] = missing
            try:
                await self._client.patch(api.Node, self._node, "", {"metadata": meta})
                return
            except ApiError as problem:
                if not is_conflict(problem):
                    raise
        raise RegistrationError(f"the node {self._node} changed {MOST_TRIES} times while a driver registered")

    async def _change_csi_node(self, name: str, entry: api.CSINodeDriver | None) -> None:
        for _ in range(MOST_TRIES):
            held = await get_or_none(self._client, api.CSINode, self._node)
            try:
                if held is None:
                    if entry is not None:
                        await self._client.create(with_driver(await self._new_csi_node(), entry, name))
                    return
                known = next((d for d in held.spec.drivers if d.name == name), None) if held.spec else None
                if known == entry:
                    return
                if known is not None and entry is not None:  # an entry may not change: it goes first
                    held = await self._client.update(with_driver(held, None, name))
                await self._client.update(with_driver(held, entry, name))
                return
            except ApiError as problem:
                if not (is_conflict(problem) or is_already_exists(problem)):
                    raise
        raise RegistrationError(
            f"the CSINode {self._node} changed {MOST_TRIES} times while a driver registered"
        )

    async def _new_csi_node(self) -> api.CSINode:
        node = await self._client.get(api.Node, self._node)
        owner = api.OwnerReference(apiVersion="v1", kind="Node", name=self._node, uid=node.metadata.uid or "")
        meta = api.ObjectMeta(name=self._node, ownerReferences=[owner])
        return api.CSINode(
            apiVersion="storage.k8s.io/v1", kind="CSINode", metadata=meta, spec=api.CSINodeSpec()
        )
