"""`sampan simulate`: where pods would go, without touching the cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sampan.base.errors import SampanError
from sampan.cli.explain import as_json, asked, table
from sampan.cli.show import demand_cluster
from sampan.client.client import Client
from sampan.cluster import documents, scheduling
from sampan.cluster.config import Layout
from sampan.cluster.manifests import typed
from sampan.kinds import registry
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.schema.definitions import GroupVersionKind
from sampan.simulation.asking import snapshot_to_simulate
from sampan.simulation.draining import Drain, drain
from sampan.simulation.placing import Placement, simulate
from sampan.simulation.workloads import SimulationError, has_pods


def simulate_manifests(layout: Layout, files: list[Path], namespace: str, output: str) -> int:
    """Print where the pods of manifests would go. Raises SampanError."""
    objects = list(_objects(documents.read(files), namespace))
    if not any(has_pods(obj) for obj in objects):
        raise SampanError("There are no pods, nor anything that has some, in these manifests; name others.")
    profiles, snapshot = _read(layout)
    try:
        placements = simulate(snapshot, objects, profiles)
    except SimulationError as problem:
        raise SampanError(f"This cannot be simulated: {problem}. Mend the manifests.") from None
    print(as_json(placements) if output == "json" else placements_text(placements))
    return 0


def simulate_drain(layout: Layout, node: str, output: str) -> int:
    """Print what draining the node would come to. Raises SampanError."""
    profiles, snapshot = _read(layout)
    try:
        found = drain(snapshot, node, profiles)
    except SimulationError as problem:
        raise SampanError(f"This cannot be simulated: {problem}; see `sampan kubectl get nodes`.") from None
    print(as_json(found) if output == "json" else drain_text(found))
    return 0


def _read(layout: Layout) -> tuple[Sequence[Profile], Snapshot]:
    chosen = scheduling.chosen(demand_cluster(layout).scheduler_config)
    profiles = chosen.profiles if chosen is not None else ()

    async def ask(client: Client) -> Snapshot:
        return await snapshot_to_simulate(client, profiles)

    return profiles, asked(layout, ask)


def _objects(found: Iterable[dict[str, Any]], namespace: str) -> Iterator[Any]:
    """The objects of built-in kinds; what pods others would have is known to their operators alone."""
    for document in found:
        if document["kind"] == "List" and isinstance(document.get("items"), list):
            yield from _objects(document["items"], namespace)
            continue
        group, _, version = str(document["apiVersion"]).rpartition("/")
        kind = registry.by_gvk(GroupVersionKind(group, version, str(document["kind"])))
        if kind is None:
            name = (document.get("metadata") or {}).get("name")
            sys.stderr.write(f"{document['kind']} {name!r} is of no built-in kind and is left out.\n")
            continue
        metadata = document.get("metadata")
        if kind.namespaced and isinstance(metadata, dict):
            metadata.setdefault("namespace", namespace)
        yield typed(document)


def placements_text(placements: Sequence[Placement]) -> str:
    """A line for each pod, and what would help those that have no node."""
    placed = sum(1 for p in placements if p.node)
    lines = [f"{placed} of {len(placements)} pods would have a node.", "", *_rows(placements)]
    told: dict[tuple[str, ...], list[str]] = {}
    for placement in placements:
        ways = tuple("; and ".join(c.text for c in way.changes) for way in placement.ways)
        if ways:
            told.setdefault(ways, []).append(f"{placement.namespace}/{placement.name}")
    for ways, names in told.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines += ["", f"{names[0]}{more} would run with any one of these:"]
        lines += [f"  {number}. {way}" for number, way in enumerate(ways, 1)]
    return "\n".join(lines)


def drain_text(found: Drain) -> str:
    """The answer for people."""
    homeless = sum(1 for p in found.moved if not p.node)
    lines = [
        f"Draining {found.node} would move {len(found.moved) - homeless} pods, "
        f"leave {homeless} without a node, lose {len(found.lost)}, and be held up by {len(found.blocked)}."
    ]
    for title, placements in (
        ("Evicted, and where their successors would go:", found.moved),
        ("Not evicted, a budget is in the way:", found.blocked),
        ("Deleted for good:", found.lost),
        ("Left where they are:", found.stays),
    ):
        if placements:
            lines += ["", title, *_rows(placements)]
    return "\n".join(lines)


def _rows(placements: Sequence[Placement]) -> list[str]:
    rows = [("POD", "NODE", "WHY")]
    for p in placements:
        evicts = f" ({', '.join(p.evicts)})" if p.evicts else ""
        rows.append((f"{p.namespace}/{p.name}", p.node or "-", p.why + evicts))
    return table(rows)
