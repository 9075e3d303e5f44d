"""Shuffle sharding: the few queues, out of many, that one flow may use. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

_HASH_BYTES: Final = 8


def flow_hash(schema: str, distinguisher: str) -> int:
    """The 64-bit number that stands for a flow."""
    digest = hashlib.sha256(f"{schema}\0{distinguisher}".encode()).digest()
    return int.from_bytes(digest[:_HASH_BYTES], "little")


def deal(number: int, deck_size: int, hand_size: int) -> tuple[int, ...]:
    """`hand_size` different cards of a deck, chosen by `number`: the same each time.

    Two flows that share one queue rarely share all of them, so a flood of one leaves others a way through.
    """
    cards: list[int] = []
    for taken in range(hand_size):
        number, card = divmod(number, deck_size - taken)
        # The card counts among those that are left: step over the ones that are not.
        for earlier in sorted(cards):
            card += card >= earlier
        cards.append(card)
    return tuple(cards)
