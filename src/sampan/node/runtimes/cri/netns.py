"""A connection to a port inside a sandbox's network namespace."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

_CLONE_NEWNET = 0x40000000
_CONNECT_TIMEOUT_S = 10.0
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def path_of(info: Mapping[str, str]) -> str:
    """The path of the network namespace in a verbose PodSandboxStatus; empty for the host's own."""
    try:
        details: Any = msgspec.json.decode(info.get("info", "{}"))
        namespaces = details["runtimeSpec"]["linux"]["namespaces"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""
    return next((str(each.get("path", "")) for each in namespaces if each.get("type") == "network"), "")


async def connect(netns_path: str, port: int) -> tuple[int, int]:
    """(fd, address family) of a connection to localhost:`port` in the namespace, IPv4 first.

    Raises ConnectionError where nothing listens, or the namespace is gone. The caller owns the fd.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[tuple[int, int]] = loop.create_future()

    def settle(result: tuple[int, int] | ConnectionError) -> None:
        if answered.done():
            if not isinstance(result, ConnectionError):
                os.close(result[0])
        elif isinstance(result, ConnectionError):
            answered.set_exception(result)
        else:
            answered.set_result(result)

    def work() -> None:
        try:
            result: tuple[int, int] | ConnectionError = _connect_in(netns_path, port)
        except OSError as error:
            result = ConnectionRefusedError(f"Port {port} of the pod cannot be reached: {error}.")
        try:
            loop.call_soon_threadsafe(settle, result)
        except RuntimeError:  # the loop is gone
            if not isinstance(result, ConnectionError):
                os.close(result[0])

    # A thread of its own, which ends afterwards: only it is in the namespace, and nothing else may run there.
    threading.Thread(target=work, name="open-port", daemon=True).start()
    return await answered


def _connect_in(netns_path: str, port: int) -> tuple[int, int]:
    if netns_path:
        _enter(netns_path)
    failure: OSError = ConnectionRefusedError("nothing listens")
    for family, address in _LOOPBACKS:
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(_CONNECT_TIMEOUT_S)
        try:
            connection.connect((address, port))
        except OSError as error:
            # The IPv4 answer is the one that users expect to read.
            failure = error if family == socket.AF_INET else failure
            connection.close()
            continue
        connection.setblocking(False)
        return connection.detach(), int(family)
    raise failure


def _enter(netns_path: str) -> None:
    """setns(2) for the calling thread; the `os` module has it only since Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), netns_path)
    finally:
        os.close(descriptor)
