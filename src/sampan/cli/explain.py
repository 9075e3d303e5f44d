"""`sampan explain`: what the scheduler thinks of a pod, node by node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from sampan.base.errors import SampanError
from sampan.cli.show import demand_cluster
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.cluster import scheduling
from sampan.cluster.config import Layout
from sampan.cluster.parts.clients import client_of
from sampan.scheduler.asking import explain_pod
from sampan.scheduler.explain import Explanation

T = TypeVar("T")


def explain(layout: Layout, namespace: str, name: str, output: str) -> int:
    """Print the explanation of one pod."""

    async def ask(client: Client) -> Explanation:
        chosen = scheduling.chosen(demand_cluster(layout).scheduler_config)
        return await explain_pod(client, namespace, name, chosen.profiles if chosen is not None else ())

    found = asked(layout, ask)
    print(as_json(found) if output == "json" else explanation_text(found))
    return 0


def asked(layout: Layout, question: Callable[[Client], Awaitable[T]]) -> T:
    """The answer to a question to the cluster here, asked as its administrator. Raises SampanError."""
    settings = demand_cluster(layout)

    async def run() -> T:
        client = client_of(layout, settings, "admin")
        try:
            return await question(client)
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    except ConnectionError:
        raise SampanError(f"The cluster in {layout.root} does not answer; `sampan up` starts it.") from None
    except ApiError as refused:
        raise SampanError(
            f"The API server refused to answer: {refused}; see `sampan logs apiserver`."
        ) from None


def as_json(answer: Any) -> str:
    """The answer for programs."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, as wide as they must be."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def explanation_text(found: Explanation) -> str:
    """The answer for people."""
    where = f"is on node {found.node}" if found.node else "is on no node"
    lines = [f"Pod {found.namespace}/{found.name} ({found.phase}) {where}."]
    if found.message:
        lines.append(found.message)
    rows = [("NODE", "SCORE", "WHY")]
    best_first = sorted(found.nodes, key=lambda a: (-(a.score if a.score is not None else -1), a.node))
    for answer in best_first:
        mark = "*" if answer.node == found.node else ""
        if answer.score is None:
            why = "; ".join(f"{r.plugin}: {r.why}" for r in answer.refusals)
        else:
            why = ", ".join(f"{plugin} {score}" for plugin, score in answer.scores.items())
        rows.append((answer.node + mark, "-" if answer.score is None else str(answer.score), why))
    lines += ["", *table(rows)]
    if found.ways:
        lines += ["", "It would run with any one of these:"]
        lines += [
            f"  {n}. {'; and '.join(c.text for c in way.changes)}" for n, way in enumerate(found.ways, 1)
        ]
    elif found.message and all(answer.score is None for answer in found.nodes):
        lines += ["", "No single node's labels, taints, ports or room would let it run."]
    return "\n".join(lines)
