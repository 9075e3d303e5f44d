"""Identity and chance as a parameter."""

from __future__ import annotations

import random
from typing import Final, Protocol

# The letters that Kubernetes draws generated names from: no vowels and no 0, 1, 3, so no bad words.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_PAIRS: Final = tuple(first + second for first in NAME_ALPHABET for second in NAME_ALPHABET)

_UUID_VERSION_4: Final = 0x4 << 76 | 0x2 << 62
_UUID_RANDOM: Final = (1 << 128) - 1 & ~(0xF << 76 | 0x3 << 62)


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
        # The version and the variant are set in the number itself: uuid.UUID costs twice as much.
        bits = self._fast.getrandbits(128) & _UUID_RANDOM | _UUID_VERSION_4
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = 5) -> str:
        # Two letters are drawn at a time, which takes half as long.
        return "".join(self._fast.choices(_PAIRS, k=(length + 1) // 2))[:length]
