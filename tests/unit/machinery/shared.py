"""Where the shared inputs are, if they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(part: str) -> Path:
    """A folder of the shared inputs; skips the test where there are none."""
    beside = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("SAMPAN_SHARED", beside)) / part
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set SAMPAN_SHARED to the folder of shared inputs")
    return folder
