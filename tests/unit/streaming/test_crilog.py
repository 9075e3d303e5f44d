"""Container logs read back from CRI format."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.streaming.crilog import MAX_ENTRY_BYTES, LogDecoder, tail_offset
from sampan.node.streaming.query import LogQuery

T1, T2, T3 = (f"2026-01-01T00:00:0{n}.5Z".encode() for n in (1, 2, 3))
LOG = b"%b stdout F one\n%b stderr F two\n%b stdout P thr\n%b stdout F ee\n" % (T1, T2, T3, T3)


def decoded(data: bytes, asked: LogQuery | None = None) -> bytes:
    decoder = LogDecoder(asked or LogQuery())
    return decoder.feed(data) + decoder.finish()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (LogQuery(), b"one\ntwo\nthree\n"),
        (LogQuery(stream=b"stderr"), b"two\n"),
        (LogQuery(since=datetime(2026, 1, 1, 0, 0, 2, 500000, tzinfo=UTC)), b"two\nthree\n"),
        (LogQuery(since=datetime(2026, 1, 1, 0, 0, 2, 500001, tzinfo=UTC)), b"three\n"),
        (LogQuery(limit_bytes=6), b"one\ntw"),
        (
            LogQuery(timestamps=True),
            b"2026-01-01T00:00:01.500000000Z one\n2026-01-01T00:00:02.500000000Z two\n"
            b"2026-01-01T00:00:03.500000000Z three\n",
        ),
    ],
)
def test_options(asked: LogQuery, expected: bytes) -> None:
    assert decoded(LOG, asked) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"%b stdout F \n" % T1, b"\n"),
        (b"%b stdout F  two spaces\n" % T1, b" two spaces\n"),
        (b"%b stdout F no newline" % T1, b"no newline"),
        (b"%b stdout F:tagged text\n" % T1, b"text\n"),
        (b"nonsense\n", b""),
        (b"%b stdout X text\n" % T1, b""),
        (b"\n", b""),
        (b"%b stdout F caf\xc3\xa9 \xff\n" % T1, b"caf\xc3\xa9 \xff\n"),
    ],
)
def test_lines(line: bytes, expected: bytes) -> None:
    assert decoded(line) == expected


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"2026-01-01T00:00:01Z", b"2026-01-01T00:00:01.000000000Z"),
        (b"2026-01-01T00:00:01+02:00", b"2026-01-01T00:00:01.000000000+02:00"),
        (b"2026-01-01T00:00:01.123456789Z", b"2026-01-01T00:00:01.123456789Z"),
        (b"2026-01-01T00:00:01.12+02:00", b"2026-01-01T00:00:01.120000000+02:00"),
    ],
)
def test_times_have_nine_digits(written: bytes, shown: bytes) -> None:
    assert decoded(written + b" stdout F x\n", LogQuery(timestamps=True)) == shown + b" x\n"


def test_an_endless_entry_is_passed_over_and_not_kept() -> None:
    decoder = LogDecoder(LogQuery())
    for _ in range(5):
        assert decoder.feed(b"x" * (MAX_ENTRY_BYTES // 2)) == b""
    assert decoder.feed(b"x\n%b stdout F after\n" % T1) == b"after\n"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 30))
def test_how_the_file_is_cut_makes_no_difference(sizes: list[int], limit: int) -> None:
    for asked in (LogQuery(timestamps=True), LogQuery(limit_bytes=limit)):
        decoder, found, rest, index = LogDecoder(asked), b"", LOG, 0
        while rest:
            size = sizes[index % len(sizes)]
            found += decoder.feed(rest[:size])
            rest, index = rest[size:], index + 1
        assert found + decoder.finish() == decoded(LOG, asked)


@given(st.binary(max_size=300), st.integers(0, 30))
def test_the_tail_is_the_last_lines(data: bytes, lines: int) -> None:
    data = data.replace(b"\x00", b"\n")
    offset = tail_offset(lambda at, size: data[at : at + size], len(data), lines)
    kept = data.removesuffix(b"\n").split(b"\n") if data else []
    expected = b"\n".join(kept[max(0, len(kept) - lines) :]) if lines else b""
    assert data[offset:].removesuffix(b"\n") == expected


def test_the_tail_of_a_large_file_is_found_across_blocks() -> None:
    data = b"".join(b"%07d\n" % n for n in range(40_000))
    offset = tail_offset(lambda at, size: data[at : at + size], len(data), 30_000)
    assert offset == 10_000 * 8
