"""The kinds of certificates.k8s.io/v1."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.kinds.core.cells import NONE
from sampan.kinds.core.pod_certificates import signer_name_errors
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import METADATA, SPEC, STATUS
from sampan.kinds.groups.pod_certificate_requests import POD_CERTIFICATE_REQUEST
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind, SubresourceUpdate, human_duration
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

_API_VERSION: Final = "certificates.k8s.io/v1"
_APPROVAL_VERBS: Final = ("get", "patch", "update")
_EXPIRATION_MIN_S: Final = 600
_TRUST_BUNDLE_MAX_BYTES: Final = 1024 * 1024
_LEGACY_SIGNER: Final = "kubernetes.io/legacy-unknown"
_STATUSES: Final = ("True", "False", "Unknown")
_DECISIONS: Final = frozenset({"Approved", "Denied"})
USAGES: Final = frozenset(
    {
        "signing",
        "digital signature",
        "content commitment",
        "key encipherment",
        "key agreement",
        "data encipherment",
        "cert sign",
        "crl sign",
        "encipher only",
        "decipher only",
        "any",
        "server auth",
        "client auth",
        "code signing",
        "email protection",
        "s/mime",
        "ipsec end system",
        "ipsec tunnel",
        "ipsec user",
        "timestamping",
        "ocsp signing",
        "microsoft sgc",
        "netscape sgc",
    }
)


def validate_request(obj: Any) -> list[FieldError]:
    """Every error of a CertificateSigningRequest on creation."""
    spec = obj.spec
    errors = _pkcs10_errors(spec.request, SPEC["request"])
    if not spec.usages:
        errors.append(field.required(SPEC["usages"]))
    for position, usage in enumerate(spec.usages):
        path = SPEC["usages"][position]
        errors += checks.one_of(usage, USAGES, path)
        if usage in spec.usages[:position]:
            errors.append(field.duplicate(path, usage))
    if spec.signerName == _LEGACY_SIGNER:
        detail = "the legacy signerName is not allowed via this API version"
        errors.append(field.invalid(SPEC["signerName"], spec.signerName, detail))
    else:
        errors += signer_name_errors(spec.signerName, SPEC["signerName"])
    if spec.expirationSeconds is not None and spec.expirationSeconds < _EXPIRATION_MIN_S:
        detail = f"may not specify a duration less than {_EXPIRATION_MIN_S} seconds (10 minutes)"
        errors.append(field.invalid(SPEC["expirationSeconds"], spec.expirationSeconds, detail))
    return errors


def _pkcs10_errors(request: bytes, path: Path) -> list[FieldError]:
    from cryptography import x509  # late: it takes long to load

    try:
        if not request.lstrip().startswith(b"-----BEGIN CERTIFICATE REQUEST-----"):
            raise ValueError("PEM block type must be CERTIFICATE REQUEST")
        x509.load_pem_x509_csr(request)
    except ValueError as error:
        return [field.invalid(path, request.decode("utf-8", "replace"), str(error))]
    return []


def prepare_request_update(new: Any, old: Any) -> None:
    """A request is for life; only its status and approval change."""
    new.spec = old.spec


def prepare_request_status_update(new: Any, old: Any) -> None:
    """A signer issues or fails; whether a request is approved is for the approval subresource to say."""
    theirs = [c for c in new.status.conditions if c.type not in _DECISIONS]
    new.status.conditions = [c for c in old.status.conditions if c.type in _DECISIONS] + theirs


def prepare_approval(new: Any, old: Any) -> None:
    """An approver changes conditions, and nothing else."""
    conditions = new.status.conditions
    new.spec = old.spec
    new.status = msgspec.structs.replace(old.status, conditions=conditions)


def validate_request_status(new: Any, old: Any) -> list[FieldError]:
    """Conditions say True, do not contradict each other, and stay; a certificate stays too.

    Approvals come through the approval subresource and are checked the same way.
    """
    path, errors = STATUS["conditions"], []
    seen: set[str] = set()
    for position, condition in enumerate(new.status.conditions):
        at = path[position]
        if not condition.type:
            errors.append(field.required(at["type"]))
        errors += checks.required_one_of(condition.status, _STATUSES, at["status"])
        if condition.type in ("Approved", "Denied", "Failed") and condition.status != "True":
            errors.append(field.not_supported(at["status"], condition.status, ("True",)))
        if condition.type in seen:
            errors.append(field.duplicate(at["type"], condition.type))
        seen.add(condition.type)
    if {"Approved", "Denied"} <= seen:
        detail = "Approved and Denied conditions are mutually exclusive"
        errors.append(field.invalid(path, "Denied", detail))
    for condition in old.status.conditions:
        if condition.type in ("Approved", "Denied", "Failed") and condition.type not in seen:
            errors.append(
                field.forbidden(path, f"updates may not remove a condition of type {condition.type!r}")
            )
    if old.status.certificate and new.status.certificate != old.status.certificate:
        detail = "updates may not modify a certificate that was issued"
        errors.append(field.forbidden(STATUS["certificate"], detail))
    return errors


def _condition(obj: Any) -> str:
    types = {condition.type for condition in obj.status.conditions}
    text = next((type for type in ("Denied", "Approved") if type in types), "Pending")
    text += ",Failed" if "Failed" in types else ""
    return f"{text},Issued" if obj.status.certificate else text


def _duration(obj: Any, _now: datetime) -> str:
    seconds = obj.spec.expirationSeconds
    return NONE if seconds is None else human_duration(seconds)


def validate_bundle(obj: Any) -> list[FieldError]:
    """Every error of a ClusterTrustBundle; the name of one for a signer begins with the signer's."""
    signer, errors = obj.spec.signerName or "", []
    if obj.metadata.generateName:
        base = names.mask_trailing_dash(obj.metadata.generateName)
        messages = _bundle_name_errors(base, signer)
        errors += checks.named(obj.metadata.generateName, messages, METADATA["generateName"])
    if name := obj.metadata.name or "":
        errors += checks.named(name, _bundle_name_errors(name, signer), METADATA["name"])
    if signer:
        errors += signer_name_errors(signer, SPEC["signerName"])
    return errors + _bundle_errors(obj.spec.trustBundle, SPEC["trustBundle"])


