"""Where a group's nodes come from: the spare-node pool, simulated nodes, or an external command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from sampan.autoscaler.nodes.config import GROUP_LABEL, SPARE_LABEL, Group
from sampan.base.ids import Ids
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_not_found
from sampan.controllers.taints import is_ready
from sampan.node.simulated_fleet import SimulatedNodes
from sampan.schema import api

# The longest answer of a command that is read.
ANSWER_MOST: Final = 1 << 20


class ProviderError(Exception):
    """A provider could not do what it was asked; the text says which, what and why."""


class Provider(Protocol):
    """What grows and shrinks one group."""

    async def nodes(self, group: Group) -> list[str]:
        """The names of the group's nodes, those on their way included. Raises ProviderError."""
        ...

    async def increase(self, group: Group, count: int) -> None:
        """Begin to add `count` nodes. Raises ProviderError."""
        ...

    async def delete(self, group: Group, names: Sequence[str]) -> None:
        """Remove these nodes; one that is gone already is a success. Raises ProviderError."""
        ...


class SparePool:
    """Nodes that exist, labelled `autoscaling.sampan.dev/spare=<group>` and cordoned: taken into service by
    uncordoning and labelling them, and given back by the reverse."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def nodes(self, group: Group) -> list[str]:
        return [n.metadata.name or "" for n in await self._all(group) if GROUP_LABEL in n.metadata.labels]

    async def increase(self, group: Group, count: int) -> None:
        spare = [n for n in await self._all(group) if GROUP_LABEL not in n.metadata.labels and is_ready(n)]
        for node in spare[:count]:
            labels = {GROUP_LABEL: group.name}
            await self._patch(node.metadata.name or "", labels, unschedulable=None)
        if len(spare) < count:
            raise ProviderError(
                f"node group {group.name!r} had {len(spare)} Ready spare nodes left and needs {count}: "
                f"label more nodes {SPARE_LABEL}={group.name} and cordon them"
            )

    async def delete(self, group: Group, names: Sequence[str]) -> None:
        for name in names:
            try:
                await self._patch(name, {GROUP_LABEL: None}, unschedulable=True)
            except ApiError as error:
                if not is_not_found(error):
                    raise

    async def _all(self, group: Group) -> list[api.Node]:
        found = await self._client.list(api.Node, labels=f"{SPARE_LABEL}={group.name}")
        return sorted(found.items, key=lambda node: node.metadata.name or "")

    async def _patch(self, name: str, labels: dict[str, Any], unschedulable: bool | None) -> None:
        patch: dict[str, Any] = {"metadata": {"labels": labels}, "spec": {"unschedulable": unschedulable}}
        if unschedulable:
            node = await self._client.get(api.Node, name)
            kept = [t for t in node.spec.taints if not (t.key or "").endswith("ClusterAutoscaler")]
            patch["spec"]["taints"] = msgspec.to_builtins([_taint(t) for t in kept])
        await self._client.patch(api.Node, name, "", patch)


class Simulated:
    """Nodes of a fleet in this process. After a restart those that the cluster knows are run on."""

    def __init__(self, client: Client, fleet: SimulatedNodes, ids: Ids) -> None:
        self._client = client
        self._fleet = fleet
        self._ids = ids

    async def nodes(self, group: Group) -> list[str]:
        found = await self._client.list(api.Node, labels=f"{GROUP_LABEL}={group.name}")
        names = [node.metadata.name or "" for node in found.items]
        for name in names:
            if name not in self._fleet.configs:
                await self._add(group, name)
        return names

    async def increase(self, group: Group, count: int) -> None:
        for _ in range(count):
            await self._add(group, f"{group.name}-{self._ids.suffix()}")

    async def delete(self, group: Group, names: Sequence[str]) -> None:
        for name in names:
            self._fleet.remove(name)
            await delete_node(self._client, name)

    async def _add(self, group: Group, name: str) -> None:
        taints = tuple(f"{t.key}={t.value}:{t.effect}" for t in group.template.taints)
        labels = {**group.template.labels, GROUP_LABEL: group.name}
        await self._fleet.add(name, capacity=group.template.capacity, labels=labels, taints=taints)


class Command:
    """An external command: a JSON request on its stdin, a JSON answer on its stdout (docs/autoscaling.md)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def nodes(self, group: Group) -> list[str]:
        names = (await self._ask(group, {"verb": "nodes"})).get("nodes")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ProviderError(f"{_where(group)} answered 'nodes' without a list of names in \"nodes\"")
        return names

    async def increase(self, group: Group, count: int) -> None:
        await self._ask(group, {"verb": "increase", "count": count})

    async def delete(self, group: Group, names: Sequence[str]) -> None:
        await self._ask(group, {"verb": "delete", "nodes": list(names)})
        for name in names:
            await delete_node(self._client, name)

    async def _ask(self, group: Group, request: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode({"group": group.name, **request})
        verb = request["verb"]
        try:
            process = await asyncio.create_subprocess_exec(
                *group.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as problem:
            raise ProviderError(f"{_where(group)} cannot be started: {problem}") from problem
        try:
            async with asyncio.timeout(group.command_timeout_s):
                out, err = await process.communicate(body)
        except TimeoutError:
            raise ProviderError(
                f"{_where(group)} did not answer {verb!r} within {group.command_timeout_s:g} s"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            text = err.decode(errors="replace").strip()[-500:]
            raise ProviderError(f"{_where(group)} ended {verb!r} with status {process.returncode}: {text}")
        return _answer(group, verb, out)


async def delete_node(client: Client, name: str) -> None:
    """Delete a node's object, if it is still there."""
    try:
        await client.delete(api.Node, name)
    except ApiError as error:
        if not is_not_found(error):
            raise


def _answer(group: Group, verb: str, out: bytes) -> dict[str, Any]:
    if len(out) > ANSWER_MOST:
        raise ProviderError(f"{_where(group)} answered {verb!r} with more than {ANSWER_MOST} bytes")
    try:
        found = msgspec.json.decode(out, type=dict[str, Any])
    except msgspec.DecodeError as problem:
        raise ProviderError(f"{_where(group)} answered {verb!r} with no JSON object: {problem}") from None
    if found.get("error"):
        raise ProviderError(f"{_where(group)} refused {verb!r}: {found['error']}")
    return found


def _where(group: Group) -> str:
    return f"the command {group.command[0]!r} of node group {group.name!r}"


def _taint(taint: api.Taint) -> dict[str, Any]:
    return {"key": taint.key, "value": taint.value, "effect": taint.effect}
