"""A pod's claims from ResourceClaimTemplates: made, owned by the pod, and named in its status."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.effects import Create, Effect, Emit, Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api, codec

# On a claim: which of its pod's claims it is.
POD_CLAIM_NAME: Final = "resource.kubernetes.io/pod-claim-name"
# A generated name's fixed part may be this long: five characters come behind, and a name has 63 at most.
_PREFIX_MOST: Final = 57
_TEMPLATE: Final = "template"


class View(msgspec.Struct, frozen=True):
    """A pod that has no end yet, its claims, and the templates that it names."""

    pod: api.Pod
    claims: tuple[api.ResourceClaim, ...] = ()
    templates: tuple[api.ResourceClaimTemplate, ...] = ()


def gather(caches: Caches, key: Key) -> View | None:
    pod = caches.of(api.Pod).get(*key)
    if pod is None or not _templates_of(pod) or not podutil.is_active(pod):
        return None
    known = caches.of(api.ResourceClaimTemplate)
    templates = [known.get(key.namespace, name) for name in _templates_of(pod)]
    claims = caches.of(api.ResourceClaim).controlled_by(pod.metadata.uid or "")
    return View(pod, tuple(claims), tuple(t for t in templates if t is not None))


def plan(view: View, now: datetime) -> Plan:
    """Make what is missing; once every claim is there, the pod's status names them."""
    pod, effects, notices = view.pod, list[Effect](), list[Emit]()
    held = {
        claim.metadata.annotations.get(POD_CLAIM_NAME, ""): claim.metadata.name or ""
        for claim in view.claims
        if claim.metadata.deletionTimestamp is None
    }
    templates = {template.metadata.name: template for template in view.templates}
    # Somebody said in the status that the pod needs no claim for these.
    needless = {s.name for s in pod.status.resourceClaimStatuses if s.resourceClaimName is None} - held.keys()
    for wanted in pod.spec.resourceClaims:
        name = wanted.resourceClaimTemplateName
        if not name or wanted.name in held or wanted.name in needless:
            continue
        template = templates.get(name)
        prefix = f"PodResourceClaim {wanted.name}: "
        if template is None:
            gone = f'resourceclaimtemplate.resource.k8s.io "{name}" not found'
            text = f'{prefix}resource claim template "{name}": {gone}'
            notices.append(Emit(ref_of(pod), "Warning", "FailedResourceClaimCreation", text))
            continue
        failed = Emit(ref_of(pod), "Warning", "FailedResourceClaimCreation", prefix + "{error}")
        effects.append(Create(_claim(pod, wanted.name, template), failed=failed))
    statuses = [
        _status(wanted.name, held.get(wanted.name))
        for wanted in pod.spec.resourceClaims
        if wanted.name in held or wanted.name in needless
    ]
    told = [_status(s.name, s.resourceClaimName) for s in pod.status.resourceClaimStatuses]
    if statuses != told:
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": statuses or None}}
        effects.insert(0, Patch(ref_of(pod), patch, subresource="status"))
    return Plan(tuple(effects), notices[0].message if notices else "", notices=tuple(notices))


def _status(name: str, claim: str | None) -> dict[str, str]:
    return {"name": name} if claim is None else {"name": name, "resourceClaimName": claim}


def _claim(pod: api.Pod, name: str, template: api.ResourceClaimTemplate) -> api.ResourceClaim:
    whole = codec.copy(template.spec)
    meta = api.ObjectMeta(
        generateName=f"{pod.metadata.name}-{name}"[:_PREFIX_MOST].rstrip("-.") + "-",
        namespace=pod.metadata.namespace,
        labels=whole.metadata.labels,
        annotations={**whole.metadata.annotations, POD_CLAIM_NAME: name},
        ownerReferences=[owner_reference(pod)],
    )
    return api.ResourceClaim(
        apiVersion="resource.k8s.io/v1", kind="ResourceClaim", metadata=meta, spec=whole.spec
    )


def _templates_of(pod: api.Pod) -> list[str]:
    return [c.resourceClaimTemplateName for c in pod.spec.resourceClaims if c.resourceClaimTemplateName]


def _template_index(pod: api.Pod) -> Iterable[str]:
    return [f"{pod.metadata.namespace}/{name}" for name in _templates_of(pod)]


def _owners(caches: Caches, claim: Any) -> Iterable[Key]:
    owner = controller_of(claim)
    if owner is not None and owner.kind == "Pod" and owner.apiVersion == "v1":
        yield Key(claim.metadata.namespace or "", owner.name)


def _waiting(caches: Caches, template: Any) -> Iterable[Key]:
    where = f"{template.metadata.namespace}/{template.metadata.name}"
    for pod in caches.of(api.Pod).by_index(_TEMPLATE, where):
        yield Key(pod.metadata.namespace or "", pod.metadata.name or "")


def _changed(old: api.Pod, new: api.Pod) -> bool:
    return (
        podutil.is_active(old) != podutil.is_active(new)
        or old.status.resourceClaimStatuses != new.status.resourceClaimStatuses
    )


CONTROLLER: Final = Controller(
    name="resource-claim",
    reporter="resource_claim",
    kind=api.Pod,
    matters=_changed,
    wants=lambda _caches, pod: bool(pod.spec.resourceClaims),
    watches=(
        mapped(api.ResourceClaim, _owners, lambda old, new: old.metadata != new.metadata),
        mapped(api.ResourceClaimTemplate, _waiting),
    ),
    indexes={api.Pod: {_TEMPLATE: _template_index}},
    gather=gather,
    plan=plan,
)
