"""The audit policy file."""

from __future__ import annotations

from pathlib import Path

from sampan.apiserver.core.audit.policy import Policy, parse
from sampan.base.errors import SampanError


def load(path: Path) -> Policy:
    """The policy in the file. Raises SampanError that names what is wrong."""
    import yaml

    try:
        return parse(yaml.safe_load(path.read_text()))
    except OSError as problem:
        raise SampanError(
            f"Cannot read the audit policy {path}: {problem.strerror}; name a file that exists."
        ) from problem
    except (yaml.YAMLError, ValueError) as problem:
        raise SampanError(f"The audit policy {path} cannot be used: {problem}.") from None
