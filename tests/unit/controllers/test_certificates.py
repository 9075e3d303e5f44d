from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sampan.client.effects import NOTHING, Remove, Update, UpdateStatus
from sampan.controllers.certificates import approving, cleaning, podcleaning, rules, signing
from sampan.controllers.certificates.rules import Facts, Times
from sampan.schema import api

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NODE = Facts("system:node:a", ("system:nodes",))
KUBELET = ("digital signature", "key encipherment", "client auth")
SERVING = ("digital signature", "key encipherment", "server auth")
CLIENT_MISMATCH = "usages did not match [client auth digital signature key encipherment]"
NOT_OF_NODES = "subject organization is not system:nodes"
NOT_A_NODE = "subject common name does not begin with system:node:"


def with_(facts: Facts, **changes: object) -> Facts:
    return msgspec.structs.replace(facts, **changes)


SERVER = with_(NODE, dns=("a",))


@pytest.mark.parametrize(
    ("signer", "facts", "usages", "why"),
    [
        (rules.API_CLIENT, Facts("ann"), ("client auth",), ""),
        (rules.API_CLIENT, Facts("ann"), KUBELET, ""),
        (
            rules.API_CLIENT,
            Facts("ann"),
            ("digital signature",),
            "missing required usage for client certificate: client auth",
        ),
        (
            rules.API_CLIENT,
            Facts("ann"),
            ("client auth", "server auth"),
            "invalid usage for client certificate: server auth",
        ),
        (rules.KUBELET_CLIENT, NODE, KUBELET, ""),
        (rules.KUBELET_CLIENT, NODE, ("client auth", "digital signature"), ""),
        (rules.KUBELET_CLIENT, NODE, ("client auth",), CLIENT_MISMATCH),
        (rules.KUBELET_CLIENT, NODE, (*KUBELET, "server auth"), CLIENT_MISMATCH),
        (rules.KUBELET_CLIENT, with_(NODE, common_name="a"), KUBELET, NOT_A_NODE),
        (rules.KUBELET_CLIENT, with_(NODE, organizations=("system:nodes", "x")), KUBELET, NOT_OF_NODES),
        (rules.KUBELET_CLIENT, with_(NODE, dns=("a",)), KUBELET, "DNS subjectAltNames are not allowed"),
        (rules.KUBELET_CLIENT, with_(NODE, emails=("a",)), KUBELET, "Email subjectAltNames are not allowed"),
        (rules.KUBELET_CLIENT, with_(NODE, ips=("10.0.0.1",)), KUBELET, "IP subjectAltNames are not allowed"),
        (rules.KUBELET_CLIENT, with_(NODE, uris=("a:b",)), KUBELET, "URI subjectAltNames are not allowed"),
        (rules.KUBELET_SERVING, SERVER, SERVING, ""),
        (rules.KUBELET_SERVING, with_(NODE, ips=("10.0.0.1",)), SERVING[::2], ""),
        (rules.KUBELET_SERVING, NODE, SERVING, "DNS or IP subjectAltName is required"),
        (rules.KUBELET_SERVING, with_(SERVER, organizations=()), SERVING, NOT_OF_NODES),
        (rules.KUBELET_SERVING, with_(SERVER, common_name="a"), SERVING, NOT_A_NODE),
        (rules.KUBELET_SERVING, with_(SERVER, uris=("a:b",)), SERVING, "URI subjectAltNames are not allowed"),
        (
            rules.KUBELET_SERVING,
            SERVER,
            KUBELET,
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (rules.LEGACY, Facts(), ("code signing",), ""),
    ],
)
def test_what_signers_refuse(signer: str, facts: Facts, usages: tuple[str, ...], why: str) -> None:
    assert rules.refusal(signer, facts, usages) == why


@pytest.mark.parametrize(
    ("seconds", "authority_s", "lasts_s"),
    [
        (None, 10**9, 365 * 86_400 - 300),
        (10**9, 10**9, 365 * 86_400 - 300),
        (1, 10**9, 600),  # no less than ten minutes
        (3600, 10**9, 3600),
        (9 * 3600, 10**9, 9 * 3600 - 300),
        (3600, 100, 100),
    ],
)
def test_how_long_certificates_last(seconds: int | None, authority_s: int, lasts_s: int) -> None:
    good = rules.times(seconds, NOW, NOW + timedelta(seconds=authority_s))
    assert good == Times(NOW - timedelta(minutes=5), NOW + timedelta(seconds=lasts_s))


def test_an_authority_that_has_ended_signs_nothing() -> None:
    assert rules.times(None, NOW, NOW) is None


def _request(*conditions: str, **spec: object) -> api.CertificateSigningRequest:
    fields = {"signerName": rules.KUBELET_CLIENT, "usages": list(KUBELET), "request": b"r", **spec}
    return api.CertificateSigningRequest(
        metadata=api.ObjectMeta(name="one", uid="u", resourceVersion="1", creationTimestamp=NOW),
        spec=msgspec.convert(fields, api.CertificateSigningRequestSpec),
        status=api.CertificateSigningRequestStatus(
            conditions=[
                api.CertificateSigningRequestCondition(type=t, status="True", lastUpdateTime=NOW)
                for t in conditions
            ]
        ),
    )


def test_refusals_are_told_and_nothing_is_signed() -> None:
    def sign(*_given: object) -> bytes:
        raise AssertionError("signed")

    request = _request("Approved")
    for facts, why in ((Facts("a"), NOT_OF_NODES), ("bad signature", "bad signature")):
        [effect] = signing.plan(signing.View(request, facts), NOW, NOW + HOUR, sign).effects
        assert isinstance(effect, UpdateStatus)
        condition = effect.obj.status.conditions[1]
        told = condition.type, condition.status, condition.reason, condition.message
        assert told == ("Failed", "True", "SignerValidationFailure", why)
        assert effect.obj.status.certificate is None
    assert len(request.status.conditions) == 1


def test_what_is_signed() -> None:
    request = _request("Approved", expirationSeconds=900)
    view = signing.View(request, NODE)
    [effect] = signing.plan(view, NOW, NOW + HOUR, lambda *given: repr(given).encode()).effects
    assert isinstance(effect, UpdateStatus)
    good = Times(NOW - timedelta(minutes=5), NOW + timedelta(seconds=900))
    assert effect.obj.status.certificate == repr((b"r", list(KUBELET), good)).encode()
    assert signing.plan(view, NOW, NOW, lambda *_: b"").effects == ()


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
        ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
    ],
)
def test_approvals(allowed: str, message: str) -> None:
    view = approving.View(_request(), ("selfnodeclient", "nodeclient"), allowed)
    [effect] = approving.plan(view, NOW).effects
    assert isinstance(effect, Update)
    assert effect.subresource == "approval"
    [condition] = effect.obj.status.conditions
    assert (condition.type, condition.reason, condition.message) == ("Approved", "AutoApproved", message)


