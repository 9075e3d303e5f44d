"""What a query asks of the node's server, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.node.streaming.errors import Refused

Query = Mapping[str, Sequence[str]]

_TRUE: Final = frozenset({"1", "t", "true"})
_STREAMS: Final = {"": None, "All": None, "Stdout": b"stdout", "Stderr": b"stderr"}


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """PodLogOptions. `stream` is None for both; `since` is a moment; `tail_lines` is of the file."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None
    stream: bytes | None = None


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """PodExecOptions and PodAttachOptions."""

    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


def log_query(query: Query, now: datetime) -> LogQuery:
    """The options of a log request made at `now`. Raises Refused (400, 422) where they make no sense."""
    since_s, since_text = _number(query, "sinceSeconds", least=1), _one(query, "sinceTime")
    if since_s is not None and since_text:
        raise Refused(422, "at most one of `sinceTime` or `sinceSeconds` may be specified")
    since = None
    if since_s is not None:
        since = now - timedelta(seconds=min(since_s, 10**9))
    elif since_text:
        since = _moment(since_text)
    stream = _one(query, "stream")
    if stream not in _STREAMS:
        raise Refused(
            422, f'stream: Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"'
        )
    tail_lines = _number(query, "tailLines", least=0)
    if _STREAMS[stream] is not None and tail_lines is not None:
        raise Refused(422, "`tailLines` and specific `stream` are mutually exclusive for now")
    return LogQuery(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail_lines=tail_lines,
        limit_bytes=_number(query, "limitBytes", least=1),
        since=since,
        stream=_STREAMS[stream],
    )


def session_query(query: Query) -> SessionQuery:
    """The streams and the command of an exec or attach. Raises Refused (400) where no stream is asked for.

    Kubelet's own names (input, output, error) are understood beside those of the API.
    """
    tty = _flag(query, "tty")
    asked = SessionQuery(
        command=tuple(query.get("command", ())),
        stdin=_flag(query, "stdin", "input"),
        stdout=_flag(query, "stdout", "output"),
        # A terminal has one output.
        stderr=_flag(query, "stderr", "error") and not tty,
        tty=tty,
    )
    if not (asked.stdin or asked.stdout or asked.stderr):
        raise Refused(400, "you must specify at least 1 of stdin, stdout, stderr")
    return asked


def without_follow(asked: LogQuery) -> LogQuery:
    """The same for a log that has ended: there is nothing to wait for."""
    return msgspec.structs.replace(asked, follow=False)


def with_tty(asked: SessionQuery, tty: bool) -> SessionQuery:
    """The same for an attach, where the container says whether there is a terminal."""
    return msgspec.structs.replace(asked, tty=tty, stderr=asked.stderr and not tty)


def ports(query: Query) -> tuple[int, ...]:
    """The ports of a port-forward over plain websockets. Raises Refused (400) for what is no port."""
    found = []
    for value in (part for text in query.get("ports", query.get("port", ())) for part in text.split(",")):
        if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 65535:
            raise Refused(400, f'unable to parse "{value}" as a port: it must be between 1 and 65535')
        found.append(int(value))
    return tuple(found)


def _one(query: Query, name: str) -> str:
    values = query.get(name, ())
    return values[0] if values else ""


def _flag(query: Query, *names: str) -> bool:
    return any(_one(query, name).lower() in _TRUE for name in names)


def _number(query: Query, name: str, *, least: int) -> int | None:
    text = _one(query, name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise Refused(400, f'{name} must be a number, not "{text}"') from None
    if number < least:
        raise Refused(422, f"{name}: Invalid value: {number}: must be greater than or equal to {least}")
    return number


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f'sinceTime must be a time in RFC 3339, not "{text}"') from None
    if moment.tzinfo is None:
        raise Refused(400, f'sinceTime must name its time zone, which "{text}" does not')
    return moment
