"""TLS between a socket's transport and a protocol, so that what is encrypted need not be sent at once.

The event loop's own TLS encrypts and sends each piece as it is written. A thousand watchers that get the same
lines are written to one after the other, and take a third less where some are encrypted for, one after the
other, and then some sent to: see `Sends`. Other answers take as long here as there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, cast

# As Go's, which clients are used to, a handshake has its time; one minute is what asyncio gives it.
HANDSHAKE_LIMIT_S: Final = 60.0
# How long an end that was told waits for what is still unread, and for the client's own goodbye.
GOODBYE_LIMIT_S: Final = 30.0
# What is decrypted at once: more than the largest record.
_READ_BYTES: Final = 64 * 1024

# What Go's server says to who speaks HTTP without TLS.
_PLAIN_HTTP: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

_log = logging.getLogger(__name__)

Bytes = bytes | bytearray | memoryview


class State(Enum):
    """What a connection is at."""

    SHAKING_HANDS = "shaking hands"
    OPEN = "open"
    # It has said goodbye, and reads only to hear the client's.
    ENDING = "ending"
    GONE = "gone"


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """The server's side of one connection: a protocol to the socket's transport, a transport to the protocol.

    The protocol is made once the handshake is through.
    """

    __slots__ = (
        "_backlog",
        "_context",
        "_decrypted",
        "_encrypted",
        "_fd",
        "_incoming",
        "_make_protocol",
        "_outgoing",
        "_protocol",
        "_raw",
        "_reading",
        "_sends",
        "_state",
        "_timer",
        "_tls",
    )

    def __init__(
        self, context: ssl.SSLContext, make_protocol: Callable[[], asyncio.Protocol], sends: Sends
    ) -> None:
        self._context = context
        self._make_protocol = make_protocol
        self._sends = sends
        self._raw: asyncio.Transport | None = None
        self._fd = -1
        self._protocol: asyncio.Protocol | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._decrypted, self._encrypted = self._tls.read, self._tls.write
        self._state = State.SHAKING_HANDS
        # What cannot be encrypted until the client has sent something; hardly ever anything.
        self._backlog: list[bytes] = []
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None

    # -- what the socket's transport calls --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._fd = transport.get_extra_info("socket").fileno()
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_LIMIT_S, self.abort)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._state is State.OPEN:
            self._read()
        elif self._state is State.SHAKING_HANDS:
            self._shake_hands()
        elif self._state is State.ENDING:
            self._listen_for_goodbye()

    def eof_received(self) -> None:
        """The client has closed its side, whether it said goodbye or not: so does the socket's transport."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = State.GONE
        self._raw, self._fd = None, -1
        self._backlog.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # -- what the protocol calls ------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peercert":
            return self._tls.getpeercert()
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._context
        if name == "cipher":
            return self._tls.cipher()
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None, "asked by what it was given to"
        return self._protocol

    def is_closing(self) -> bool:
        return self._state is not State.OPEN

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        """Give no more to the protocol; what the socket has is left there, but for what was read already."""
        if self._reading and self._raw is not None:
            self._reading = False
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and self._raw is not None:
            self._reading = True
            self._raw.resume_reading()
            if self._incoming.pending:
                asyncio.get_running_loop().call_soon(self._read)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._raw is not None:
            self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 0) if self._raw is None else self._raw.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        waiting = 0 if self._raw is None else self._raw.get_write_buffer_size()
        return waiting + self._outgoing.pending + sum(map(len, self._backlog))

    def write(self, data: Bytes) -> None:
        if self._state is State.OPEN and data:
            self._encrypt(data)
            self._send()

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        self.write(b"".join(list_of_data))

    def write_soon(self, data: bytes) -> None:
        """Encrypt now, and send together with what others write in this turn of the event loop."""
        if self._state is State.OPEN:
            self._encrypt(data)
            self._sends.add(self)

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Send what was written, say goodbye, and close once the client has."""
        if self._state is State.SHAKING_HANDS:
            self.abort()
        elif self._state is State.OPEN:
            self._state = State.ENDING
            self._timer = asyncio.get_running_loop().call_later(GOODBYE_LIMIT_S, self.abort)
            self._say_goodbye()

    def abort(self) -> None:
        """Close at once. What was not sent is lost."""
        if self._state is not State.GONE:
            self._state = State.ENDING
        if self._raw is not None:
            self._raw.abort()

    # -- TLS --------------------------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except (ssl.SSLError, ssl.CertificateError) as problem:
            _log.debug("no TLS with %s: %s", self.get_extra_info("peername"), problem)
            if getattr(problem, "reason", "") == "HTTP_REQUEST" and self._raw is not None:
                self._outgoing.read()  # an alert, which is no HTTP
                self._raw.write(_PLAIN_HTTP)
            self._give_up()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._state = State.OPEN
        self._send()
        self._protocol = self._make_protocol()
        self._protocol.connection_made(self)
        if self._incoming.pending:
            self._read()

    def _read(self) -> None:
        """Give all that has come to the protocol, and answer what TLS itself asks."""
        if not self._reading or self._state is not State.OPEN:
            return
        parts, ends = [], False
        try:
            # To ask for more than there is raises an error, which takes longer than to decrypt.
            while self._incoming.pending or self._tls.pending():
                data = self._decrypted(_READ_BYTES)
                if not data:
                    ends = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as problem:
            _log.debug("TLS with %s is broken: %s", self.get_extra_info("peername"), problem)
            self._give_up()
            return
        if self._backlog:
            self._encrypt_backlog()
        if self._outgoing.pending:
            self._send()
        protocol = self._protocol
        if parts and protocol is not None:
            protocol.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if ends:
            self._close_after_goodbye()

    def _close_after_goodbye(self) -> None:
        if self._protocol is not None:
            self._protocol.eof_received()
        self.close()

    def _encrypt(self, data: Bytes) -> None:
        if self._backlog:
            self._backlog.append(bytes(data))
            return
        done, size = 0, len(data)
        try:
            done = self._encrypted(data)
            while done < size:  # a record after the other
                done += self._encrypted(memoryview(data)[done:])
        except ssl.SSLWantReadError:
            self._backlog.append(bytes(memoryview(data)[done:]))
        except ssl.SSLError as problem:
            _log.debug("TLS with %s is broken: %s", self.get_extra_info("peername"), problem)
            self.abort()

    def _encrypt_backlog(self) -> None:
        waiting, self._backlog = self._backlog, []
        for data in waiting:
            self._encrypt(data)

    def _send(self) -> None:
        data = self._outgoing.read()
        if data and self._raw is not None:
            self._raw.write(data)

    def send_encrypted(self) -> None:
        """Send what `write_soon` has left, if it has not gone out before something else since.

        Past the socket's transport where nothing waits there, which takes half of its time.
        """
        raw = self._raw
        data = self._outgoing.read()
        # A transport that closes may have closed its socket, whose number may be another's by now.
        if not data or raw is None or raw.is_closing():
            return
        sent = 0
        if not raw.get_write_buffer_size():
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self.abort()
                return
        if sent < len(data):
            raw.write(data[sent:] if sent else data)

    def _say_goodbye(self) -> None:
        try:
            # What the client has sent meanwhile is passed over: before its goodbye nothing else may be left.
            while self._incoming.pending and self._decrypted(_READ_BYTES):
                pass
        except ssl.SSLError:
            pass
        over = True
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            over = False
        except ssl.SSLError:
            pass
        self._send()
        if self._raw is None:
            return
        if over:
            self._raw.close()
        elif not self._reading:
            self._reading = True
            self._raw.resume_reading()

    def _listen_for_goodbye(self) -> None:
        over = False
        try:
            while self._incoming.pending and not over:
                over = not self._decrypted(_READ_BYTES)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            over = True
        if over and self._raw is not None:
            self._raw.close()

    def _give_up(self) -> None:
        """Let the client know by TLS what is wrong, and close."""
        self._state = State.ENDING
        self._send()
        if self._raw is not None:
            self._raw.close()


class Sends:
    """What is encrypted in one turn of the event loop, and sent in the next.

    To encrypt for many and then to send to many is faster than both for each: each step finds what it needs
    in the processor's caches, and a client on the same machine is not woken up for each piece.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[TlsTransport] = []

    def add(self, transport: TlsTransport) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(transport)

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            try:
                transport.send_encrypted()
            except Exception:  # one connection's trouble must not keep lines from all others
                _log.exception("what was encrypted cannot be sent")
                transport.abort()
