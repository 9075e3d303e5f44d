"""Which ReplicaSet belongs to the Deployment's template: found or made, numbered, and in the end removed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from sampan.base.ids import NAME_ALPHABET
from sampan.controllers.deployment.draft import Draft
from sampan.controllers.deployment.scaling import new_size
from sampan.controllers.deployment.view import (
    DESIRED_REPLICAS,
    HASH_LABEL,
    MAX_REPLICAS,
    REVISION,
    REVISION_HISTORY,
    created,
    max_replicas,
    revision,
    size,
    wanted,
)
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api, codec

HASH_LENGTH: Final = 10
HISTORY_MOST: Final = 2000  # characters
_NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)


def find_new(deployment: api.Deployment, replicasets: Iterable[api.ReplicaSet]) -> api.ReplicaSet | None:
    """The oldest ReplicaSet whose template is the Deployment's, but for the hash label."""
    template = deployment.spec.template
    return next((o for o in sorted(replicasets, key=created) if is_same(o.spec.template, template)), None)


def is_same(one: api.PodTemplateSpec, other: api.PodTemplateSpec) -> bool:
    """Whether the templates are equal, whatever their hash labels."""
    return _unhashed(one) == _unhashed(other)


def template_hash(template: api.PodTemplateSpec, collisions: int | None) -> str:
    """Letters that depend on nothing but the template and the number of collisions there were."""
    digest = hashlib.sha256(codec.encode(template) + str(collisions or "").encode()).digest()
    return "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest[:HASH_LENGTH])


def make_new(deployment: api.Deployment, draft: Draft, collisions: int | None) -> api.ReplicaSet:
    """The ReplicaSet for the Deployment's template, sized for the rollout's first step."""
    spec = deployment.spec
    template = codec.copy(spec.template)
    hashed = template_hash(spec.template, collisions)
    template.metadata.labels[HASH_LABEL] = hashed
    selector = codec.copy(spec.selector) if spec.selector is not None else api.LabelSelector()
    selector.matchLabels[HASH_LABEL] = hashed
    made = api.ReplicaSet(
        apiVersion="apps/v1",
        kind="ReplicaSet",
        metadata=api.ObjectMeta(
            name=f"{deployment.metadata.name}-{hashed}",
            namespace=deployment.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations={
                **_copied(deployment),
                REVISION: str(next_revision(draft.all)),
                DESIRED_REPLICAS: str(wanted(deployment)),
                MAX_REPLICAS: str(max_replicas(deployment)),
            },
            ownerReferences=[owner_reference(deployment)],
        ),
        spec=api.ReplicaSetSpec(
            replicas=0, minReadySeconds=spec.minReadySeconds, selector=selector, template=template
        ),
    )
    made.spec.replicas = new_size(deployment, [*draft.all, made], made)
    return made


def refresh_new(deployment: api.Deployment, draft: Draft) -> None:
    """Give the found ReplicaSet the Deployment's annotations and the highest revision."""
    new = draft.new
    assert new is not None
    annotations = {**new.metadata.annotations, **_copied(deployment)}
    latest = next_revision(draft.old)
    if revision(new) < latest:
        annotations |= _renumbered(new, latest)
    meta = msgspec.structs.replace(new.metadata, annotations=annotations)
    spec = msgspec.structs.replace(new.spec, minReadySeconds=deployment.spec.minReadySeconds)
    draft.change(msgspec.structs.replace(new, metadata=meta, spec=spec))


def next_revision(replicasets: Iterable[api.ReplicaSet]) -> int:
    return max(map(revision, replicasets), default=0) + 1


def clean_up(deployment: api.Deployment, draft: Draft) -> None:
    """Remove the oldest revisions over the limit that have no pods left."""
    limit = deployment.spec.revisionHistoryLimit
    if limit is None:
        return
    alive = [one for one in draft.old if one.metadata.deletionTimestamp is None]
    for one in sorted(alive, key=revision)[: max(len(alive) - limit, 0)]:
        settled = (one.metadata.generation or 0) <= (one.status.observedGeneration or 0)
        if settled and not one.status.replicas and not size(one):
            draft.remove(one)


def _unhashed(template: api.PodTemplateSpec) -> api.PodTemplateSpec:
    labels = {name: value for name, value in template.metadata.labels.items() if name != HASH_LABEL}
    meta = msgspec.structs.replace(template.metadata, labels=labels)
    return msgspec.structs.replace(template, metadata=meta)


def _copied(deployment: api.Deployment) -> dict[str, str]:
    annotations: Mapping[str, str] = deployment.metadata.annotations
    return {name: value for name, value in annotations.items() if name not in _NOT_COPIED}


def _renumbered(replicaset: api.ReplicaSet, latest: int) -> dict[str, str]:
    """A revision that is rolled back to takes the newest number, and remembers those it had."""
    old = replicaset.metadata.annotations.get(REVISION)
    if not old:
        return {REVISION: str(latest)}
    history = [
        number for number in replicaset.metadata.annotations.get(REVISION_HISTORY, "").split(",") if number
    ]
    if old not in history:
        history.append(old)
    while len(",".join(history)) > HISTORY_MOST:
        history.pop(0)
    return {REVISION: str(latest), REVISION_HISTORY: ",".join(history)}
