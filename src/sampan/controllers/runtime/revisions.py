"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, numbered, as kubectl reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from sampan.base.ids import NAME_ALPHABET
from sampan.client.effects import Create, Effect, Patch, Remove
from sampan.client.executor import Failure
from sampan.client.resources import ref_of
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api, codec

# The label of pods and revisions that tells which pod belongs to which revision.
HASH_LABEL: Final = "controller-revision-hash"
HASH_LENGTH: Final = 10
_NAME_MOST: Final = 253
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class Found(msgspec.Struct, frozen=True):
    """The revision of the owner's template, all others oldest first, and what makes it so."""

    current: api.ControllerRevision
    others: tuple[api.ControllerRevision, ...]
    collisions: int | None
    effects: tuple[Effect, ...] = ()


def snapshot(template: api.PodTemplateSpec) -> Any:
    """What a revision holds: a strategic merge patch that puts this template in place of any other."""
    return {"spec": {"template": {**codec.to_builtins(template), "$patch": "replace"}}}


def template_of(revision: api.ControllerRevision) -> api.PodTemplateSpec:
    """The template that a revision holds."""
    template = dict(revision.data["spec"]["template"])
    template.pop("$patch", None)
    return codec.from_builtins(template, api.PodTemplateSpec)


def number(revision: api.ControllerRevision) -> int:
    return revision.revision or 0


def in_order(revisions: Iterable[api.ControllerRevision]) -> list[api.ControllerRevision]:
    """Oldest first."""
    return sorted(revisions, key=lambda one: (number(one), one.metadata.name or ""))


def find(owner: Any, revisions: Sequence[api.ControllerRevision], failure: Failure | None) -> Found:
    """The revision of the owner's template: a known one, renumbered if it is not the newest, or a new one.

    `owner.status.collisionCount` grows when the name of a new one is taken by one that holds something else.
    """
    data = snapshot(owner.spec.template)
    collisions = owner.status.collisionCount
    ordered = in_order(revisions)
    same = [one for one in ordered if one.data == data]
    if not same:
        latest = number(ordered[-1]) + 1 if ordered else 1
        made = _make(owner, data, latest, collisions)
        if _is_taken(made, ordered, failure):
            collisions = (collisions or 0) + 1
            made = _make(owner, data, latest, collisions)
        return Found(made, tuple(ordered), collisions, (Create(made),))
    current = same[-1]
    others = tuple(one for one in ordered if one is not current)
    latest = number(others[-1]) + 1 if others else number(current)
    if number(current) >= latest:
        return Found(current, others, collisions)
    meta = {"uid": current.metadata.uid, "resourceVersion": current.metadata.resourceVersion}
    renumber = Patch(ref_of(current), {"metadata": meta, "revision": latest})
    return Found(msgspec.structs.replace(current, revision=latest), others, collisions, (renumber,))


def surplus(
    others: Sequence[api.ControllerRevision], live: frozenset[str], limit: int | None
) -> list[Effect]:
    """The removal of the oldest revisions over the limit. `live` are the names and hashes still in use."""
    if limit is None:
        return []
    unused = [one for one in others if not {one.metadata.name or "", hash_of(one)} & live]
    return [Remove(ref_of(one)) for one in unused[: max(len(unused) - limit, 0)]]


def hash_of(revision: api.ControllerRevision) -> str:
    """What pods of the revision have as their hash label: its own, or its name where it has none."""
    return revision.metadata.labels.get(HASH_LABEL, revision.metadata.name or "")


def _make(owner: Any, data: Any, number: int, collisions: int | None) -> api.ControllerRevision:
    digest = hashlib.sha256(codec.encode(data) + str(collisions or "").encode()).digest()
    hashed = "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest[:HASH_LENGTH])
    meta = owner.metadata
    prefix = meta.name[: _NAME_MOST - HASH_LENGTH - 1]
    return api.ControllerRevision(
        apiVersion="apps/v1",
        kind="ControllerRevision",
        metadata=api.ObjectMeta(
            name=f"{prefix}-{hashed}",
            namespace=meta.namespace,
            labels={**owner.spec.template.metadata.labels, HASH_LABEL: hashed},
            annotations={name: text for name, text in meta.annotations.items() if name != _LAST_APPLIED},
            ownerReferences=[owner_reference(owner)],
        ),
        # Who compares bytes, as Kubernetes' own suite does, finds them as Go writes maps: by their keys.
        data=msgspec.json.decode(msgspec.json.encode(data, order="sorted")),
        revision=number,
    )


def _is_taken(
    made: api.ControllerRevision, known: Sequence[api.ControllerRevision], failure: Failure | None
) -> bool:
    if any(one.metadata.name == made.metadata.name for one in known):
        return True
    effect = failure.effect if failure is not None else None
    return (
        failure is not None
        and isinstance(effect, Create)
        and isinstance(effect.obj, api.ControllerRevision)
        and effect.obj.metadata.name == made.metadata.name
        and getattr(failure.error, "reason", "") == "AlreadyExists"
    )
