"""ComponentStatus: whether the parts of the control plane answer; read only, never stored."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sampan.kinds.kind import CLUSTER, NAME, Column, Kind
from sampan.machinery import names
from sampan.schema import api


def _healthy(status: api.ComponentStatus) -> api.ComponentCondition | None:
    return next((c for c in status.conditions if c.type == "Healthy"), None)


def _status(status: api.ComponentStatus, _now: datetime) -> str:
    condition = _healthy(status)
    if condition is None:
        return "Unknown"
    return "Healthy" if condition.status == "True" else "Unhealthy"


def _message(status: api.ComponentStatus, _now: datetime) -> str:
    condition = _healthy(status)
    return (condition.message if condition else None) or ""


def _error(status: api.ComponentStatus, _now: datetime) -> str:
    condition = _healthy(status)
    return (condition.error if condition else None) or ""


KIND: Final = Kind(
    api_version="v1",
    kind="ComponentStatus",
    plural="componentstatuses",
    short=("cs",),
    namespaced=CLUSTER,
    verbs=("get", "list"),
    virtual=True,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        Column("Status", _status, description="Healthy, Unhealthy or Unknown."),
        Column("Message", _message, description="What the part answered."),
        Column("Error", _error, description="Why it did not."),
    ),
)
