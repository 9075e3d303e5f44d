"""Values encrypted on their way into a store, in the forms that kube-apiserver writes.

A sealed value begins with who sealed it (`k8s:enc:aesgcm:v1:key1:`). It is bound to its key where the form
can do that, so that one Secret's bytes cannot be put in another's place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, Protocol

from sampan.base.errors import SampanError

_PREFIX: Final = b"k8s:enc:"
_GCM_NONCE_BYTES: Final = 12
_CBC_BLOCK_BYTES: Final = 16


class Unsealable(SampanError):
    """A stored value that none of the configured keys opens."""


class Sealer(Protocol):
    """One provider with one key. `prefix` tells the values that it sealed."""

    prefix: bytes

    def seal(self, key: str, value: bytes) -> bytes: ...

    def open(self, key: str, sealed: bytes) -> bytes:
        """Raises Unsealable."""
        ...


class Identity:
    """Values as they are."""

    prefix = b""

    def seal(self, key: str, value: bytes) -> bytes:
        return value

    def open(self, key: str, sealed: bytes) -> bytes:
        if sealed.startswith(_PREFIX):
            raise Unsealable(
                f"{key} is encrypted with a key that the encryption configuration does not hold "
                f"({sealed[:48].split(b':v1:')[0].decode(errors='replace')}); add the key again."
            )
        return sealed


class AesGcm:
    """AES-GCM with a random nonce; the store's key is authenticated with the value."""

    def __init__(self, name: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.prefix = b"%baesgcm:v1:%b:" % (_PREFIX, name.encode())
        self._cipher = AESGCM(secret)

    def seal(self, key: str, value: bytes) -> bytes:
        nonce = os.urandom(_GCM_NONCE_BYTES)
        return self.prefix + nonce + self._cipher.encrypt(nonce, value, key.encode())

    def open(self, key: str, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        body = sealed[len(self.prefix) :]
        try:
            return self._cipher.decrypt(body[:_GCM_NONCE_BYTES], body[_GCM_NONCE_BYTES:], key.encode())
        except (InvalidTag, ValueError):
            raise _damaged(key, self.prefix) from None


class AesCbc:
    """AES-CBC with PKCS#7 padding."""

    def __init__(self, name: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self.prefix = b"%baescbc:v1:%b:" % (_PREFIX, name.encode())
        self._algorithm = AES(secret)

    def seal(self, key: str, value: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        vector = os.urandom(_CBC_BLOCK_BYTES)
        missing = _CBC_BLOCK_BYTES - len(value) % _CBC_BLOCK_BYTES
        encryptor = Cipher(self._algorithm, CBC(vector)).encryptor()
        sealed = encryptor.update(value + bytes([missing]) * missing) + encryptor.finalize()
        return self.prefix + vector + sealed

    def open(self, key: str, sealed: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        body = sealed[len(self.prefix) :]
        try:
            decryptor = Cipher(self._algorithm, CBC(body[:_CBC_BLOCK_BYTES])).decryptor()
            value = decryptor.update(body[_CBC_BLOCK_BYTES:]) + decryptor.finalize()
        except ValueError:
            raise _damaged(key, self.prefix) from None
        padding = value[-1:] or b"\0"
        if not 0 < padding[0] <= _CBC_BLOCK_BYTES or not value.endswith(padding * padding[0]):
            raise _damaged(key, self.prefix)
        return value[: -padding[0]]


class SecretBox:
    """XSalsa20 and Poly1305, as NaCl has them."""

    def __init__(self, name: str, secret: bytes) -> None:
        from nacl.secret import SecretBox as Box

        self.prefix = b"%bsecretbox:v1:%b:" % (_PREFIX, name.encode())
        self._box = Box(secret)

    def seal(self, key: str, value: bytes) -> bytes:
        return self.prefix + bytes(self._box.encrypt(value))

    def open(self, key: str, sealed: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            return self._box.decrypt(sealed[len(self.prefix) :])
        except (CryptoError, ValueError):
            raise _damaged(key, self.prefix) from None


class Ring:
    """The providers of some resources: the first seals, every one opens."""

    def __init__(self, sealers: Sequence[Sealer]) -> None:
        self._sealers = tuple(sealers)
        # Those with the longest prefixes first: the identity's is empty and fits everything.
        self._opening = sorted(sealers, key=lambda sealer: -len(sealer.prefix))

    def seal(self, key: str, value: bytes) -> bytes:
        return self._sealers[0].seal(key, value)

    def open(self, key: str, sealed: bytes) -> bytes:
        """Raises Unsealable."""
        for sealer in self._opening:
            if sealed.startswith(sealer.prefix) and (sealer.prefix or not sealed.startswith(_PREFIX)):
                return sealer.open(key, sealed)
        return Identity().open(key, sealed) if sealed.startswith(_PREFIX) else sealed

    def is_current(self, sealed: bytes) -> bool:
        """Whether the first provider sealed it."""
        first = self._sealers[0].prefix
        return sealed.startswith(first) if first else not sealed.startswith(_PREFIX)


def _damaged(key: str, prefix: bytes) -> Unsealable:
    who = prefix.decode(errors="replace").rstrip(":")
    return Unsealable(f"{key} cannot be decrypted by {who}: the key is another one or the value is damaged.")
