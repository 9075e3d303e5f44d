"""Go's durations: what is one, how long it is, and what Go says of the rest."""

from __future__ import annotations

import pytest

from sampan.machinery.durations import DurationError, parse_ns, parse_s

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("-0", 0),
        ("+0", 0),
        ("0s", 0),
        ("5s", 5 * SECOND),
        ("+5s", 5 * SECOND),
        ("-5s", -5 * SECOND),
        ("5.s", 5 * SECOND),
        (".5s", SECOND // 2),
        ("0.1s", SECOND // 10),
        ("1h30m", 5400 * SECOND),
        ("1m1m", 120 * SECOND),
        ("3s2h", 7203 * SECOND),
        ("1.5h", 5400 * SECOND),
        ("10ns", 10),
        ("11us", 11_000),
        ("12µs", 12_000),
        ("12μs", 12_000),
        ("14ms", 14_000_000),
        ("0.9ns", 0),
        ("-1.5ns", -1),
        ("0.3333333333333333333h", 1_200 * SECOND),
        ("0.100000000000000000000h", 360 * SECOND),
        ("000000000000000000000000000001s", SECOND),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
        ("-9223372036s854ms775us808ns", -(2**63)),
    ],
)
def test_how_long_it_is(text: str, ns: int) -> None:
    assert parse_ns(text) == ns
    assert parse_s(text) == ns / 1e9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'invalid duration ""'),
        ("-", 'invalid duration "-"'),
        ("+-5s", 'invalid duration "+-5s"'),
        ("s", 'invalid duration "s"'),
        (".", 'invalid duration "."'),
        (".s", 'invalid duration ".s"'),
        (" 5s", 'invalid duration " 5s"'),
        ("soon", 'invalid duration "soon"'),
        ("٣s", 'invalid duration "\\xd9\\xa3s"'),
        ("3", 'missing unit in duration "3"'),
        ("1h3", 'missing unit in duration "1h3"'),
        ("1.2.3s", 'missing unit in duration "1.2.3s"'),
        ("00", 'missing unit in duration "00"'),
        ("5s ", 'unknown unit "s " in duration "5s "'),
        ("1d", 'unknown unit "d" in duration "1d"'),
        ("1S", 'unknown unit "S" in duration "1S"'),
        ('1"', 'unknown unit "\\"" in duration "1\\""'),
        ("1m-5s", 'unknown unit "m-" in duration "1m-5s"'),
        ("9223372036854775808ns", 'invalid duration "9223372036854775808ns"'),
        ("9223372036854775810s", 'invalid duration "9223372036854775810s"'),
        ("2562048h", 'invalid duration "2562048h"'),
        ("2562047h2562047h", 'invalid duration "2562047h2562047h"'),
        ("-9223372036854775809ns", 'invalid duration "-9223372036854775809ns"'),
        ("9" * 5000 + "s", f'invalid duration "{"9" * 5000}s"'),
    ],
)
def test_what_is_none(text: str, said: str) -> None:
    with pytest.raises(DurationError) as raised:
        parse_ns(text)
    assert str(raised.value) == f"time: {said}"
