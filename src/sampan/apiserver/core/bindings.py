"""Binding pods to nodes: what a binding makes of a pod."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.admission.topology import Places
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.together import Wanted
from sampan.apiserver.core.updating import Change
from sampan.apiserver.core.users import User
from sampan.client.transport import Bind
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.schema import api

_BINDING: Final = "binding"


def refused(name: str, why: str) -> status.StatusError:
    """A 409 about the binding of a pod."""
    message = f'Operation cannot be fulfilled on pods/binding "{name}": {why}'
    return status.StatusError(409, "Conflict", message, {"name": name, "kind": "pods/binding"})


def binding_of(node: str, annotations: Mapping[str, str], labels: Mapping[str, str], now: datetime) -> Change:
    """The change that binds a pod to a node, and gives it these annotations and labels.

    Raises 409 where the pod cannot be bound.
    """

    def change(current: api.Pod) -> api.Pod:
        # Shares with the old pod what a binding does not touch.
        replace = msgspec.structs.replace
        pod = replace(
            current,
            metadata=replace(
                current.metadata,
                annotations=dict(current.metadata.annotations),
                labels={**current.metadata.labels, **labels},
            ),
            spec=replace(current.spec),
            status=replace(current.status),
        )
        name = pod.metadata.name or ""
        if pod.metadata.deletionTimestamp is not None:
            raise refused(name, f"pod {name} is being deleted, cannot be assigned to a host")
        if pod.spec.nodeName:
            why = f"pod {name} is already assigned to node {pod.spec.nodeName!r}".replace("'", '"')
            raise refused(name, why)
        if pod.spec.schedulingGates:
            raise refused(name, f"pod {name} has non-empty .spec.schedulingGates")
        pod.spec.nodeName = node
        pod.status.nominatedNodeName = None  # the promise is kept
        pod.metadata.annotations.update(annotations)
        condition = api.PodCondition(
            type="PodScheduled",
            status="True",
            lastTransitionTime=now,
            observedGeneration=pod.metadata.generation,
        )
        kept = [c for c in pod.status.conditions if c.type != "PodScheduled"]
        pod.status.conditions = [*kept, condition]
        return pod

    return change


def wanted(pods: Resource, places: Places, user: User, agent: str, bind: Bind, now: datetime) -> Wanted:
    """The update that such a binding is."""
    labels = places.of(bind.node)
    return Wanted(
        resource=pods,
        target=_target(pods.kind, bind.namespace, bind.name),
        method="POST",
        change=binding_of(bind.node, {}, labels, now),
        request=partial(_request, user, agent, bind),
        uid=bind.uid,
        code=201,
        node="" if labels else bind.node,
    )


def _target(kind: Kind, namespace: str, name: str) -> Target:
    return Target(kind.group, kind.version, kind.plural, namespace, name, _BINDING, "", "create")


def _path(bind: Bind) -> str:
    return registry.path(registry.by_type(api.Pod), bind.namespace, bind.name, _BINDING)


def _request(user: User, agent: str, bind: Bind) -> Request:
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": bind.name, "namespace": bind.namespace},
        "target": {"kind": "Node", "name": bind.node},
    }
    if bind.uid:
        body["metadata"]["uid"] = bind.uid
    headers = {"content-type": "application/json", "accept": "application/json", "user-agent": agent}
    return Request(
        method="POST", path=_path(bind), headers=headers, body=msgspec.json.encode(body), user=user
    )
