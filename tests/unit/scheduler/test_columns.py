"""Amounts by resource and row are the same, however they are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.scheduler import columns
from sampan.scheduler.columns import Columns

NAMES = ["cpu", "x/a", "x/b"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(NAMES), st.integers(0, 9), st.integers(0, 3)),
        st.tuples(st.just("add"), st.sampled_from(NAMES), st.integers(0, 9), st.integers(-1, 2)),
        st.tuples(st.just("clear"), st.just(""), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("grow"), st.just(""), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([0, 16, 100]))
def test_pairs_and_arrays_hold_what_was_put_into_them(
    steps: list[tuple[str, str, int, int]], small: int
) -> None:
    kept, model, size = Columns(), {name: [0] * 10 for name in NAMES}, 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "SMALL", small)
        patch.setattr(columns, "MOST_PAIRS", 3)
        for what, name, row, amount in steps:
            if what == "grow":
                kept.grow(10)
                size += 10
                model = {each: [*amounts, *[0] * 10] for each, amounts in model.items()}
            elif what == "clear":
                kept.clear(row)
                for amounts in model.values():
                    amounts[row] = 0
            elif what == "set":
                kept.set(name, row, amount, size)
                model[name][row] = amount
            else:
                kept.add(name, row, amount, size)
                model[name][row] += amount
    for name, amounts in model.items():
        assert kept.array(name, size).tolist() == amounts
        few = kept.few(name)
        assert few is None or dict(few) == {row: n for row, n in enumerate(amounts) if n}
    for row in range(size):
        assert kept.of(row) == {name: n[row] for name, n in model.items() if n[row]}
    assert kept.array("nothing", size).dtype == np.int64
