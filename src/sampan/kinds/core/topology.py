"""The labels of its node that a pod gets when it is bound (PodTopologyLabels, since Kubernetes 1.35)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COPIED: Final = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")


def copied(labels: Mapping[str, str]) -> dict[str, str]:
    """What pods of a node with these labels are labelled with."""
    return {key: labels[key] for key in COPIED if key in labels}
