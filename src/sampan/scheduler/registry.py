"""The plugins that there are, in kube-scheduler's order, and the profile that they make by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sampan.scheduler.framework import Plugin
from sampan.scheduler.plugins import node_affinity, node_resources, pod_topology_spread, volume_binding
from sampan.scheduler.plugins.data_locality import DataLocality
from sampan.scheduler.plugins.dynamic_resources import DynamicResources
from sampan.scheduler.plugins.gang_scheduling import GangScheduling
from sampan.scheduler.plugins.image_locality import ImageLocality
from sampan.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from sampan.scheduler.plugins.node_affinity import NodeAffinity
from sampan.scheduler.plugins.node_balance import NodeResourcesBalancedAllocation
from sampan.scheduler.plugins.node_name import NodeName
from sampan.scheduler.plugins.node_ports import NodePorts
from sampan.scheduler.plugins.node_unschedulable import NodeUnschedulable
from sampan.scheduler.plugins.taint_toleration import TaintToleration
from sampan.scheduler.plugins.volume_rules import NodeVolumeLimits, VolumeRestrictions, VolumeZone
from sampan.scheduler.profile import Profile


class PluginError(ValueError):
    """A plugin from elsewhere that cannot be used; the text names it and its distribution."""


DEFAULT_NAME: Final = "default-scheduler"
# Makes a plugin from its pluginConfig args. Raises ValueError or msgspec.ValidationError for bad ones.
Make = Callable[[Mapping[str, Any]], Plugin]

PLUGINS: Final[Mapping[str, Make]] = {
    "NodeUnschedulable": lambda _: NodeUnschedulable(),
    "NodeName": lambda _: NodeName(),
    "TaintToleration": lambda _: TaintToleration(),
    "NodeAffinity": lambda args: NodeAffinity(node_affinity.added_of(dict(args))),
    "NodePorts": lambda _: NodePorts(),
    "NodeResourcesFit": node_resources.made_of,
    "VolumeRestrictions": lambda _: VolumeRestrictions(),
    "NodeVolumeLimits": lambda _: NodeVolumeLimits(),
    "VolumeBinding": volume_binding.made_of,
    "VolumeZone": lambda _: VolumeZone(),
    "DynamicResources": lambda _: DynamicResources(),
    "PodTopologySpread": pod_topology_spread.made_of,
    "InterPodAffinity": lambda args: InterPodAffinity(
        int(args.get("hardPodAffinityWeight", 1)),
        ignore_others=bool(args.get("ignorePreferredTermsOfExistingPods")),
    ),
    "NodeResourcesBalancedAllocation": lambda args: NodeResourcesBalancedAllocation(
        [r["name"] for r in args.get("resources") or ()] or ("cpu", "memory")
    ),
    "ImageLocality": lambda _: ImageLocality(),
    "DataLocality": lambda _: DataLocality(),
    "GangScheduling": lambda _: GangScheduling(),
}
# Enabled where a configuration says nothing else, with their weights in scoring.
DEFAULTS: Final[tuple[tuple[str, int], ...]] = (
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("GangScheduling", 0),
)


def default_profile(name: str = DEFAULT_NAME) -> Profile:
    """The profile without any configuration."""
    made = [(PLUGINS[plugin]({}), weight) for plugin, weight in DEFAULTS]
    return Profile(name, tuple(p for p, _ in made), tuple((p, w) for p, w in made if w))
