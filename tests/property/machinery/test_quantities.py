from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.quantity import Quantity

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi", "e3", "E-2", "e0"]
texts = st.builds(
    lambda sign, whole, part, suffix: f"{sign}{whole}{part}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**6),
    st.one_of(st.just(""), st.integers(0, 999).map(lambda n: f".{n}")),
    st.sampled_from(SUFFIXES),
)


@given(texts)
def test_the_canonical_text_names_the_same_amount(text: str) -> None:
    quantity = Quantity(text)
    again = Quantity(quantity.text)
    assert again == quantity
    assert again.text == quantity.text


@given(texts, texts)
def test_order_is_that_of_the_amounts(left: str, right: str) -> None:
    a, b = Quantity(left), Quantity(right)
    assert (a < b) == (a.value < b.value)
    assert (a <= b) == (a.value <= b.value)
    assert (a == b) == (a.value == b.value)
    if a == b:
        assert hash(a) == hash(b)


@given(st.integers(-(10**15), 10**15))
def test_whole_and_milli_agree(amount: int) -> None:
    quantity = Quantity(str(amount))
    assert quantity.whole() == amount
    assert quantity.milli() == amount * 1000
    assert quantity.value == Decimal(amount)


@given(st.integers(0, 2**50))
def test_bytes_keep_their_binary_notation(amount: int) -> None:
    quantity = Quantity(f"{amount}Ki")
    assert quantity.whole() == amount * 1024
    if amount:
        assert quantity.text.endswith("i")
