"""What every extension server answers alike: discovery of its group, and refusals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

NOWHERE: Final = "the server could not find the requested resource"


class Answer(msgspec.Struct, frozen=True):
    """A status and a document."""

    status: int
    body: dict[str, Any]


def group(name: str, version: str) -> dict[str, Any]:
    """The discovery document of a group with one version."""
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": [served],
        "preferredVersion": served,
    }


def resources(api_version: str, listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The discovery document of one version."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": listed,
    }


def refusal(code: int, reason: str, message: str, details: Mapping[str, str] | None = None) -> Answer:
    """A Status that says what is wrong."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return Answer(code, {**body, "details": dict(details)} if details else body)
