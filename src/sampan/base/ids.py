"""Identity and chance as a parameter."""

from __future__ import annotations

import random
import uuid
from typing import Protocol

# The letters that Kubernetes draws generated names from: no vowels and no 0, 1, 3, so no bad words.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Ids(Protocol):
    """Where unique ids and name suffixes come from."""

    def uid(self) -> str:
        """A new RFC 4122 UUID."""
        ...

    def suffix(self, length: int = 5) -> str:
        """Random letters for a generated name."""
        ...


class RandomIds:
    """Ids from a random generator: the system's by default, a seeded one for tests that must repeat."""

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.SystemRandom()
        # uuid4 draws from os.urandom at every call; a process-wide generator seeded from it costs a fifth.
        self._fast = source or random.Random(self._random.getrandbits(256))

    def uid(self) -> str:
        bits = self._fast.getrandbits(128)
        return str(uuid.UUID(int=bits, version=4))

    def suffix(self, length: int = 5) -> str:
        return "".join(self._fast.choices(NAME_ALPHABET, k=length))
