"""The kinds of batch/v1."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.batch import cronjob, job
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (cronjob.KIND, job.KIND)
