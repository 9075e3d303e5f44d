"""What `kubectl get crds` shows."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.cells import CREATED_AT
from sampan.kinds.groups.cells import column, is_true
from sampan.kinds.kind import NAME, Column


def _versions(crd: Any) -> str:
    served = (v for v in crd.spec.versions if v.served)
    return ",".join(f"{v.name}(storage)" if v.storage else v.name for v in served)


COLUMNS: Final[tuple[Column, ...]] = (
    NAME,
    column("Scope", lambda crd: crd.spec.scope, description="Cluster or Namespaced."),
    column("Versions", _versions, description="The versions that are served."),
    CREATED_AT,
    column("Group", lambda crd: crd.spec.group, description="The API group.", wide=True),
    column("Kind", lambda crd: crd.spec.names.kind, description="The kind of the resources.", wide=True),
    column(
        "ShortNames",
        lambda crd: ",".join(crd.spec.names.shortNames),
        description="Short names of the resource.",
        wide=True,
    ),
    column(
        "Established",
        lambda crd: is_true(crd.status.conditions, "Established"),
        type="boolean",
        description="Whether the resources are served.",
        wide=True,
    ),
)
