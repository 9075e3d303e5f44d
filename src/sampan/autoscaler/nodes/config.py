"""Node groups and options, read and checked from a file. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.machinery.quantity import quantity
from sampan.schema import api

GROUP_LABEL: Final = "autoscaling.sampan.dev/node-group"
SPARE_LABEL: Final = "autoscaling.sampan.dev/spare"
PROVIDERS: Final = ("spare", "simulated", "command")
EXPANDERS: Final = ("least-waste", "priority", "random", "most-pods")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
NODES_MOST: Final = 1000


class Taint(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A taint of a group's nodes."""

    key: str
    value: str = ""
    effect: str


class Template(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a new node of the group will be like."""

    capacity: dict[str, str]
    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()


class Group(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node group. `command` is the external provider's; `priority` counts for the expander of that name."""

    name: str
    min: int = 0
    max: int
    provider: str
    template: Template
    command: tuple[str, ...] = ()
    command_timeout_s: float = 30.0
    priority: int = 0

    def node(self, name: str) -> api.Node:
        """A new node of the group, as it is expected to be."""
        amounts = {key: quantity(text) for key, text in {"pods": "110", **self.template.capacity}.items()}
        labels = {"kubernetes.io/hostname": name, **self.template.labels, GROUP_LABEL: self.name}
        taints = [api.Taint(key=t.key, value=t.value, effect=t.effect) for t in self.template.taints]
        return api.Node(
            metadata=api.ObjectMeta(name=name, labels=labels),
            spec=api.NodeSpec(taints=taints),
            status=api.NodeStatus(capacity=amounts, allocatable=amounts),
        )


class Config(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything; names and defaults are those of the flags of kubernetes/autoscaler."""

    groups: tuple[Group, ...]
    expander: str = "least-waste"
    scan_interval_s: float = 10.0
    max_node_provision_time_s: float = 900.0
    scale_down_enabled: bool = True
    scale_down_utilization_threshold: float = 0.5
    scale_down_unneeded_time_s: float = 600.0
    scale_down_unready_time_s: float = 1200.0
    scale_down_delay_after_add_s: float = 600.0
    max_graceful_termination_s: float = 600.0
    initial_node_group_backoff_s: float = 300.0
    skip_nodes_with_system_pods: bool = True
    skip_nodes_with_local_storage: bool = True


def parse(document: Any) -> Config:
    """The configuration in a decoded YAML document. Raises ValueError that names what is wrong."""
    config = msgspec.convert(document, Config, strict=True)
    if not config.groups:
        raise ValueError("groups must name at least one node group")
    if config.expander not in EXPANDERS:
        raise ValueError(f"expander {config.expander!r} is none of {', '.join(EXPANDERS)}")
    if not 0 <= config.scale_down_utilization_threshold <= 1:
        raise ValueError("scaleDownUtilizationThreshold must be between 0 and 1")
    if config.scan_interval_s < 1:
        raise ValueError("scanIntervalS must be at least 1")
    names = [group.name for group in config.groups]
    for group in config.groups:
        if names.count(group.name) > 1:
            raise ValueError(f"there are two node groups named {group.name!r}")
        _check(group)
    return config


def _check(group: Group) -> None:
    where = f"node group {group.name!r}"
    if not 0 <= group.min <= group.max <= NODES_MOST:
        raise ValueError(f"{where}: min must be at least 0 and at most max, and max at most {NODES_MOST}")
    if group.provider not in PROVIDERS:
        raise ValueError(f"{where}: provider {group.provider!r} is none of {', '.join(PROVIDERS)}")
    if (group.provider == "command") != bool(group.command):
        raise ValueError(f"{where}: give a command exactly where the provider is 'command'")
    if group.command_timeout_s <= 0:
        raise ValueError(f"{where}: commandTimeoutS must be above 0")
    for name in ("cpu", "memory"):
        if name not in group.template.capacity:
            raise ValueError(f"{where}: template.capacity must say {name}")
    for name, text in group.template.capacity.items():
        try:
            quantity(text)
        except ValueError as problem:
            raise ValueError(f"{where}: template.capacity.{name}: {problem}") from None
    for taint in group.template.taints:
        if taint.effect not in _EFFECTS:
            raise ValueError(f"{where}: taint {taint.key}: effect {taint.effect!r} is none of {_EFFECTS}")
