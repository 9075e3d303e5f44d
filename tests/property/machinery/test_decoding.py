"""Whatever a client sends, the answer is an object or a refusal."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sampan.schema import api, codec
from sampan.schema.decode import DecodeFailure, decode_object
from sampan.schema.yaml import load, yaml_to_json

FIELDS = (
    "metadata name labels creationTimestamp spec containers ports containerPort env value resources limits "
    "cpu hostNetwork volumes emptyDir sizeLimit x"
)
fields = st.sampled_from(FIELDS.split())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "1", "100m", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00Z"]),
)
bodies = st.dictionaries(
    fields,
    st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(fields, inner, max_size=4)),
        max_leaves=12,
    ),
    max_size=4,
)


@given(bodies)
def test_any_object_is_decoded_or_refused(body: dict[str, Any]) -> None:
    try:
        pod, problems = decode_object(json.dumps(body).encode(), api.Pod)
    except DecodeFailure as refused:
        assert str(refused)
        return
    assert all(problem.startswith(("unknown field", "duplicate field")) for problem in problems)
    assert decode_object(codec.encode(pod), api.Pod) == (pod, [])


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    for read in (lambda: decode_object(data, api.Pod), lambda: yaml_to_json(data)):
        try:
            read()
        except ValueError as refused:
            assert str(refused)


@given(bodies)
def test_yaml_that_is_json_means_the_same(body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    assert msgspec.json.decode(yaml_to_json(text)) == msgspec.json.decode(text)


@given(st.text(alphabet="ab:- \n[]{},&*!|>'\"#y1", max_size=30))
def test_any_text_is_yaml_or_refused(text: str) -> None:
    try:
        value = load(text.encode())
    except ValueError as refused:
        assert str(refused).startswith(("yaml: ", "json: "))
    else:
        json.dumps(value)
