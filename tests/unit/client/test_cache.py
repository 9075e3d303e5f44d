"""Orders of a cache: who comes before whom, however often that changes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.cache import Cache, Order
from sampan.schema import api

NAMES = ("a", "b", "c", "d")


def places(obj: api.ConfigMap) -> Iterable[tuple[str, tuple[str, ...]]]:
    place = obj.data.get("place", "")
    return ((obj.data.get("group", ""), (place, obj.metadata.name or "")),) if place else ()


def config_map(name: str, group: str, place: str) -> api.ConfigMap:
    return api.ConfigMap(
        metadata=api.ObjectMeta(name=name, namespace="n"), data={"group": group, "place": place}
    )


CHANGES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(("g", "h", "")), st.sampled_from(("", "1", "2", "3")))
)


@given(CHANGES, CHANGES)
def test_an_order_is_what_sorting_gives(
    early: list[tuple[str, str, str]], late: list[tuple[str, str, str]]
) -> None:
    cache: Cache[api.ConfigMap] = Cache()
    for name, group, place in early:
        cache.put(config_map(name, group, place))
    cache.add_index("order", Order(places))
    for name, group, place in late:
        if group:
            cache.put(config_map(name, group, place))
        else:
            cache.remove(("n", name))
    for group in ("g", "h"):
        taken = sorted(place for obj in cache.items() for found, place in places(obj) if found == group)
        assert cache.last("order", group) == (taken[-1] if taken else None)
        for place in [*taken, ("2", "")]:
            assert cache.before("order", group, place) == sum(other < place for other in taken)
        assert cache.count("order", group) == len(taken)


def test_who_has_no_order_is_told_so() -> None:
    with pytest.raises(KeyError):
        Cache[api.ConfigMap]().before("namespace", "n", ())
