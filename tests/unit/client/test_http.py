from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.base.clock import SimulatedClock
from sampan.base.errors import SampanError
from sampan.client.client import ApiError, Client
from sampan.client.http import HttpTransport, tls_context
from sampan.client.kubeconfig import in_cluster, load_kubeconfig
from sampan.schema import api
from tests.fakes.apiserver import FakeServer
from tests.fakes.waiting import run


@asynccontextmanager
async def serving(handler: object, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback; gives its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def bridge(server: FakeServer) -> object:
    """The fake server behind HTTP."""

    async def handle(request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        if not query.get("watch"):
            reply = await server.request(request.method, request.path, query, await request.read())
            return web.Response(status=reply.status, body=reply.body, content_type="application/json")
        assert 300 <= int(query["timeoutSeconds"]) <= 600
        response = web.StreamResponse()
        await response.prepare(request)
        async for line in server.stream(request.path, query):
            await response.write(line.rstrip(b"\n") + b"\n")
        return response

    return handle


def test_requests_and_watches_over_http() -> None:
    async def main() -> None:
        server = FakeServer()
        async with serving(bridge(server)) as url:
            client = Client(HttpTransport(url))
            big = "x" * 300_000
            meta = api.ObjectMeta(name="a", namespace="default")
            made = await client.create(api.ConfigMap(metadata=meta, data={"big": big}))
            assert (await client.get(api.ConfigMap, "a", "default")) == made
            events = client.watch(api.ConfigMap, "default", resource_version="0")
            event = await anext(events)
            assert event.object.data["big"] == big
            await client.delete(api.ConfigMap, "a", "default")
            assert [(await anext(events)).type for _ in range(2)] == ["BOOKMARK", "DELETED"]
            await events.aclose()  # type: ignore[attr-defined]
            with pytest.raises(ApiError) as missing:
                await client.get(api.ConfigMap, "a", "default")
            assert missing.value.code == 404
            server.disconnect()
            await client.close()

    run(main())


def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    async def main() -> None:
        client = Client(HttpTransport("http://127.0.0.1:1"))
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1 cannot be reached"):
            await client.get(api.Node, "n")
        with pytest.raises(ConnectionError):
            await anext(client.watch(api.Node))
        await client.close()

    run(main())


def test_a_watch_that_is_refused_is_an_api_error() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response(
            {"kind": "Status", "reason": "Expired", "code": 410, "message": "too old"}, status=410
        )

    async def main() -> None:
        async with serving(refuse) as url:
            client = Client(HttpTransport(url))
            with pytest.raises(ApiError, match="too old"):
                await anext(client.watch(api.Node))
            await client.close()

    run(main())


def test_tokens_are_sent_and_read_again(tmp_path: Path) -> None:
    seen: list[str | None] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"metadata": {"name": "n"}})

    async def main() -> None:
        token, clock = tmp_path / "token", SimulatedClock()
        token.write_text("one\n")
        async with serving(note) as url:
            client = Client(HttpTransport(url, token_file=token, clock=clock))
            await client.get(api.Node, "n")
            token.write_text("two\n")
            await client.get(api.Node, "n")
            await clock.advance(61)
            await client.get(api.Node, "n")
            await client.close()
        assert seen == ["Bearer one", "Bearer one", "Bearer two"]

    run(main())


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    count = 0

    async def busy(_request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count < 3:
            return web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "7"})
        return web.json_response({"metadata": {"name": "n"}})

    async def main() -> None:
        clock = SimulatedClock()
        async with serving(busy) as url:
            client = Client(HttpTransport(url, clock=clock))
            asking = asyncio.create_task(client.get(api.Node, "n"))
            while not asking.done():
                await asyncio.sleep(0)
                await clock.advance(0.1)
            assert (await asking).metadata.name == "n"
            await client.close()
        assert count == 3
        assert clock.monotonic_s() >= 14

    run(main())


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cert = self._sign("ca", self._key, self._key, is_ca=True)
        self.ca = self._write("ca.crt", self._cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(name, key, self._key, is_ca=False)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{name}.crt", cert.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", pem),
        )

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, is_ca: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        )
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(
            now + dt.timedelta(hours=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        return builder.add_extension(names, critical=False).sign(by, hashes.SHA256())

    def _write(self, name: str, data: bytes) -> Path:
        file = self._folder / name
        file.write_bytes(data)
        return file


def kubeconfig(url: str, cluster: dict[str, str], user: dict[str, str]) -> str:
    return yaml.safe_dump(
        {
            "current-context": "main",
            "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
            "users": [{"name": "u", "user": user}],
        }
    )


@pytest.mark.parametrize("inline", [True, False])
def test_a_kubeconfig_with_client_certificates(tmp_path: Path, inline: bool) -> None:
    authority = Authority(tmp_path)
    server_cert, server_key = authority.issue("server")
    cert, key = authority.issue("admin")
    files = {"certificate-authority": authority.ca, "client-certificate": cert, "client-key": key}

    def given(*names: str) -> dict[str, str]:
        if inline:
            return {f"{n}-data": base64.b64encode(files[n].read_bytes()).decode() for n in names}
        return {n: files[n].name for n in names}

    async def who(request: web.Request) -> web.Response:
        peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
        assert peer is not None
        return web.json_response({"metadata": {"name": peer["subject"][0][0][1]}})

    async def main() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
        context.load_cert_chain(str(server_cert), str(server_key))
        context.verify_mode = ssl.CERT_REQUIRED
        async with serving(who, context) as url:
            file = tmp_path / "config"
            user = given("client-certificate", "client-key")
            file.write_text(kubeconfig(url, given("certificate-authority"), user))
            client = Client(load_kubeconfig(file))
            assert (await client.get(api.Node, "n")).metadata.name == "admin"
            await client.close()
            stranger = Client(HttpTransport(url))
            with pytest.raises(ConnectionError):
                await stranger.get(api.Node, "n")
            await stranger.close()

    run(main())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("{}", "no context named ''"),
        (kubeconfig("http://x", {}, {}).replace("name: c", "name: d"), "no cluster named 'c'"),
        (kubeconfig("http://x", {}, {"exec": {"command": "get-token"}}), "from a plugin"),  # type: ignore[dict-item]
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(SampanError, match=says):
        load_kubeconfig(file)


def test_outside_of_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SampanError, match="KUBERNETES_SERVICE_HOST"):
        in_cluster()


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SampanError, match="no-such-file"):
        tls_context(tmp_path / "no-such-file")
