"""The AuthenticationConfiguration file."""

from __future__ import annotations

from pathlib import Path

from sampan.apiserver.core.oidc.config import Issuer, parse
from sampan.base.errors import SampanError


def load(path: Path) -> tuple[Issuer, ...]:
    """The issuers in the file. Raises SampanError that names what is wrong."""
    import yaml

    try:
        return parse(yaml.safe_load(path.read_text()))
    except OSError as problem:
        raise SampanError(
            f"Cannot read the authentication configuration {path}: {problem.strerror}; name one that exists."
        ) from problem
    except (yaml.YAMLError, ValueError) as problem:
        raise SampanError(f"The authentication configuration {path} cannot be used: {problem}.") from None
