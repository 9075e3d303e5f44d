"""The kinds of apiextensions.k8s.io/v1."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.apiextensions import customresourcedefinition
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (customresourcedefinition.KIND,)