def test_what_is_not_allowed_waits() -> None:
    plan = approving.plan(approving.View(_request(), ("nodeclient",)), NOW)
    assert (plan.effects, plan.requeue_after_s) == ((), approving.LOOK_AGAIN_S)
    wanted = 'recognized csr "one" as [nodeclient] but subject access review was not approved'
    assert plan.waiting_for == wanted


@pytest.mark.parametrize(
    ("conditions", "ends", "kept"),
    [
        (("Approved",), None, HOUR),
        (("Approved",), NOW + HOUR / 4, HOUR / 4),
        (("Approved", "Failed"), None, HOUR),
        (("Denied",), None, HOUR),
        ((), None, 24 * HOUR),
    ],
)
def test_when_requests_go(conditions: tuple[str, ...], ends: datetime | None, kept: timedelta) -> None:
    view = cleaning.View(_request(*conditions), ends)
    before = cleaning.plan(view, NOW + kept - timedelta(seconds=1))
    assert (before.effects, before.requeue_after_s) == ((), 1)
    [effect] = cleaning.plan(view, NOW + kept).effects
    assert isinstance(effect, Remove)
    assert effect.ref.uid == "u"


@pytest.mark.parametrize(
    ("age_s", "removed", "again_s"),
    [(0, False, 900), (899, False, 1), (900, True, None), (86400, True, None), (-60, False, 960)],
)
def test_when_requests_of_pods_go(age_s: int, removed: bool, again_s: int | None) -> None:
    request = api.PodCertificateRequest(
        apiVersion="certificates.k8s.io/v1",
        kind="PodCertificateRequest",
        metadata=api.ObjectMeta(name="one", namespace="shop", uid="u", creationTimestamp=NOW),
    )
    plan = podcleaning.plan(request, NOW + timedelta(seconds=age_s))
    assert [effect.ref.uid for effect in plan.effects if isinstance(effect, Remove)] == ["u"] * removed
    assert plan.requeue_after_s == again_s
    request.metadata.deletionTimestamp = NOW  # something holds it
    assert podcleaning.plan(request, NOW + timedelta(seconds=age_s)) == NOTHING
