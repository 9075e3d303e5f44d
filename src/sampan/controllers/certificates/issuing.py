"""Reading PKCS#10 requests, and signing certificates with the cluster's authority."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampan.controllers.certificates.rules import Facts, Times

if TYPE_CHECKING:
    from cryptography import x509

_KEY_USAGES: Final = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES: Final = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


class Authority(msgspec.Struct, frozen=True):
    """The certificate and the key, both PEM, that sign what is approved."""

    certificate: bytes
    key: bytes

    def ends(self) -> datetime:
        """When what it signs ends at the latest."""
        return ends(self.certificate)

    def sign(self, request: bytes, usages: Collection[str], good: Times) -> bytes:
        """The certificate (PEM) that the request asks for: its subject, its names, its key, these usages."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        asked = x509.load_pem_x509_csr(request)
        issuer = x509.load_pem_x509_certificate(self.certificate)
        key: Any = serialization.load_pem_private_key(self.key, None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(issuer.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(good.not_before)
            .not_valid_after(good.not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
        )
        if (names := _names(asked)) is not None:
            builder = builder.add_extension(names, critical=not asked.subject.rdns)
        plain = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
        if plain:
            builder = builder.add_extension(_key_usage(plain), critical=True)
        extended = dict.fromkeys(_EXTENDED_USAGES[usage] for usage in usages if usage in _EXTENDED_USAGES)
        if extended:
            ids = [x509.ObjectIdentifier(dotted) for dotted in extended]
            builder = builder.add_extension(x509.ExtendedKeyUsage(ids), critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def ends(certificate: bytes) -> datetime:
    """When the first of these certificates (PEM) ends. Raises ValueError where there is none."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def facts(request: bytes) -> Facts:
    """What a request (PEM) asks for. Raises ValueError where it is none, or not signed by its own key."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    asked = x509.load_pem_x509_csr(request)
    if not asked.is_signature_valid:
        raise ValueError("unable to verify certificate request signature")
    common = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    names = _names(asked) or x509.SubjectAlternativeName([])
    return Facts(
        str(common[-1].value) if common else "",
        tuple(str(group.value) for group in groups),
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)),
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def _names(asked: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    from cryptography import x509

    try:
        return asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(wanted: set[str]) -> x509.KeyUsage:
    from cryptography import x509

    flags = {name: name in wanted for name in set(_KEY_USAGES.values())}
    if not flags["key_agreement"]:  # the two only qualify it
        flags["encipher_only"] = flags["decipher_only"] = False
    return x509.KeyUsage(**flags)
