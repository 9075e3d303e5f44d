"""Fields of kinds that belong to further kinds: they are dropped where those are not served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from sampan.kinds.groups import podgroups
from sampan.kinds.kind import Kind


def _of_template(obj: Any) -> Any:
    return obj.spec.template.spec if obj.spec.template is not None else None


# Where the spec of a pod is in the kinds that have one.
_SPECS: Final[Mapping[tuple[str, str], Callable[[Any], Any]]] = {
    ("", "Pod"): lambda obj: obj.spec,
    ("", "PodTemplate"): lambda obj: obj.template.spec,
    ("", "ReplicationController"): _of_template,
    **{("apps", kind): _of_template for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")},
    ("batch", "Job"): _of_template,
    ("batch", "CronJob"): lambda obj: _of_template(obj.spec.jobTemplate) if obj.spec.jobTemplate else None,
}


def served_together(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds as they are where exactly these are served.

    Without PodGroups pods have no `schedulingGroup`, as in kube-apiserver without the gate GenericWorkload:
    the field is dropped without a word, but for objects that have it from before.
    """
    listed = tuple(kinds)
    groups = {(kind.group, kind.plural) for kind in podgroups.KINDS}
    if any((kind.group, kind.plural) in groups for kind in listed):
        return listed
    return tuple(_without_groups(kind) for kind in listed)


def _without_groups(kind: Kind) -> Kind:
    spec_of = _SPECS.get((kind.group, kind.kind))
    if spec_of is None:
        return kind

    def prepare_create(obj: Any) -> None:
        spec = spec_of(obj)
        if spec is not None and spec.schedulingGroup is not None:
            spec.schedulingGroup = None
        kind.prepare_create(obj)

    def prepare_update(new: Any, old: Any) -> None:
        spec = spec_of(new)
        if spec is not None and spec.schedulingGroup is not None:
            before = spec_of(old)
            if before is None or before.schedulingGroup is None:
                spec.schedulingGroup = None
        kind.prepare_update(new, old)

    return msgspec.structs.replace(kind, prepare_create=prepare_create, prepare_update=prepare_update)
