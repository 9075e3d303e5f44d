"""Ids that look as they should, and repeat where the source of chance does."""

import random
import uuid

from sampan.base.ids import RandomIds
from sampan.machinery import meta
from sampan.machinery.field import Path


def test_uids_are_those_that_uuid_makes_of_the_same_bits() -> None:
    made, bits = RandomIds(random.Random(5)), random.Random(5)
    for _ in range(500):
        assert made.uid() == str(uuid.UUID(int=bits.getrandbits(128), version=4))


def test_a_label_that_is_wrong_is_told_each_time_it_is_looked_at() -> None:
    path = Path("metadata.labels")
    for labels in ({"a/b/c": "x"}, {"a": "-"}, {"a": "x" * 64}, {"a": "x" * 1000}, {"x" * 1000: ""}):
        first = meta.validate_labels(labels, path)
        assert first and meta.validate_labels(labels, path) == first
    for longest in ({"a": "x" * 63}, {"d" * 253 + "/" + "n" * 63: "v" * 63}):
        assert meta.validate_labels(longest, path) == meta.validate_labels(longest, path) == []
