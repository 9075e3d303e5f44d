from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.store.sortedkeys import MAX_CHUNK_KEYS, SortedKeys

names = st.text("ab/", max_size=4)


@given(st.lists(st.tuples(st.booleans(), names)), names, names)
def test_it_is_a_sorted_set(steps: list[tuple[bool, str]], start: str, end: str) -> None:
    kept: set[str] = set()
    keys = SortedKeys()
    for add, name in steps:
        if add and name not in kept:
            keys.add(name)
            kept.add(name)
        elif not add and name in kept:
            keys.remove(name)
            kept.remove(name)
    inside = sorted(name for name in kept if start <= name < end)
    assert list(keys) == sorted(kept)
    assert len(keys) == len(kept)
    assert list(keys.between(start, end)) == inside
    assert keys.count(start, end) == len(inside)


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_many_keys_in_any_order(order: str) -> None:
    names = [f"{i:05}" for i in range(5 * MAX_CHUNK_KEYS)]
    coming = {
        "ascending": names,
        "descending": names[::-1],
        "random": random.Random(1).sample(names, len(names)),
    }[order]
    keys = SortedKeys()
    for name in coming:
        keys.add(name)
    assert list(keys) == names == list(SortedKeys(coming))
    for start, end in ((0, 10), (1000, 1100), (1, len(names) - 1), (1023, 1025), (500, 400)):
        assert list(keys.between(names[start], names[end])) == names[start:end]
        assert keys.count(names[start], names[end]) == max(0, end - start)
    for name in random.Random(2).sample(names, len(names)):
        keys.remove(name)
    assert list(keys) == [] and len(keys) == 0
    keys.add("a")
    assert list(keys.between("", "b")) == ["a"]


def test_removing_what_is_not_there() -> None:
    keys = SortedKeys(["a", "c"])
    for name in ("", "b", "d"):
        with pytest.raises(KeyError):
            keys.remove(name)
    assert list(keys) == ["a", "c"] and len(keys) == 2
