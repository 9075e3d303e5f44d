"""Cells that several tables of `kubectl get` share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sampan.kinds.kind import AGE, Column, human_duration
from sampan.schema import api

NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"
UNSET: Final = "<unset>"


def since(moment: datetime | None, now: datetime) -> str:
    """How long ago `moment` was, as kubectl writes it."""
    return UNKNOWN if moment is None else human_duration((now - moment).total_seconds())


def labels_text(labels: Mapping[str, str]) -> str:
    """`a=b,c=d` in the order of the keys."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE


def container_names(containers: Iterable[api.Container]) -> str:
    return ",".join(container.name for container in containers)


def container_images(containers: Iterable[api.Container]) -> str:
    return ",".join(container.image or "" for container in containers)


CONTAINERS_OF_TEMPLATE: Final = Column(
    "Containers",
    lambda obj, _now: container_names(obj.spec.template.spec.containers),
    description="Names of each container in the template.",
    priority=1,
)
IMAGES_OF_TEMPLATE: Final = Column(
    "Images",
    lambda obj, _now: container_images(obj.spec.template.spec.containers),
    description="Images referenced by each container in the template.",
    priority=1,
)


def _created_at(obj: Any, _now: datetime) -> str:
    made = obj.metadata.creationTimestamp
    return UNKNOWN if made is None else f"{made.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


# What kube-apiserver shows of kinds that it has no printer for.
CREATED_AT: Final = Column("Created At", _created_at, type="date", description=AGE.description)
