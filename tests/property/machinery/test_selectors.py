from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import field_selectors, selectors
from sampan.machinery.field_selectors import FieldSelector, FieldTerm
from sampan.machinery.selectors import Requirement, Selector, SelectorError

keys = st.from_regex(r"\A([a-z]{1,5}\.io/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,5}[A-Za-z0-9])?\Z")
values = st.from_regex(r"\A([A-Za-z0-9]([A-Za-z0-9_.-]{0,5}[A-Za-z0-9])?)?\Z")
one = st.tuples(values)
several = st.sets(values, min_size=1).map(lambda found: tuple(sorted(found)))
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from(["=", "==", "!="]), one),
    st.builds(Requirement, keys, st.sampled_from(["in", "notin"]), several),
    st.builds(Requirement, keys, st.sampled_from(["exists", "!"])),
    st.builds(Requirement, keys, st.sampled_from(["gt", "lt"]), st.tuples(st.integers(0, 999).map(str))),
)
label_selectors = st.lists(requirements, max_size=4).map(Selector)
labels = st.dictionaries(keys, values, max_size=5)


@given(label_selectors)
def test_a_written_selector_parses_back(selector: Selector) -> None:
    assert selectors.parse(str(selector)) == selector


@given(label_selectors, labels)
def test_a_selector_is_the_conjunction_of_its_requirements(
    selector: Selector, given_: dict[str, str]
) -> None:
    assert selector.matches(given_) == all(r.matches(given_) for r in selector.requirements)


@given(keys, one, labels)
def test_negation(key: str, value: tuple[str], given_: dict[str, str]) -> None:
    for positive, negative in (("=", "!="), ("in", "notin")):
        holds = Requirement(key, positive, value).matches(given_)
        assert Requirement(key, negative, value).matches(given_) is not holds
    assert Requirement(key, "exists").matches(given_) != Requirement(key, "!").matches(given_)


@given(st.text(alphabet="ab=!(), in<>notin\n", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        selector = selectors.parse(text)
    except SelectorError as refused:
        assert str(refused)
    else:
        assert selectors.parse(str(selector)) == selector


@given(
    st.lists(
        st.builds(
            FieldTerm, st.from_regex(r"\A[a-z]{1,4}(\.[a-z]{1,4})?\Z"), st.text(max_size=8), st.booleans()
        )
    )
)
def test_a_written_field_selector_parses_back(terms: list[FieldTerm]) -> None:
    parsed = field_selectors.parse(str(FieldSelector(terms)))
    assert sorted(map(str, parsed.terms)) == sorted(map(str, terms))
    assert set(parsed.terms) == set(terms)
