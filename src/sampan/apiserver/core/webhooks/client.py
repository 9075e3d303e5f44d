"""POST one JSON document to a webhook and have its answer, or an error that says what went wrong.

All that the API server asks of webhooks goes through here: admission and the conversion of custom resources.
A webhook is contained: its time, the size of its answer and the connections to it are limited, its redirects
are not followed, and its certificate must be the one that the configuration trusts. Connections are reused.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    import aiohttp

# The largest answer that is read: an object at its largest, doubly encoded as a patch.
MAX_ANSWER_BYTES: Final = 8 << 20
# Connections open to one webhook's host at once; further calls wait for one, within their own time.
MAX_CONNECTIONS_PER_HOST: Final = 64
# Certificate bundles whose connections are kept.
MAX_SESSIONS: Final = 64
# How long an unused connection stays open.
KEEP_ALIVE_S: Final = 60.0


class WebhookFailed(Exception):
    """A webhook could not be asked, or did not answer as it should. The text is for the client."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a webhook is: the URL as messages show it, and where to connect to."""

    url: str
    # What the connection goes to where that is not the URL's own host: "10.0.0.7:8443".
    address: str = ""
    # PEM certificates to trust; empty for the system's.
    ca: bytes = b""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


# From (namespace, name, port) of a Service to "address:port". Raises WebhookFailed.
FindService = Callable[[str, str, int], str]


def endpoint_of(config: Any, find_service: FindService) -> Endpoint:
    """The endpoint of a WebhookClientConfig: its URL, or a ready endpoint of its Service.

    Raises WebhookFailed where the Service has none.
    """
    ca = config.caBundle or b""
    if isinstance(ca, str):
        import base64

        ca = base64.b64decode(ca)
    if config.url:
        return Endpoint(config.url, "", bytes(ca))
    service = config.service
    port = service.port or 443
    path = service.path or "/"
    url = (
        f"https://{service.name}.{service.namespace}.svc:{port}{path if path.startswith('/') else '/' + path}"
    )
    return Endpoint(url, find_service(service.namespace, service.name, port), bytes(ca))


class WebhookClient:
    """Keeps the connections of one API server to its webhooks. Use within one event loop."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, aiohttp.ClientSession] = OrderedDict()

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = list(self._sessions.values()), OrderedDict()
        for session in sessions:
            await session.close()

    async def post(self, endpoint: Endpoint, body: bytes, timeout_s: float) -> bytes:
        """The body of the answer to `body`. Raises WebhookFailed."""
        import aiohttp

        shown = f'Post "{endpoint.url}?timeout={_seconds(timeout_s)}"'
        try:
            async with asyncio.timeout(timeout_s):
                return await self._post(endpoint, body, f"{_seconds(timeout_s)}")
        except TimeoutError:
            raise WebhookFailed(f"{shown}: context deadline exceeded") from None
        except aiohttp.ClientConnectorCertificateError as refused:
            why = getattr(refused.certificate_error, "verify_message", "") or str(refused.certificate_error)
            raise WebhookFailed(f"{shown}: tls: failed to verify certificate: x509: {why}") from None
        except aiohttp.ClientConnectorError as refused:
            where = endpoint.address or urlsplit(endpoint.url).netloc
            why = (refused.os_error.strerror or str(refused.os_error)).lower()
            if "connect call failed" in why:
                why = "connect: connection refused"
            raise WebhookFailed(f"{shown}: dial tcp {where}: {why}") from None
        except (aiohttp.ClientError, OSError, ValueError) as failed:
            why = "EOF" if isinstance(failed, aiohttp.ServerDisconnectedError) else str(failed)
            raise WebhookFailed(f"{shown}: {why or type(failed).__name__}") from None

    async def _post(self, endpoint: Endpoint, body: bytes, timeout: str) -> bytes:
        session = self._session(endpoint.ca)
        url, options = endpoint.url, {}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if endpoint.address:
            parts = urlsplit(url)
            headers["Host"] = parts.netloc
            options["server_hostname"] = endpoint.host
            url = f"https://{endpoint.address}{parts.path}"
        answer = session.post(
            url,
            params={"timeout": timeout},
            data=body,
            headers=headers,
            allow_redirects=False,
            **options,  # type: ignore[arg-type]
        )
        async with answer as response:
            text = await _limited(response)
            if response.status != 200:
                raise WebhookFailed(_refusal(response.status, text))
            return text

    def _session(self, ca: bytes) -> aiohttp.ClientSession:
        import aiohttp

        session = self._sessions.get(ca)
        if session is not None and not session.closed:
            self._sessions.move_to_end(ca)
            return session
        trust = ssl.create_default_context()
        if ca:
            trust = ssl.create_default_context(cadata=_pem(ca))
        # As Go has it: a certificate in the bundle is trusted by itself, whoever signed it.
        trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connector = aiohttp.TCPConnector(
            ssl=trust, limit=0, limit_per_host=MAX_CONNECTIONS_PER_HOST, keepalive_timeout=KEEP_ALIVE_S
        )
        session = self._sessions[ca] = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": "sampan-apiserver"},
        )
        if len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            task = asyncio.ensure_future(oldest.close())
            task.add_done_callback(lambda done: done.exception())
        return session


def _pem(ca: bytes) -> str:
    try:
        text = ca.decode("ascii")
    except UnicodeDecodeError:
        raise WebhookFailed("unable to load root certificates: the caBundle is not PEM") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise WebhookFailed("unable to load root certificates: unable to parse bytes as PEM block")
    return text


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    total = 0
    async for part in response.content.iter_any():
        total += len(part)
        if total > MAX_ANSWER_BYTES:
            response.close()
            raise WebhookFailed(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _refusal(code: int, text: bytes) -> str:
    """client-go's words for an answer that is not 200."""
    if 300 <= code < 400:
        return f"the server responded with a redirect (status code {code}), which is not followed"
    known = {
        404: "the server could not find the requested resource",
        401: "the server has asked for the client to provide credentials",
        403: "the server does not allow access to the requested resource",
    }
    detail = text[:200].decode(errors="replace").strip()
    if code in known:
        return known[code]
    return (
        f'an error on the server ("{detail}") has prevented the request from succeeding'
        if code >= 500
        else f"the server rejected our request for an unknown reason (status code {code})"
    )


def _seconds(timeout_s: float) -> str:
    return f"{timeout_s:g}s"
