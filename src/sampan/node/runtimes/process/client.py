"""A keeper's side of one connection from the agent."""

from __future__ import annotations

import socket

from sampan.node.runtimes.process import wire
from sampan.node.runtimes.process.child import Child


class Client:
    """One connection of the agent's: attached to the container, or to a program of its own."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.decoder = wire.Decoder()
        self.unsent = bytearray()
        self.child: Child | None = None
        self.owns_child = False
        self.wants_stdin = False
        self.finished = False  # nothing more will be queued; close when all is sent
