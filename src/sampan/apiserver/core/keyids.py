"""How the keys of service-account tokens are called in tokens and in the set that the issuer publishes."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_KEYS: Final = 64


def key_id(key: PublicKeyTypes) -> str:
    """The `kid` of a public key, as Kubernetes makes it: the hash of its DER form."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


@lru_cache(maxsize=_KEYS)
def signing_key_id(private_pem: bytes) -> str:
    """The `kid` of the public half of a private key."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return key_id(load_pem_private_key(private_pem, None).public_key())
