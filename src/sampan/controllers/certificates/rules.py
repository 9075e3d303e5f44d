"""What each of the cluster's own signers asks of a request: pkg/apis/certificates.

All of it is about `Facts`, what a PKCS#10 request says; `issuing` reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.schema import api

API_CLIENT: Final = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"
LEGACY: Final = "kubernetes.io/legacy-unknown"
SIGNERS: Final = frozenset({API_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY})
NODES: Final = "system:nodes"
NODE_PREFIX: Final = "system:node:"
# What certificates are good for where the request does not say, and at most.
LIFETIME: Final = timedelta(days=365)
LIFETIME_LEAST: Final = timedelta(minutes=10)
# Clocks of those who check may be behind. The whole lifetime of a short one is kept.
BACKDATE: Final = timedelta(minutes=5)
SHORT: Final = timedelta(hours=8)
_SIGNATURE, _ENCIPHERMENT = "digital signature", "key encipherment"


class Facts(msgspec.Struct, frozen=True):
    """What a certificate request asks for."""

    common_name: str = ""
    organizations: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


class Times(msgspec.Struct, frozen=True):
    """From when until when a certificate is good."""

    not_before: datetime
    not_after: datetime


def has(request: api.CertificateSigningRequest, *types: str) -> bool:
    """Whether a condition of one of these types is there."""
    return any(condition.type in types for condition in request.status.conditions)


def refusal(signer: str, facts: Facts, usages: Collection[str]) -> str:
    """Why this signer does not sign such a request; "" where it does."""
    if signer == API_CLIENT:
        return _client_usages_refusal(usages)
    if signer == KUBELET_CLIENT:
        return kubelet_client_refusal(facts, usages)
    if signer == KUBELET_SERVING:
        return _kubelet_serving_refusal(facts, usages)
    return ""


def _client_usages_refusal(usages: Collection[str]) -> str:
    for usage in usages:
        if usage not in (_SIGNATURE, _ENCIPHERMENT, "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def kubelet_client_refusal(facts: Facts, usages: Collection[str]) -> str:
    """Why this is no request for a kubelet's client certificate."""
    if facts.organizations != (NODES,):
        return "subject organization is not system:nodes"
    for what, found in (
        ("DNS", facts.dns),
        ("Email", facts.emails),
        ("IP", facts.ips),
        ("URI", facts.uris),
    ):
        if found:
            return f"{what} subjectAltNames are not allowed"
    if not facts.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return _usages_refusal(usages, "client auth")


def _kubelet_serving_refusal(facts: Facts, usages: Collection[str]) -> str:
    if facts.organizations != (NODES,):
        return "subject organization is not system:nodes"
    if not facts.dns and not facts.ips:
        return "DNS or IP subjectAltName is required"
    for what, found in (("Email", facts.emails), ("URI", facts.uris)):
        if found:
            return f"{what} subjectAltNames are not allowed"
    if why := _usages_refusal(usages, "server auth"):
        return why
    if not facts.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return ""


def _usages_refusal(usages: Iterable[str], purpose: str) -> str:
    """Keys that are not RSA's encipher nothing, so that their requests may leave that out."""
    given = set(usages)
    if given in ({_SIGNATURE, _ENCIPHERMENT, purpose}, {_SIGNATURE, purpose}):
        return ""
    return f"usages did not match [{' '.join(sorted((_SIGNATURE, _ENCIPHERMENT, purpose)))}]"


def times(expiration_s: int | None, now: datetime, authority_ends: datetime) -> Times | None:
    """When a certificate made now begins and ends; None where the authority itself has ended."""
    asked = LIFETIME if expiration_s is None else timedelta(seconds=expiration_s)
    lifetime = max(LIFETIME_LEAST, min(asked, LIFETIME))
    ends = now + lifetime if lifetime < SHORT else now + lifetime - BACKDATE
    ends = min(ends, authority_ends)
    return Times(now - BACKDATE, ends) if ends > now else None
