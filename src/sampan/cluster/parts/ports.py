"""Ports for servers that several clusters on one machine would all like to have."""

from __future__ import annotations

import socket


def free_port(address: str, wanted: int) -> int:
    """`wanted`, or another port where that one is taken on the address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, wanted))
        except OSError:
            probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
