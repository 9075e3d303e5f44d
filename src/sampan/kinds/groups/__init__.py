"""The kinds of every API group other than core."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups import (
    admissionregistration,
    apiextensions,
    apiregistration,
    apps,
    autoscaling,
    batch,
    certificates,
    coordination,
    discovery,
    events,
    flowcontrol,
    networking,
    node,
    policy,
    rbac,
    resource,
    reviews,
    scheduling,
    storage,
    storagemigration,
)
from sampan.kinds.groups.conversions import CONVERSIONS, Conversion, conversion
from sampan.kinds.groups.optional import OPTIONAL, SWITCHED, switched_on
from sampan.kinds.kind import Kind

__all__ = ["CONVERSIONS", "KINDS", "OPTIONAL", "SWITCHED", "Conversion", "conversion", "switched_on"]

# What kube-apiserver serves where no runtime-config says otherwise.
KINDS: Final[tuple[Kind, ...]] = (
    *apiregistration.KINDS,
    *apps.KINDS,
    *events.KINDS,
    *reviews.KINDS,
    *autoscaling.KINDS,
    *batch.KINDS,
    *certificates.KINDS,
    *networking.KINDS,
    *policy.KINDS,
    *rbac.KINDS,
    *storage.KINDS,
    *admissionregistration.KINDS,
    *apiextensions.KINDS,
    *scheduling.KINDS,
    *coordination.KINDS,
    *node.KINDS,
    *discovery.KINDS,
    *flowcontrol.KINDS,
    *resource.KINDS,
    *storagemigration.KINDS,
)
