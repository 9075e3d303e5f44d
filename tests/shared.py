"""Where the inputs beside the checkout are, if they are: published objects, definitions, manifests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

SHARED: Final = Path(os.environ.get("SAMPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
ABSENT: Final = "is absent; set SAMPAN_SHARED to the folder of shared inputs"


def shared(part: str) -> Path:
    """A file or folder of the shared inputs; skips the test where it is not there."""
    path = SHARED / part
    if not path.exists():
        pytest.skip(f"{path} {ABSENT}")
    return path
