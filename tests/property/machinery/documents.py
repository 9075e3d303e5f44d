"""JSON documents, for laws that hold of all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

names = st.sampled_from(["a", "b", "c", "d"])
scalars = st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["", "x", "y"]))


def _wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4))


def values(*, nulls: bool) -> st.SearchStrategy[Any]:
    """Any JSON, with or without nulls."""
    return st.recursive(st.one_of(st.none(), scalars) if nulls else scalars, _wider, max_leaves=12)


def objects(*, nulls: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of any JSON."""
    return st.dictionaries(names, values(nulls=nulls), max_size=4)
