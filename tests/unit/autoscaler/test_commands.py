"""What an external command of a node group is asked, and what it may answer."""

from __future__ import annotations

import asyncio
import sys

import pytest

from sampan.autoscaler.nodes.config import Group, parse
from sampan.autoscaler.nodes.providers import Command, ProviderError
from sampan.client.client import Client


def group(*command: str, timeout_s: float = 30.0) -> Group:
    template = {"capacity": {"cpu": "2", "memory": "4Gi"}}
    made = {"name": "small", "max": 5, "provider": "command", "template": template}
    return parse({"groups": [{**made, "command": list(command), "commandTimeoutS": timeout_s}]}).groups[0]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('print(\'{"error": "no quota"}\')', "refused 'nodes': no quota"),
        ("print('nonsense')", "no JSON object"),
        ("print('{}')", "without a list"),
        ("import sys; sys.exit('out of order')", "status 1: out of order"),
        ("import time; time.sleep(60)", "did not answer 'nodes' within 0.2 s"),
    ],
)
def test_commands_that_fail_are_named(script: str, says: str) -> None:
    made = group(sys.executable, "-c", script, timeout_s=0.2 if "sleep" in script else 30.0)

    async def ask() -> None:
        await Command(None).nodes(made)  # type: ignore[arg-type]

    with pytest.raises(ProviderError, match=says):
        asyncio.run(ask())


def test_a_command_is_asked_in_json() -> None:
    script = (
        "import json, sys; q = json.load(sys.stdin); print(json.dumps({'nodes': [q['group'], q['verb']]}))"
    )
    made = group(sys.executable, "-c", script)
    client: Client = None  # type: ignore[assignment]
    assert asyncio.run(Command(client).nodes(made)) == ["small", "nodes"]
