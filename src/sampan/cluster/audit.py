"""The audit policy file."""

from __future__ import annotations

from pathlib import Path

from sampan.apiserver.core.audit.policy import Policy, parse
from sampan.cluster import userfiles


def load(path: Path) -> Policy:
    """The policy in the file. Raises SampanError that names what is wrong."""
    return userfiles.load(path, "audit policy", parse)
