"""Websocket subprotocols of exec and attach: several channels in one connection. Pure.

A message is one byte with the channel's number and then its data; in the base64 form the number is a digit
and the data is base64. Version 5 adds a message that says that a channel has ended.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec


class Channel(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


class Protocol(msgspec.Struct, frozen=True):
    """One subprotocol. `statuses`: the error channel has a Status; else the text of what went wrong."""

    name: str
    base64: bool = False
    statuses: bool = False
    closes: bool = False


# What a client that names none gets: the first protocol there was.
UNNAMED: Final = Protocol("")
# The best first.
PROTOCOLS: Final = (
    Protocol("v5.channel.k8s.io", statuses=True, closes=True),
    Protocol("v4.channel.k8s.io", statuses=True),
    Protocol("v4.base64.channel.k8s.io", base64=True, statuses=True),
    Protocol("v3.channel.k8s.io"),
    Protocol("v2.channel.k8s.io"),
    Protocol("v1.channel.k8s.io"),
    Protocol("channel.k8s.io"),
    Protocol("base64.channel.k8s.io", base64=True),
)


class BadMessage(ValueError):
    """A message that is none of the subprotocol."""


class Size(msgspec.Struct, frozen=True):
    """A terminal's size in characters, as clients send it."""

    Width: int = 0
    Height: int = 0


_MOST: Final = 65535


def choose(offered: Sequence[str]) -> Protocol | None:
    """The best protocol that the client offers; None where it offers only others."""
    if not offered:
        return UNNAMED
    return next((protocol for protocol in PROTOCOLS if protocol.name in offered), None)


def encode(protocol: Protocol, channel: int, data: bytes) -> bytes | str:
    """One message: bytes for a binary one, str for a text one."""
    if protocol.base64:
        return f"{channel:d}{base64.b64encode(data).decode()}"
    return bytes((channel,)) + data


def decode(protocol: Protocol, message: bytes | str) -> tuple[int, bytes]:
    """(channel, data) of a message. Raises BadMessage."""
    if not message:
        raise BadMessage("an empty message names no channel")
    if not protocol.base64:
        raw = message if isinstance(message, bytes) else message.encode()
        return raw[0], raw[1:]
    text = message if isinstance(message, str) else message.decode("ascii", "replace")
    if not "0" <= text[0] <= "9":
        raise BadMessage(f"the channel {text[0]!r} is no digit")
    try:
        return int(text[0]), base64.b64decode(text[1:], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMessage(f"the message is not base64: {error}") from error


def terminal_size(data: bytes) -> Size | None:
    """The size that a resize message asks for; None where it is malformed, which is passed over."""
    try:
        size = msgspec.json.decode(data, type=Size)
    except msgspec.MsgspecError:
        return None
    return size if 0 < size.Width <= _MOST and 0 < size.Height <= _MOST else None


def outcome(protocol: Protocol, exit_code: int) -> bytes | None:
    """The error channel's last message for a process that ended; None where there is none for success."""
    if not protocol.statuses:
        return None if exit_code == 0 else f"command terminated with exit code {exit_code}".encode()
    return success() if exit_code == 0 else non_zero_exit(exit_code)


def failure(protocol: Protocol, message: str) -> bytes:
    """The error channel's last message where the node could not do it."""
    return internal_error(message) if protocol.statuses else message.encode()


def success() -> bytes:
    """The Status of a process that exited with 0."""
    return msgspec.json.encode({"metadata": {}, "status": "Success"})


def non_zero_exit(exit_code: int) -> bytes:
    """The Status of a process that exited with another code, which kubectl makes its own."""
    status: dict[str, Any] = {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }
    return msgspec.json.encode(status)


def internal_error(message: str) -> bytes:
    """The Status of something that went wrong on the node."""
    status: dict[str, Any] = {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }
    return msgspec.json.encode(status)
