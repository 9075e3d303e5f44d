from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.patch.apply import fieldset
from sampan.machinery.patch.apply.fieldset import EMPTY, FieldSet

elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"', "i:0"])
paths = st.lists(elements, min_size=1, max_size=4).map(tuple)
members = st.sets(paths, max_size=8)
sets = members.map(lambda found: fieldset.of(*found))


@given(members)
def test_a_set_holds_what_it_was_made_of(found: set[tuple[str, ...]]) -> None:
    made = fieldset.of(*found)
    assert set(made.paths()) == found
    assert all(path in made for path in found)
    assert bool(made) == bool(found)


@given(members, members)
def test_the_algebra_is_that_of_sets(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    a, b = fieldset.of(*left), fieldset.of(*right)
    assert set((a | b).paths()) == left | right
    assert set((a & b).paths()) == left & right
    assert set((a - b).paths()) == left - right
    below = {path for path in left if any(path[: len(other)] == other for other in right)}
    assert set(a.without(b).paths()) == left - below
    assert (a <= b) == (left <= right)
    assert a & b <= a <= a | b


@given(sets, sets, sets)
def test_results_are_in_normal_form(a: FieldSet, b: FieldSet, c: FieldSet) -> None:
    for made in (a | b, a & b, a - b, a.without(b)):
        assert fieldset.of(*made.paths()) == made
    assert (a | b) | c == a | (b | c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a - (b | c) == (a - b) - c
    assert (a - b) | (a & b) == a
    assert a | EMPTY == a
    assert a - a == EMPTY


@given(sets)
def test_what_is_written_reads_back(a: FieldSet) -> None:
    assert fieldset.parse(a.tree) == a


@given(st.permutations(["b", "a", "c"]))
def test_keys_are_one_however_they_are_written(order: list[str]) -> None:
    text = "k:{ " + ", ".join(f'"{name}": "{name}"' for name in order) + "}"
    assert list(fieldset.parse({text: {}}).paths()) == [('k:{"a":"a","b":"b","c":"c"}',)]
