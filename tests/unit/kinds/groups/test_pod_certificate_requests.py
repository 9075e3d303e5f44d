"""PodCertificateRequests: what may be asked, and what signers may answer."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from .objects import NOW, errors, kind_of, made

KIND = "PodCertificateRequest"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
DAY_S = 86_400


def stub(key: Any) -> str:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    return base64.b64encode(csr.public_bytes(serialization.Encoding.DER)).decode()


STUB = stub(KEY)


def spec(**changes: Any) -> dict[str, Any]:
    whole = {
        "signerName": "example.com/pods",
        "podName": "web",
        "podUID": "p",
        "serviceAccountName": "default",
        "serviceAccountUID": "s",
        "nodeName": "n",
        "nodeUID": "n",
        "maxExpirationSeconds": DAY_S,
        "stubPKCS10Request": STUB,
    }
    return {"metadata": {"name": "a", "namespace": "default"}, "spec": {**whole, **changes}}


ONE_OF = (
    "spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) "
    "must be set"
)
STUB_PATH = "spec.stubPKCS10Request"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"stubPKCS10Request": stub(ed25519.Ed25519PrivateKey.generate())}, []),
        ({"maxExpirationSeconds": 91 * DAY_S}, []),
        (
            {"maxExpirationSeconds": 91 * DAY_S + 1},
            ["spec.maxExpirationSeconds: Invalid value: 7862401: must be in the range [3600, 7862400]"],
        ),
        (
            {"maxExpirationSeconds": DAY_S + 1, "signerName": "kubernetes.io/kube-apiserver-client-pod"},
            ["spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"],
        ),
        ({"podUID": ""}, ['spec.podUID: Invalid value: "": must not be empty']),
        ({"nodeUID": "u" * 129}, ["spec.nodeUID: Too long: may not be more than 128 bytes"]),
        (
            {"unverifiedUserAnnotations": {"plain": "x", "Example.com/Spiffe": "y"}},
            [
                'spec.unverifiedUserAnnotations: Invalid value: "plain": must be a domain-prefixed key '
                '(such as "acme.io/foo")'
            ],
        ),
        ({"stubPKCS10Request": ""}, [ONE_OF]),
        ({"stubPKCS10Request": "eA=="}, [f"{STUB_PATH}: Invalid value: must be a valid PKCS#10 CSR"]),
        (
            {"stubPKCS10Request": base64.b64encode(b"x" * 10_241).decode()},
            [f"{STUB_PATH}: Too long: may not be more than 10240 bytes"],
        ),
        (
            {"stubPKCS10Request": stub(rsa.generate_private_key(65537, 2048))},
            [f'{STUB_PATH}: Invalid value: "2048-bit modulus": RSA keys must have modulus size 3072 or 4096'],
        ),
    ],
)
def test_what_may_be_asked(changes: dict[str, Any], expected: list[str]) -> None:
    assert errors(KIND, spec(**changes)) == expected


def chain(key: Any = KEY, lifetime: dt.timedelta = dt.timedelta(hours=24)) -> str:
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + lifetime)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def condition(type_: str, status: str = "True") -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": "R",
        "message": "",
        "lastTransitionTime": NOW.isoformat(),
    }


def issued(**changes: Any) -> dict[str, Any]:
    times = {
        "notBefore": NOW,
        "notAfter": NOW + dt.timedelta(hours=24),
        "beginRefreshAt": NOW.replace(hour=23),
    }
    whole = {name: time.isoformat() for name, time in times.items()}
    return {**whole, "conditions": [condition("Issued")], "certificateChain": chain(), **changes}


def status_errors(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    before = made(KIND, {**spec(), "status": old or {}})
    after = made(KIND, {**spec(), "status": new})
    return [
        str(error).partition(": Invalid value: ")[0] + ": " + error.detail
        for error in kind_of(KIND).validate_status_update(after, before)
    ]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (issued(), []),
        ({"conditions": [condition("Denied")]}, []),
        ({"conditions": [condition("Failed")]}, []),
        (
            issued(conditions=[condition("Failed")]),
            [
                "status: non-condition status fields must be empty when denying or failing the "
                "PodCertificateRequest"
            ],
        ),
        (
            issued(conditions=[]),
            ['status: status is immutable unless transitioning to "Issued", "Denied", or "Failed"'],
        ),
        (
            issued(conditions=[condition("Issued"), condition("Denied")]),
            [
                'status.conditions[1].type: There may be at most one condition with type "Issued", "Denied", '
                'or "Failed"'
            ],
        ),
        (
            issued(certificateChain=""),
            ["status.certificateChain: issued certificate chain must contain at least one certificate"],
        ),
        (
            issued(certificateChain=chain(OTHER_KEY)),
            ["status.certificateChain: leaf certificate was not issued to the requested public key"],
        ),
        (
            issued(certificateChain=chain().replace("MI", "XX", 1)),
            ["status.certificateChain: leaf certificate does not parse as valid X.509"],
        ),
        (
            issued(notAfter=NOW.isoformat()),
            ["status.notAfter: must be set to the NotAfter time encoded in the leaf certificate"],
        ),
        (
            issued(beginRefreshAt=NOW.isoformat()),
            ["status.beginRefreshAt: must be at least 10 minutes after status.notBefore"],
        ),
        (
            issued(
                certificateChain=chain(lifetime=dt.timedelta(minutes=30)),
                notAfter=(NOW + dt.timedelta(minutes=30)).isoformat(),
            ),
            ["status.certificateChain: leaf certificate lifetime must be >= 1 hour"],
        ),
    ],
)
def test_what_signers_may_answer(new: dict[str, Any], expected: list[str]) -> None:
    assert status_errors(new) == expected


def test_an_issued_certificate_has_its_times() -> None:
    assert status_errors(issued(notBefore=None)) == [
        "status.notBefore: Required value: must be present and consistent with the issued certificate: "
        "must be present and consistent with the issued certificate"
    ]


def test_other_conditions_and_other_statuses_are_not_known() -> None:
    conditions = [condition("Issued", "False"), condition("Odd")]
    found = kind_of(KIND).validate_status_update(
        made(KIND, {**spec(), "status": {"conditions": conditions}}), made(KIND, spec())
    )
    assert [str(error) for error in found] == [
        'status.conditions[0].status: Unsupported value: "False": supported values: "True"',
        'status.conditions[1].type: Unsupported value: "Odd": supported values: "Issued", "Denied", "Failed"',
    ]


def test_what_was_answered_stays() -> None:
    denied = {"conditions": [condition("Denied")]}
    assert status_errors(denied, denied) == []
    assert status_errors(issued(), denied) == [
        "status: immutable after PodCertificateRequest is issued, denied, or failed"
    ]
