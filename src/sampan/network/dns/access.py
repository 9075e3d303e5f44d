"""A pod's own way to the API server with nothing but the standard library.

`Transport` for reading only. It exists because a DNS server must be ready in a blink and stay small: the
general HTTP client costs more memory than all names of a cluster.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from sampan.base.errors import SampanError
from sampan.client.transport import Reply

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECT_S: Final = 5.0
_REQUEST_S: Final = 30.0
# Bookmarks come about every minute; a watch that is silent for longer has lost its connection.
_WATCH_S: Final = 300
_SLACK_S: Final = 30
_LINE_MOST_BYTES: Final = 32 * 1024 * 1024


class Refused(SampanError):
    """The server answered a watch with something else than 200."""


class PodTransport:
    """Reads from one API server with a bearer token, one connection for each request."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, token_file: Path | None) -> None:
        self._host, self._port, self._tls, self._token_file = host, port, tls, token_file

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        if method != "GET" or body:
            raise SampanError("this transport only reads; use the general one to write.")
        async with asyncio.timeout(_REQUEST_S), self._asked(path, query, accept) as (status, chunks):
            return Reply(status, {}, b"".join([chunk async for chunk in chunks]))

    async def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        asked = {"timeoutSeconds": str(_WATCH_S)} | dict(query or {})
        async with self._asked(path, asked, "application/json") as (status, chunks):
            if status != 200:
                text = b"".join([chunk async for chunk in chunks])[:200]
                raise Refused(f"the API server answered {status}: {text.decode('utf-8', 'replace')}")
            held = b""
            async for chunk in chunks:
                *lines, held = (held + chunk).split(b"\n")
                for line in lines:
                    yield line
                if len(held) > _LINE_MOST_BYTES:
                    raise ConnectionError(f"the server sent a line of more than {_LINE_MOST_BYTES} bytes")

    async def close(self) -> None:
        """Nothing is kept open."""

    @asynccontextmanager
    async def _asked(
        self, path: str, query: Mapping[str, str] | None, accept: str
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            writer.write(self._head(path, query, accept))
            head = await _within(reader.readuntil(b"\r\n\r\n"), _REQUEST_S)
            status, headers = _parsed(head)
            yield status, _body(reader, headers)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ConnectionError("the API server closed the connection before its answer ended") from error
        finally:
            writer.close()

    def _head(self, path: str, query: Mapping[str, str] | None, accept: str) -> bytes:
        asked = f"?{urlencode(query)}" if query else ""
        where = f"[{self._host}]" if ":" in self._host else self._host
        lines = [
            f"GET {path}{asked} HTTP/1.1",
            f"Host: {where}:{self._port}",
            f"Accept: {accept}",
            "User-Agent: sampan-dns",
            "Connection: close",
        ]
        if self._token_file is not None:  # read each time: the kubelet rotates what is in it
            lines.append(f"Authorization: Bearer {self._token_file.read_text().strip()}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def in_pod(folder: Path = SERVICE_ACCOUNT) -> PodTransport:
    """The transport of a pod's own service account. Raises SampanError outside of a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise SampanError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; run this in a pod, or give "
            "--kubeconfig."
        )
    try:
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    except OSError as error:
        raise SampanError(f"the cluster's CA in {folder / 'ca.crt'} cannot be read: {error}.") from error
    return PodTransport(host, int(port), tls, folder / "token")


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError(f"this is no HTTP answer: {first[:80]}")
    pairs = (line.partition(":") for line in rest if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(await _within(reader.readuntil(b"\r\n"), _WATCH_S + _SLACK_S), 16):
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while chunk := await _within(reader.read(65536), _WATCH_S + _SLACK_S):
            yield chunk


async def _within(reading: object, limit_s: float) -> bytes:
    async with asyncio.timeout(limit_s):
        return await reading  # type: ignore[misc,no-any-return]
