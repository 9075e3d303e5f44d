"""Mends a document by what the server says is wrong with it, so that nonsense gets past validation too."""

from __future__ import annotations

import contextlib
import copy
import random
import re
from typing import Any

_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
# What is hard to guess, by the last name of the field.
_KNOWN: dict[str, Any] = {
    "containers": [{"name": "main", "image": "web:1"}],
    "selector": {"matchLabels": {"a": "b"}},
    "labels": {"a": "b"},
    "accessModes": ["ReadWriteOnce"],
    "capacity": {"storage": "1Gi"},
    "resources": {"requests": {"storage": "1Gi"}},
    "schedule": "@hourly",
    "cidrs": ["10.1.0.0/16"],
    "ports": [{"port": 80}],
    "podCIDRs": ["10.2.0.0/24"],
    "usages": ["client auth"],
    "rules": [],
    "webhooks": [],
}
_LIKELY: tuple[Any, ...] = (
    "a",
    "web",
    1,
    80,
    "1Gi",
    "a.b/c",
    "10.0.0.1",
    "True",
    {"matchLabels": {"a": "b"}},
    {"a": "b"},
    ["a"],
    [{"name": "a"}],
    {"name": "a"},
    "2026-01-01T00:00:00Z",
    True,
    {"kind": "Pod", "name": "a"},
    "a.b",
    "example.com",
    "/a",
    "1",
    {"storage": "1Gi"},
    {},
    ["ReadWriteOnce"],
    "ConfigMap",
    "100.64.0.0/16",
)


def repaired(document: Any, causes: list[dict[str, str]], chance: random.Random) -> None:
    """Change what the causes of a 422 name, in place."""
    for cause in causes:
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, AttributeError):
            _repair(document, cause, chance)


def _repair(document: Any, cause: dict[str, str], chance: random.Random) -> None:
    steps = [name or index for name, index in _STEP.findall(cause["field"])]
    if not steps:
        return
    holder = document
    for step in steps[:-1]:
        holder = _inner(holder, step)
    last = int(steps[-1]) if isinstance(holder, list) else steps[-1]
    if cause["reason"] == "FieldValueNotSupported":
        supported = re.findall(r'"([^"]*)"', cause["message"].partition("supported values:")[2])
        holder[last] = chance.choice(supported)
    elif last in _KNOWN and chance.random() < 0.7:
        holder[last] = copy.deepcopy(_KNOWN[last])
    elif cause["reason"] == "FieldValueRequired" and chance.random() < 0.6:
        holder[last] = "a"
    elif cause["reason"] == "FieldValueRequired" or chance.random() < 0.5:
        holder[last] = copy.deepcopy(chance.choice(_LIKELY))
    else:
        del holder[last]


def _inner(holder: Any, step: str) -> Any:
    if isinstance(holder, list):
        return holder[int(step)]
    if not isinstance(holder.get(step), (dict, list)):
        holder[step] = {}
    return holder[step]
