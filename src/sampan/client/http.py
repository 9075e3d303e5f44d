"""`Transport` over HTTPS: one keep-alive session, streams line by line."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from sampan.base.clock import Clock, SystemClock
from sampan.base.errors import SampanError
from sampan.client.errors import error_from
from sampan.client.transport import Reply

CONNECTIONS_MOST: Final = 100
CONNECT_TIMEOUT_S: Final = 10.0
REQUEST_TIMEOUT_S: Final = 65.0  # the server itself gives up after 60 s
LINE_MOST_BYTES: Final = 32 * 1024 * 1024
RETRIES_MOST: Final = 10
RETRY_AFTER_MOST_S: Final = 30.0
TOKEN_REREAD_S: Final = 60.0
# A watch is ended and begun again within this time, so that a dead connection cannot hide for longer.
WATCH_S: Final = (300, 600)
_SLACK_S: Final = 30.0


class HttpTransport:
    """One user at one server. Safe for any number of concurrent requests in one event loop.

    `server_url` may have a path. `tls` wins over `ca_file`, `cert_file` and `key_file`. A `token_file` is
    read again every minute, since the kubelet rotates what is in it. Requests that the server answers with
    429 or 503 and Retry-After are repeated up to ten times.
    """

    def __init__(
        self,
        server_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        token: str = "",
        token_file: str | Path | None = None,
        server_name: str | None = None,
        user_agent: str = "sampan",
        clock: Clock | None = None,
    ) -> None:
        self._server_url = server_url.rstrip("/")
        self._tls = tls
        if tls is None and self._server_url.startswith("https:"):
            self._tls = tls_context(ca_file, cert_file, key_file)
        self._token = token
        self._token_file = Path(token_file) if token_file is not None else None
        self._token_read_s: float | None = None
        self._server_name = server_name
        self._user_agent = user_agent
        self._clock = clock or SystemClock()
        self._chance = random.Random()
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        headers = self._headers(accept)
        if body:
            headers["Content-Type"] = content_type
        url = self._url(path, query)
        for attempt in range(RETRIES_MOST + 1):
            reply = await self._once(method, url, headers, body)
            wait_s = _retry_after_s(reply)
            if wait_s is None or attempt == RETRIES_MOST:
                break
            await self._clock.sleep(wait_s)
        return reply

    async def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        asked = dict(query or {})
        quiet_s: float | None = None
        if asked.get("watch") and "timeoutSeconds" not in asked:
            watch_s = self._chance.randint(*WATCH_S)
            asked["timeoutSeconds"] = str(watch_s)
            quiet_s = watch_s + _SLACK_S
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=quiet_s)
        try:
            async with self._open().get(
                self._url(path, asked),
                headers=self._headers("application/json"),
                timeout=timeout,
                server_hostname=self._server_name,
            ) as response:
                if response.status != 200:
                    raise error_from(response.status, await response.read())
                async for line in _lines(response.content):
                    yield line
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _once(self, method: str, url: URL, headers: dict[str, str], body: bytes) -> Reply:
        try:
            async with self._open().request(
                method, url, headers=headers, data=body or None, server_hostname=self._server_name
            ) as response:
                return Reply(response.status, response.headers.copy(), await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ConnectionError:
        why = str(error) or type(error).__name__
        return ConnectionError(f"the API server at {self._server_url} cannot be reached: {why}")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=CONNECTIONS_MOST, ssl=self._tls if self._tls is not None else True
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
                auto_decompress=True,
                trust_env=False,
            )
        return self._session

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        # Paths come with their names quoted already.
        asked = f"?{urlencode(query)}" if query else ""
        return URL(f"{self._server_url}{path}{asked}", encoded=True)

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": self._user_agent}
        token = self._bearer()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _bearer(self) -> str:
        if self._token_file is not None:
            now_s = self._clock.monotonic_s()
            if self._token_read_s is None or now_s - self._token_read_s >= TOKEN_REREAD_S:
                self._token = self._token_file.read_text().strip()
                self._token_read_s = now_s
        return self._token


def tls_context(
    ca_file: str | Path | None = None,
    cert_file: str | Path | None = None,
    key_file: str | Path | None = None,
    *,
    ca_data: str | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """A client's TLS settings; without a CA the system's own are trusted. Raises SampanError."""
    try:
        context = ssl.create_default_context(cafile=ca_file and os.fspath(ca_file), cadata=ca_data)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert_file is not None:
            context.load_cert_chain(os.fspath(cert_file), key_file and os.fspath(key_file))
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(file) for file in (ca_file, cert_file, key_file) if file is not None)
        raise SampanError(f"the certificates in {named} cannot be read: {error}; check the paths.") from error
    return context


def _retry_after_s(reply: Reply) -> float | None:
    if reply.status not in (429, 503):
        return None
    asked = reply.headers.get("Retry-After", "")
    return min(float(asked), RETRY_AFTER_MOST_S) if asked.isdigit() else None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in content.iter_any():
        held += chunk
        if b"\n" not in chunk:
            if len(held) > LINE_MOST_BYTES:
                raise ConnectionError(f"the server sent a line of more than {LINE_MOST_BYTES} bytes")
            continue
        *lines, rest = held.split(b"\n")
        held = bytearray(rest)
        for line in lines:
            yield bytes(line)
    if held:
        yield bytes(held)
