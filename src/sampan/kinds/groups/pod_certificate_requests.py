"""PodCertificateRequests of certificates.k8s.io/v1: what nodes ask signers for, and what these may answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sampan.kinds.core.pod_certificates import (
    MIN_EXPIRATION_S,
    max_expiration_s,
    signer_name_errors,
    user_annotation_errors,
)
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column, is_true
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.kind import NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import OMITTED, FieldError, Path

if TYPE_CHECKING:
    from cryptography import x509

_DEFAULT_EXPIRATION_S: Final = 86_400
_UID_MAX_BYTES: Final = 128
_STUB_MAX_BYTES: Final = 10 * 1024
_CHAIN_MAX_BYTES: Final = 100 * 1024
_RSA_BITS: Final = (3072, 4096)
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_STATES: Final = ("Issued", "Denied", "Failed")
_REFRESH_MARGIN: Final = timedelta(minutes=10)
_ONE_KEY: Final = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
_PEM_BEGINS: Final = b"-----BEGIN "
_CHAIN: Final = STATUS["certificateChain"]


def default_pod_request(obj: Any) -> None:
    """A day, where nothing is said."""
    if obj.spec.maxExpirationSeconds is None:
        obj.spec.maxExpirationSeconds = _DEFAULT_EXPIRATION_S


def validate_pod_request(obj: Any) -> list[FieldError]:
    """Every error of a PodCertificateRequest."""
    spec = obj.spec
    errors = signer_name_errors(spec.signerName, SPEC["signerName"])
    errors += user_annotation_errors(spec.unverifiedUserAnnotations, SPEC["unverifiedUserAnnotations"])
    for owner in ("pod", "serviceAccount", "node"):
        errors += _owner_errors(spec, owner)
    longest_s = max_expiration_s(spec.signerName)
    if not MIN_EXPIRATION_S <= spec.maxExpirationSeconds <= longest_s:
        detail = f"must be in the range [{MIN_EXPIRATION_S}, {longest_s}]"
        errors.append(field.invalid(SPEC["maxExpirationSeconds"], spec.maxExpirationSeconds, detail))
    if not spec.stubPKCS10Request:
        return [*errors, field.invalid(SPEC, OMITTED, _ONE_KEY)]
    return errors + _stub_errors(spec.stubPKCS10Request, SPEC["stubPKCS10Request"])


def _owner_errors(spec: Any, owner: str) -> list[FieldError]:
    name, uid = getattr(spec, f"{owner}Name"), getattr(spec, f"{owner}UID")
    errors = checks.named(name, names.dns1123_subdomain(name), SPEC[f"{owner}Name"])
    here = SPEC[f"{owner}UID"]
    if not uid:
        errors.append(field.invalid(here, uid, "must not be empty"))
    if len(uid.encode()) > _UID_MAX_BYTES:
        errors.append(field.too_long(here, _UID_MAX_BYTES))
    return errors


def _stub_errors(stub: bytes, path: Path) -> list[FieldError]:
    from cryptography import x509  # late: it takes long to load

    if len(stub) > _STUB_MAX_BYTES:
        return [field.too_long(path, _STUB_MAX_BYTES)]
    try:
        request = x509.load_der_x509_csr(stub)
        key = request.public_key()
    except ValueError:
        return [field.invalid(path, OMITTED, "must be a valid PKCS#10 CSR")]
    errors = _key_errors(key, path)
    if not errors and not request.is_signature_valid:
        errors.append(field.invalid(path, OMITTED, "invalid signature"))
    return errors


def _key_errors(key: Any, path: Path) -> list[FieldError]:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey) and key.key_size not in _RSA_BITS:
        detail = "RSA keys must have modulus size 3072 or 4096"
        return [field.invalid(path, f"{key.key_size}-bit modulus", detail)]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        return [
            field.invalid(
                path, f"curve {key.curve.name}", "elliptic public keys must use curve P256, P384, or P521"
            )
        ]
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        detail = "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
        return [field.invalid(path, OMITTED, detail)]
    return []


def validate_pod_request_update(new: Any, old: Any) -> list[FieldError]:
    """A request is for life."""
    return checks.immutable_printed(new.spec, old.spec, SPEC)


def validate_pod_request_status(new: Any, old: Any) -> list[FieldError]:
    """A request ends once, as Issued, Denied or Failed; what is issued fits what was asked."""
    if errors := _condition_errors(new.status.conditions, STATUS["conditions"]):
        return errors
    state, before = state_of(new), state_of(old)
    if before != "Pending":
        detail = "immutable after PodCertificateRequest is issued, denied, or failed"
        return _differs(new.status, old.status, detail)
    if state == "Pending":
        detail = 'status is immutable unless transitioning to "Issued", "Denied", or "Failed"'
        return _differs(new.status, old.status, detail)
    if state == "Issued":
        return _chain_errors(new, old)
    detail = "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
    return _differs(new.status, type(new.status)(conditions=new.status.conditions), detail)


def _differs(new: Any, old: Any, detail: str) -> list[FieldError]:
    return [] if new == old else [field.invalid(STATUS, OMITTED, detail)]


def _condition_errors(conditions: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    known = 0
    for position, condition in enumerate(conditions):
        here = path.index(position)
        if condition.type not in _STATES:
            errors.append(field.not_supported(here["type"], condition.type, _STATES))
            continue
        known += 1
        if known > 1:
            detail = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
            errors.append(field.invalid(here["type"], condition.type, detail))
        if condition.status != "True":
            errors.append(field.not_supported(here["status"], condition.status, ("True",)))
    return errors


def _chain_errors(new: Any, old: Any) -> list[FieldError]:
    from cryptography import x509  # late: it takes long to load

    chain = new.status.certificateChain or ""
    if len(chain.encode()) > _CHAIN_MAX_BYTES:
        return [field.too_long(_CHAIN, _CHAIN_MAX_BYTES)]
    if _PEM_BEGINS not in chain.encode():
        detail = "issued certificate chain must contain at least one certificate"
        return [field.invalid(_CHAIN, chain, detail)]
    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        key = leaf.public_key()
        asked = x509.load_der_x509_csr(old.spec.stubPKCS10Request).public_key()
    except ValueError:
        return [field.invalid(_CHAIN, chain, "leaf certificate does not parse as valid X.509")]
    if key != asked:
        detail = "leaf certificate was not issued to the requested public key"
        return [field.invalid(_CHAIN, chain, detail)]
    return _missing_times(new.status) or _time_errors(new, leaf)


def _missing_times(status: Any) -> list[FieldError]:
    consistent = "must be present and consistent with the issued certificate"
    wanted = {
        "notBefore": consistent,
        "notAfter": consistent,
        "beginRefreshAt": "must be present and in the range [notbefore+10min, notafter-10min]",
    }
    return [
        field.required(STATUS[name], detail)
        for name, detail in wanted.items()
        if getattr(status, name) is None
    ]


def _time_errors(new: Any, leaf: x509.Certificate) -> list[FieldError]:
    status, start, end = new.status, leaf.not_valid_before_utc, leaf.not_valid_after_utc
    lifetime, longest_s = end - start, new.spec.maxExpirationSeconds
    shown = f"{int(lifetime.total_seconds())}s"
    early, late = start + _REFRESH_MARGIN, end - _REFRESH_MARGIN
    said_start, said_end, refresh = STATUS["notBefore"], STATUS["notAfter"], STATUS["beginRefreshAt"]
    rules = (
        (
            said_start,
            status.notBefore,
            status.notBefore == start,
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        (
            said_end,
            status.notAfter,
            status.notAfter == end,
            "must be set to the NotAfter time encoded in the leaf certificate",
        ),
        (
            _CHAIN,
            shown,
            lifetime.total_seconds() >= MIN_EXPIRATION_S,
            "leaf certificate lifetime must be >= 1 hour",
        ),
        (
            _CHAIN,
            shown,
            lifetime.total_seconds() <= longest_s,
            f"leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest_s})",
        ),
        (
            refresh,
            status.beginRefreshAt,
            status.beginRefreshAt >= early,
            "must be at least 10 minutes after status.notBefore",
        ),
        (
            refresh,
            status.beginRefreshAt,
            status.beginRefreshAt <= late,
            "must be at least 10 minutes before status.notAfter",
        ),
    )
    wrong = next(((path, value, detail) for path, value, holds, detail in rules if not holds), None)
    return [field.invalid(*wrong)] if wrong else []


def state_of(obj: Any) -> str:
    """Issued, Denied, Failed or Pending."""
    return next((state for state in _STATES if is_true(obj.status.conditions, state)), "Pending")


def _annotations(obj: Any) -> str:
    given = obj.spec.unverifiedUserAnnotations
    return ",".join(f"{key}={text}" for key, text in sorted(given.items())) or "<none>"


POD_CERTIFICATE_REQUEST: Final = Kind(
    api_version="certificates.k8s.io/v1",
    kind="PodCertificateRequest",
    plural="podcertificaterequests",
    told_alone="change",
    status=True,
    status_keeps_metadata=True,
    default=default_pod_request,
    prepare_create=checks.clear_status,
    validate=validate_pod_request,
    validate_status_update=validate_pod_request_status,
    validate_update=validate_pod_request_update,
    name_errors=names.dns1123_subdomain,
    field_selectors={
        "spec.signerName": lambda pcr: pcr.spec.signerName,
        "spec.podName": lambda pcr: pcr.spec.podName,
        "spec.nodeName": lambda pcr: pcr.spec.nodeName,
    },
    columns=(
        NAME,
        column("PodName", lambda pcr: pcr.spec.podName),
        column("ServiceAccountName", lambda pcr: pcr.spec.serviceAccountName),
        column("NodeName", lambda pcr: pcr.spec.nodeName),
        column("SignerName", lambda pcr: pcr.spec.signerName),
        column("State", state_of, description="Is the request Pending, Issued, Denied, or Failed?"),
        column("UnverifiedUserAnnotations", _annotations),
    ),
)