def _bundle_name_errors(name: str, signer: str) -> list[str]:
    if not signer:
        if ":" in name:
            return ['ClusterTrustBundle without signer name must not have ":" in its name']
        return names.dns1123_subdomain(name)
    prefix = signer.replace("/", ":") + ":"
    if not name.startswith(prefix):
        return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"]
    return names.dns1123_subdomain(name.removeprefix(prefix))


def _bundle_errors(bundle: str, path: Path) -> list[FieldError]:
    if len(bundle.encode()) > _TRUST_BUNDLE_MAX_BYTES:
        return [field.too_long(path, _TRUST_BUNDLE_MAX_BYTES)]
    if "-----BEGIN " not in bundle:
        return [field.invalid(path, "<value omitted>", "at least one trust anchor must be provided")]
    from cryptography import x509

    try:
        certificates = x509.load_pem_x509_certificates(bundle.encode())
    except ValueError as error:
        return [field.invalid(path, "<value omitted>", str(error))]
    if len(set(certificates)) != len(certificates):
        return [field.invalid(path, "<value omitted>", "trust bundle holds a certificate twice")]
    return []


def validate_bundle_update(new: Any, old: Any) -> list[FieldError]:
    """A bundle stays with its signer."""
    return checks.immutable(new.spec.signerName or "", old.spec.signerName or "", SPEC["signerName"])


CERTIFICATE_SIGNING_REQUEST: Final = Kind(
    api_version=_API_VERSION,
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    short=("csr",),
    namespaced=CLUSTER,
    status=True,
    validate=validate_request,
    validate_status_update=validate_request_status,
    prepare_create=checks.clear_status,
    prepare_update=prepare_request_update,
    subresource_updates={
        "status": SubresourceUpdate(prepare_request_status_update),
        "approval": SubresourceUpdate(prepare_approval, validate_request_status),
    },
    # kube-apiserver asks of its name no more than of every object's.
    name_errors=names.path_segment_name,
    field_selectors={"spec.signerName": lambda csr: csr.spec.signerName},
    subresources=(("certificatesigningrequests/approval", "CertificateSigningRequest", _APPROVAL_VERBS),),
    columns=(
        NAME,
        AGE,
        column("SignerName", lambda csr: csr.spec.signerName or NONE),
        column("Requestor", lambda csr: csr.spec.username or ""),
        Column("RequestedDuration", _duration),
        column("Condition", _condition),
    ),
)
CLUSTER_TRUST_BUNDLE: Final = Kind(
    api_version=_API_VERSION,
    kind="ClusterTrustBundle",
    plural="clustertrustbundles",
    namespaced=CLUSTER,
    validate=validate_bundle,
    validate_update=validate_bundle_update,
    name_errors=names.path_segment_name,
    field_selectors={"spec.signerName": lambda bundle: bundle.spec.signerName or ""},
    columns=(NAME, column("SignerName", lambda bundle: bundle.spec.signerName or NONE)),
)

KINDS: Final[tuple[Kind, ...]] = (
    CERTIFICATE_SIGNING_REQUEST,
    CLUSTER_TRUST_BUNDLE,
    POD_CERTIFICATE_REQUEST,
)
