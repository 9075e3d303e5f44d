"""The pods that objects have or would have, made by what their controllers make them with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from sampan.client.cache import controller_of
from sampan.controllers.daemonset.placement import Placement
from sampan.controllers.deployment.revisions import template_hash
from sampan.controllers.deployment.view import HASH_LABEL
from sampan.controllers.job.scaling import first_pods
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.owners import owner_reference
from sampan.controllers.statefulset import identity
from sampan.schema import api, codec

# More pods than these are not simulated at once.
MOST_PODS: Final = 20_000


class SimulationError(ValueError):
    """What was asked cannot be simulated; the text names the object and what is wrong with it."""


class Made(msgspec.Struct):
    """Pods, and what their controllers make beside them: ReplicaSets and claims."""

    pods: list[api.Pod] = []
    others: list[Any] = []


def expand(objects: Sequence[Any], nodes: Sequence[api.Node]) -> Made:
    """Every pod of these objects. A pod whose name its controller would make up has a `#` in it.

    Raises SimulationError where there are too many.
    """
    made = Made()
    for obj in objects:
        maker = _MAKERS.get(type(obj))
        if maker is None:
            continue
        for each in maker(_identified(obj), nodes):
            (made.pods if isinstance(each, api.Pod) else made.others).append(each)
            if len(made.pods) > MOST_PODS:
                raise SimulationError(
                    f"these objects have more than {MOST_PODS} pods; simulate fewer of them at once"
                )
    return made


def has_pods(obj: Any) -> bool:
    """Whether objects of its kind are pods or have some."""
    return type(obj) in _MAKERS


def owned_pods(obj: Any, pods: Sequence[api.Pod], others: Mapping[type[Any], Sequence[Any]]) -> set[str]:
    """The uids of those pods that the object has in the cluster already."""
    uids = {each.metadata.uid for each in others.get(type(obj), ()) if _same(each, obj)}
    for between in others.get(api.ReplicaSet, ()):
        owner = controller_of(between)
        if owner is not None and owner.uid in uids:
            uids.add(between.metadata.uid)
    named = (obj.metadata.namespace, type(obj).__name__.rpartition("_")[2], obj.metadata.name)
    found = set()
    for pod in pods:
        owner = controller_of(pod)
        if owner is None:
            continue
        by_name = (pod.metadata.namespace, owner.kind, owner.name) == named
        if owner.uid in uids or (by_name and not uids):
            found.add(pod.metadata.uid or "")
    return found


def _same(one: Any, other: Any) -> bool:
    return (one.metadata.namespace, one.metadata.name) == (other.metadata.namespace, other.metadata.name)


def _identified(obj: Any) -> Any:
    """With a uid, which what the object owns needs to be told apart."""
    if obj.metadata.uid:
        return obj
    uid = f"simulated-{obj.metadata.namespace}-{obj.metadata.name}"
    return msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, uid=uid))


def _pod(obj: api.Pod, _nodes: Sequence[api.Node]) -> Iterator[Any]:
    yield codec.copy(obj)


def _replicas(obj: Any, _nodes: Sequence[api.Node]) -> Iterator[Any]:
    count = 1 if obj.spec.replicas is None else obj.spec.replicas
    for number in range(1, count + 1):
        yield _named(podutil.from_template(obj.spec.template, obj), number)


def _deployment(obj: api.Deployment, nodes: Sequence[api.Node]) -> Iterator[Any]:
    """Through the ReplicaSet that the Deployment would have once it is rolled out."""
    hashed = template_hash(obj.spec.template, None)
    template = codec.copy(obj.spec.template)
    template.metadata.labels[HASH_LABEL] = hashed
    selector = codec.copy(obj.spec.selector) if obj.spec.selector is not None else api.LabelSelector()
    selector.matchLabels[HASH_LABEL] = hashed
    meta = api.ObjectMeta(
        name=f"{obj.metadata.name}-{hashed}",
        namespace=obj.metadata.namespace,
        uid=f"{obj.metadata.uid}-{hashed}",
        labels=dict(template.metadata.labels),
        ownerReferences=[owner_reference(obj)],
    )
    spec = api.ReplicaSetSpec(replicas=obj.spec.replicas, selector=selector, template=template)
    between = api.ReplicaSet(apiVersion="apps/v1", kind="ReplicaSet", metadata=meta, spec=spec)
    yield between
    yield from _replicas(between, nodes)


def _stateful(obj: api.StatefulSet, _nodes: Sequence[api.Node]) -> Iterator[Any]:
    yield obj
    for ordinal in identity.ordinals(obj):
        pod = identity.make_pod(obj, obj.spec.template, "simulated", ordinal)
        yield from identity.make_claims(obj, pod.metadata.name or "")
        yield pod


def _daemons(obj: api.DaemonSet, nodes: Sequence[api.Node]) -> Iterator[Any]:
    placement = Placement(obj)
    for number, node in enumerate((n for n in nodes if placement.fit(n).run), start=1):
        yield _named(placement.pod_for(node.metadata.name or "", "simulated"), number)


def _job(obj: api.Job, _nodes: Sequence[api.Node]) -> Iterator[Any]:
    for number, pod in enumerate(first_pods(obj), start=1):
        yield _named(pod, number)


def _cron_job(obj: api.CronJob, nodes: Sequence[api.Node]) -> Iterator[Any]:
    """One run."""
    template = obj.spec.jobTemplate
    if template is None:
        return
    meta = api.ObjectMeta(
        name=f"{obj.metadata.name}-#",
        namespace=obj.metadata.namespace,
        uid=f"{obj.metadata.uid}-run",
        ownerReferences=[owner_reference(obj)],
    )
    run = api.Job(apiVersion="batch/v1", kind="Job", metadata=meta, spec=codec.copy(template.spec))
    yield from _job(run, nodes)


def _named(pod: api.Pod, number: int) -> api.Pod:
    """With a name that no other pod of the cluster can have."""
    pod.metadata.name = f"{pod.metadata.generateName}#{number}"
    pod.metadata.generateName = None
    return pod


_MAKERS: Final[Mapping[type[Any], Callable[[Any, Sequence[api.Node]], Iterator[Any]]]] = {
    api.Pod: _pod,
    api.Deployment: _deployment,
    api.ReplicaSet: _replicas,
    api.ReplicationController: _replicas,
    api.StatefulSet: _stateful,
    api.DaemonSet: _daemons,
    api.Job: _job,
    api.CronJob: _cron_job,
}
