"""The cluster's own certificate authority and what it signs. EC P-256 throughout: small and quick to make."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sampan.base.errors import SampanError

AUTHORITY_DAYS: Final = 3650
LEAF_DAYS: Final = 365
# Certificates that run out sooner than this are made anew on start.
RENEW_BEFORE_DAYS: Final = 30
# Clocks of machines that join may be a little behind.
_BACKDATE: Final = timedelta(minutes=5)


class KeyPair(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_authority(name: str, now: datetime) -> KeyPair:
    """A self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(True, False, True, False, False, True, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def issue(
    authority: KeyPair,
    common_name: str,
    now: datetime,
    *,
    organizations: Iterable[str] = (),
    hosts: Iterable[str] = (),
    days: int = LEAF_DAYS,
) -> KeyPair:
    """A certificate for a client (no hosts) or a server (hosts: DNS names and IP addresses)."""
    issuer_key = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    alternative = [_general_name(host) for host in hosts]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if alternative:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def make_signing_key() -> KeyPair:
    """The key that signs service-account tokens; `certificate` holds its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyPair(public, _private_pem(key))


def expires_soon(certificate: bytes, now: datetime) -> bool:
    """Whether a certificate should be made anew."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc < now + timedelta(
        days=RENEW_BEFORE_DAYS
    )


def names_of(certificate: bytes) -> frozenset[str]:
    """The hosts that a server certificate is good for."""
    try:
        extension = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(name.value) for name in extension.value)


def save(directory: Path, name: str, pair: KeyPair, suffix: str = "crt") -> None:
    """Write `name`.crt and `name`.key (readable by the owner alone), each whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(directory / f"{name}.key", pair.key)
    write_private(directory / f"{name}.{suffix}", pair.certificate)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step; only its owner may read it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    if path.exists():  # what root rewrites for somebody (sudo with their HOME) stays theirs
        before = path.stat()
        os.chown(fresh, before.st_uid, before.st_gid)
    fresh.rename(path)


def load(directory: Path, name: str, suffix: str = "crt") -> KeyPair | None:
    """A saved pair; None where it was never made. Raises SampanError where half of it is there."""
    certificate, key = directory / f"{name}.{suffix}", directory / f"{name}.key"
    if not certificate.exists() and not key.exists():
        return None
    try:
        pair = KeyPair(certificate.read_bytes(), key.read_bytes())
    except OSError as problem:
        raise SampanError(
            f"The key pair {name} in {directory} is not complete ({problem}). Restore the missing file from "
            f"a backup, or remove both {certificate.name} and {key.name} to have them made anew."
        ) from problem
    try:
        if not _belong_together(pair, suffix):
            raise ValueError("the key is another one's")
    except ValueError:
        raise SampanError(
            f"The key pair {name} in {directory} is damaged. Restore it from a backup, or remove both "
            f"{certificate.name} and {key.name} to have them made anew."
        ) from None
    return pair


def issued_by(authority: KeyPair, certificate: bytes) -> bool:
    """Whether this authority signed the certificate."""
    signer = x509.load_pem_x509_certificate(authority.certificate)
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _belong_together(pair: KeyPair, suffix: str) -> bool:
    """Whether the key is the certificate's. Raises ValueError where one of them is none at all."""
    public = serialization.load_pem_private_key(pair.key, None).public_key()
    if suffix == "pub":
        return public == serialization.load_pem_public_key(pair.certificate)
    return public == x509.load_pem_x509_certificate(pair.certificate).public_key()


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
