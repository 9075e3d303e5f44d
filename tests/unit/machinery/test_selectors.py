from __future__ import annotations

import pytest

from sampan.machinery import field_selectors, selectors
from sampan.machinery.selectors import EVERYTHING, NOTHING, SelectorError
from sampan.schema import api


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("a", "a"),
        ("!a", "!a"),
        ("b=1,a==2", "a==2,b=1"),
        ("a!=b", "a!=b"),
        ("a=", "a="),
        ("a=,b", "a=,b"),
        ("x in (c,a,,b)", "x in (,a,b,c)"),
        ("x notin ()", "x notin ()"),
        ("  a  in  ( b , c ) ", "a in (b,c)"),
        ("in in (notin)", "in in (notin)"),
        ("a>1,b<2", "a>1,b<2"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(selectors.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("x in", "unable to parse requirement: found '' expected: '('"),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a>x",
            'unable to parse requirement: values[0]: Invalid value: "x": '
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_refusals_are_worded_as_kubernetes_words_them(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as refused:
        selectors.parse(text)
    assert str(refused.value) == message


def test_bad_keys_and_values_are_named() -> None:
    with pytest.raises(SelectorError, match=r'^unable to parse requirement: <nil>: Invalid value: "a/b/c": '):
        selectors.parse("a/b/c")
    with pytest.raises(SelectorError, match=r'requirement: values\[0\]\[a\]: Invalid value: "%": a valid'):
        selectors.parse("a=%")


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a notin (b,c)", {}, True),
        ("a,!b", {"a": ""}, True),
        ("a,!b", {"a": "", "b": ""}, False),
        ("n>5", {"n": "6"}, True),
        ("n>5", {"n": "x"}, False),
        ("n<5", {}, False),
    ],
)
def test_matching(text: str, labels: dict[str, str], matches: bool) -> None:
    assert selectors.parse(text).matches(labels) is matches


def test_label_selector_structs() -> None:
    assert selectors.from_label_selector(None) is NOTHING
    assert not NOTHING.matches({})
    assert selectors.from_label_selector(api.LabelSelector()) is EVERYTHING
    struct = api.LabelSelector(
        matchLabels={"a": "b"},
        matchExpressions=[
            api.LabelSelectorRequirement(key="c", operator="In", values=["d", "e"]),
            api.LabelSelectorRequirement(key="f", operator="DoesNotExist"),
        ],
    )
    assert str(selectors.from_label_selector(struct)) == "a=b,c in (d,e),!f"
    plain = {"matchLabels": {"a": "b"}}
    assert selectors.from_label_selector(plain) == selectors.from_labels({"a": "b"})
    with pytest.raises(SelectorError, match='"Like" is not a valid label selector operator'):
        selectors.from_label_selector({"matchExpressions": [{"key": "a", "operator": "Like"}]})


def test_the_value_a_selector_demands() -> None:
    assert selectors.parse("a=b,c in (d)").exact_value("c") == "d"
    assert selectors.parse("a!=b").exact_value("a") is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("b=1,,a==2", "a=2,b=1"),
        ("a!=b", "a!=b"),
        (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
    ],
)
def test_field_selectors(text: str, canonical: str) -> None:
    assert str(field_selectors.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\z", "invalid field selector: invalid escape sequence: \\z"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_field_selector_refusals(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as refused:
        field_selectors.parse(text)
    assert str(refused.value) == message


def test_field_selectors_match_absent_fields_as_empty() -> None:
    selector = field_selectors.parse("metadata.name=a,spec.nodeName!=x")
    assert selector.matches({"metadata.name": "a"})
    assert not selector.matches({"metadata.name": "a", "spec.nodeName": "x"})
    assert selector.fields == ("metadata.name", "spec.nodeName")
    assert selector.exact_value("metadata.name") == "a"
    assert selector.exact_value("spec.nodeName") is None
    assert str(selector.without("metadata.name")) == "spec.nodeName!=x"
