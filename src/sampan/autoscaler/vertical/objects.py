"""VerticalPodAutoscalers (autoscaling.k8s.io/v1), as far as they are read and written here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.autoscaler.vertical.recommend import Policy, Recommendation
from sampan.machinery.quantity import Quantity, quantity

PATH: Final = "/apis/autoscaling.k8s.io/v1"
PLURAL: Final = "verticalpodautoscalers"
# Modes in which requests are changed where the pod runs; in others they are recommended only.
IN_PLACE: Final = frozenset({"InPlaceOrRecreate", "InPlace", "Auto"})
ALL_CONTAINERS: Final = "*"


class _Camel(msgspec.Struct, rename="camel"):
    pass


class Reference(_Camel):
    """What is scaled."""

    kind: str = ""
    name: str = ""
    api_version: str = "v1"


class ContainerPolicy(_Camel):
    """What somebody allows for a container, or for all (`*`)."""

    container_name: str = ALL_CONTAINERS
    mode: str = "Auto"
    min_allowed: dict[str, str] = {}
    max_allowed: dict[str, str] = {}
    controlled_resources: tuple[str, ...] = ("cpu", "memory")


class _Policies(_Camel):
    container_policies: list[ContainerPolicy] = []


class _Update(_Camel):
    update_mode: str = "Auto"


class _Spec(_Camel):
    target_ref: Reference = msgspec.field(default_factory=Reference)
    update_policy: _Update = msgspec.field(default_factory=_Update)
    resource_policy: _Policies = msgspec.field(default_factory=_Policies)


class _Metadata(_Camel):
    name: str = ""
    namespace: str = ""
    uid: str = ""


class Vpa(_Camel):
    """One VerticalPodAutoscaler."""

    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: dict[str, Any] = {}

    @property
    def in_place(self) -> bool:
        return self.spec.update_policy.update_mode in IN_PLACE


class Vpas(msgspec.Struct):
    """A list of them."""

    items: list[Vpa] = []


def policy_of(vpa: Vpa, container: str) -> Policy:
    """The policy for a container: its own, else that of all. Raises ValueError for a bad quantity."""
    policies = {one.container_name: one for one in vpa.spec.resource_policy.container_policies}
    found = policies.get(container) or policies.get(ALL_CONTAINERS) or ContainerPolicy()
    return Policy(
        off=found.mode == "Off",
        least=_quantities(found.min_allowed),
        most=_quantities(found.max_allowed),
        controlled=found.controlled_resources,
    )


def status_of(advice: Mapping[str, Recommendation]) -> dict[str, Any]:
    """The status that tells of the recommendations, by container."""
    entries = [
        {
            "containerName": name,
            "target": _texts(one.target),
            "lowerBound": _texts(one.lower),
            "upperBound": _texts(one.upper),
            "uncappedTarget": _texts(one.uncapped),
        }
        for name, one in sorted(advice.items())
    ]
    return {"recommendation": {"containerRecommendations": entries}}


def _quantities(texts: Mapping[str, str]) -> dict[str, Quantity]:
    return {name: quantity(text) for name, text in texts.items()}


def _texts(quantities: Mapping[str, Quantity]) -> dict[str, str]:
    return {name: str(amount) for name, amount in quantities.items()}
