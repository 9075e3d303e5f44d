"""The cluster's own signers: approved requests get certificates, or the condition Failed.

Follows pkg/controller/certificates/signer. Other signers' requests are left to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

import msgspec

from sampan.client.effects import Plan, UpdateStatus
from sampan.controllers.certificates import issuing, rules
from sampan.controllers.certificates.issuing import Authority
from sampan.controllers.certificates.rules import Facts, Times
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.schema import api

Sign = Callable[[bytes, Collection[str], Times], bytes]


class View(msgspec.Struct, frozen=True):
    """An approved request without a certificate; `facts` is a sentence where the request cannot be read."""

    request: api.CertificateSigningRequest
    facts: Facts | str


def gather(caches: Caches, key: Key) -> View | None:
    request = caches.of(api.CertificateSigningRequest).get("", key.name)
    if request is None or request.status.certificate or request.spec.signerName not in rules.SIGNERS:
        return None
    if not rules.has(request, "Approved") or rules.has(request, "Denied", "Failed"):
        return None
    try:
        return View(request, issuing.facts(request.spec.request))
    except ValueError as problem:
        return View(request, str(problem))


def plan(view: View, now: datetime, authority_ends: datetime, sign: Sign) -> Plan:
    """Sign what the signer's rules allow; tell why not. `sign` makes the certificate."""
    request, facts = view.request, view.facts
    spec, status = request.spec, request.status
    why = facts if isinstance(facts, str) else rules.refusal(spec.signerName, facts, spec.usages)
    if why:
        failed = api.CertificateSigningRequestCondition(
            type="Failed",
            status="True",
            reason="SignerValidationFailure",
            message=why,
            lastUpdateTime=now,
            lastTransitionTime=now,
        )
        status = msgspec.structs.replace(status, conditions=[*status.conditions, failed])
        return Plan((UpdateStatus(msgspec.structs.replace(request, status=status)),))
    good = rules.times(spec.expirationSeconds, now, authority_ends)
    if good is None:
        return Plan(waiting_for="a certificate authority that has not ended")
    certificate = sign(spec.request, spec.usages, good)
    status = msgspec.structs.replace(status, certificate=certificate)
    return Plan((UpdateStatus(msgspec.structs.replace(request, status=status)),))


def controller(authority: Authority) -> Controller:
    """The signers, all with one authority."""
    ends = authority.ends()
    return Controller(
        name="certificatesigningrequest-signing",
        kind=api.CertificateSigningRequest,
        gather=gather,
        plan=lambda view, now: plan(view, now, ends, authority.sign),
    )
