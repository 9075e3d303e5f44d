"""Kubelets' requests for client certificates are approved at once, where access reviews allow it.

Follows pkg/controller/certificates/approver/sarapprove.go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from sampan.client.client import Client
from sampan.client.effects import NOTHING, Plan, Update
from sampan.controllers.certificates import issuing, rules
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.schema import api

# Nobody tells when somebody is given a role; such requests are looked at again.
LOOK_AGAIN_S: Final = 60.0
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_SELF: Final = "selfnodeclient"
_MESSAGES: Final = {
    _SELF: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}


class View(msgspec.Struct, frozen=True):
    """A request that nobody has decided about, as what it may be approved, and as what it is."""

    request: api.CertificateSigningRequest
    candidates: tuple[str, ...]
    allowed: str = ""


def gather(caches: Caches, key: Key) -> View | None:
    request = caches.of(api.CertificateSigningRequest).get("", key.name)
    if request is None or request.spec.signerName != rules.KUBELET_CLIENT:
        return None
    if request.status.certificate or rules.has(request, "Approved", "Denied"):
        return None
    try:
        facts = issuing.facts(request.spec.request)
    except ValueError:
        return None
    if rules.kubelet_client_refusal(facts, request.spec.usages):
        return None
    own = request.spec.username == facts.common_name
    return View(request, (_SELF, "nodeclient") if own else ("nodeclient",))


async def survey(client: Client, view: View) -> View:
    """Ask which of the candidates the requester may create."""
    for candidate in view.candidates:
        answer = await client.post(_REVIEWS, review(view.request, candidate), api.SubjectAccessReview)
        if answer.status.allowed:
            return msgspec.structs.replace(view, allowed=candidate)
    return view


def review(request: api.CertificateSigningRequest, subresource: str) -> api.SubjectAccessReview:
    """The question whether the requester may create certificatesigningrequests/`subresource`."""
    spec = request.spec
    access = api.ResourceAttributes(
        group="certificates.k8s.io",
        resource="certificatesigningrequests",
        subresource=subresource,
        verb="create",
        version="*",
    )
    return api.SubjectAccessReview(
        apiVersion="authorization.k8s.io/v1",
        kind="SubjectAccessReview",
        spec=api.SubjectAccessReviewSpec(
            user=spec.username, uid=spec.uid, groups=spec.groups, extra=spec.extra, resourceAttributes=access
        ),
    )


def plan(view: View, now: datetime) -> Plan:
    """Approve what was allowed."""
    request = view.request
    if not view.allowed:
        tried = " ".join(view.candidates)
        name, problem = request.metadata.name, "subject access review was not approved"
        why = f'recognized csr "{name}" as [{tried}] but {problem}'
        return Plan(waiting_for=why, requeue_after_s=LOOK_AGAIN_S)
    if view.allowed not in view.candidates:
        return NOTHING
    approved = api.CertificateSigningRequestCondition(
        type="Approved",
        status="True",
        reason="AutoApproved",
        message=_MESSAGES[view.allowed],
        lastUpdateTime=now,
        lastTransitionTime=now,
    )
    status = msgspec.structs.replace(request.status, conditions=[*request.status.conditions, approved])
    return Plan((Update(msgspec.structs.replace(request, status=status), "approval"),))


CONTROLLER: Final = Controller(
    name="certificatesigningrequest-approving",
    kind=api.CertificateSigningRequest,
    gather=gather,
    survey=survey,
    plan=plan,
)
