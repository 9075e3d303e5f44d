"""What happens to a node on its way in."""

from __future__ import annotations

from typing import Any, Final

from sampan.apiserver.core.context import Attributes
from sampan.schema import api

_NOT_READY: Final = "node.kubernetes.io/not-ready"


class TaintNodes:
    """Keeps pods off a new node until its agent has said that it is ready (TaintNodesByCondition).

    The node lifecycle controller takes the taint off again.
    """

    kinds = frozenset({"Node"})
    reads: tuple[type[Any], ...] = ()

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        taints = attributes.obj.spec.taints
        if not any(taint.key == _NOT_READY and taint.effect == "NoSchedule" for taint in taints):
            taints.append(api.Taint(key=_NOT_READY, effect="NoSchedule"))

    def validate(self, attributes: Attributes) -> None:
        return None
