"""The AuthenticationConfiguration file."""

from __future__ import annotations

from pathlib import Path

from sampan.apiserver.core.oidc.config import Issuer, parse
from sampan.cluster import userfiles


def load(path: Path) -> tuple[Issuer, ...]:
    """The issuers in the file. Raises SampanError that names what is wrong."""
    return userfiles.load(path, "authentication configuration", parse)
