"""The kinds of autoscaling: stored as v2, served as v1 too."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.autoscaling import v1, v2
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (v2.KIND, v1.KIND)
