from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sampan.schema.yaml import load, yaml_to_json, yaml_to_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes", True),
        ("a: n", False),
        ("a: On", True),
        ("a: ~", None),
        ("a:", None),
        ("a: 'yes'", "yes"),
        ("a: !!str 1", "1"),
        ("a: !!int '5'", 5),
        ("a: !!binary aGk=", "hi"),
        ("a: 2020-01-01", "2020-01-01"),
        ("a: 2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("a: 1:30", "1:30"),
        ("a: 0777", 511),
        ("a: 0o17", 15),
        ("a: 0x1F", 31),
        ("a: 0b11", 3),
        ("a: -1_000", -1000),
        ("a: 08", 8),
        ("a: 1e3", 1000),
        ("a: .5", 0.5),
        ("a: 1.10", 1.1),
        ("a: 1.2.3", "1.2.3"),
        ("a: 100m", "100m"),
        ("a: |\n  x\n  y\n", "x\ny\n"),
        ("a: []", []),
        ("a: {b: [1, {c: d}]}", {"b": [1, {"c": "d"}]}),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = load(text.encode())["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_become_texts() -> None:
    assert load(b"1: a\ntrue: b\n1.5: c\nn: d\n") == {"1": "a", "true": "b", "1.5": "c", "false": "d"}


def test_aliases_and_merging() -> None:
    text = b"base: &b {x: 1, w: 2}\nmore: &m {w: 3, z: 4}\nc: {<<: [*b, *m], x: 0}\nd: *b\n"
    found = load(text)
    assert found["c"] == {"x": 0, "w": 2, "z": 4}
    assert found["d"] == {"x": 1, "w": 2}


def test_only_the_first_document_counts() -> None:
    assert load(b"a: 1\n---\nb: 2\n") == {"a": 1}
    assert load(b"") is None


def test_json_is_given_back_as_it_is() -> None:
    body = b'{ "a":\t1e3 }'
    assert yaml_to_json(body) is body
    assert json.loads(yaml_to_json(b"{a: b}")) == {"a": "b"}


@pytest.mark.parametrize(
    "body",
    [b'{"a": 1e3}', b"{a: b}", b"a: [1, 2]", b"5", b"null", b"", b'{"a": "\\ud800"}', b"{", b'{"a": "\xff"}'],
)
def test_what_is_decoded_at_once_is_what_is_decoded_afterwards(body: bytes) -> None:
    def outcome(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except ValueError as problem:
            return type(problem), str(problem)

    def in_two_steps() -> Any:
        data = yaml_to_json(body)
        return data, msgspec.json.decode(data)

    assert outcome(lambda: yaml_to_value(body)) == outcome(in_two_steps)


def bomb(levels: int) -> bytes:
    lines = ["l0: &l0 [x,x,x,x,x,x,x,x,x]"]
    for level in range(1, levels):
        lines.append(f"l{level}: &l{level} [{','.join([f'*l{level - 1}'] * 9)}]")
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (bomb(8), "yaml: document contains excessive aliasing"),
        (b"a: &a [*a]", "yaml: anchor 'a' value contains itself"),
        (b"a: *b", "yaml: unknown anchor 'b' referenced"),
        (b"[" * 100_000, "yaml: exceeded max depth"),
        (b"- " * 100_000, "yaml: exceeded max depth"),
        (b"{a: " * 100_000, "yaml: exceeded max depth"),
        (b"a: .inf", "json: unsupported value: .inf"),
        (b"? [a]\n: b", "yaml: line 1: a key must be a text, a number or a boolean"),
        (b"a: [", "yaml: line 2: did not find expected node content"),
        (b"x: {<<: 1}", "yaml: map merge requires map or sequence of maps as the value"),
    ],
)
def test_refusals(body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"^") as refused:
        load(body)
    assert str(refused.value) == message


@pytest.mark.parametrize("body", [b"\x00", b"\xff\xfe\xfa", b"\t- a", b"a: 9" + b"9" * 5000])
def test_other_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(yaml|json): "):
        load(body)


def test_few_aliases_are_fine() -> None:
    assert len(load(bomb(3))["l2"]) == 9
