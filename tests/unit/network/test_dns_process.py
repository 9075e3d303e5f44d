"""The DNS server as its own process, with the account of a pod, against an API server over TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dnslib
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.schema import codec
from tests.ports import free_port
from tests.unit.network.test_dns_answers import DB, DB_SLICE, WEB, D

DEADLINE_S = 30.0
LATE = WEB.__class__(metadata=WEB.metadata.__class__(name="late", namespace="default"), spec=WEB.spec)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's TLS settings for 127.0.0.1; `ca.crt` in `folder` trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(made.public_bytes(pem))
    (folder / "key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    return context


class Api:
    """Lists what there is, and later tells watchers of one more service."""

    ITEMS: dict[str, list[Any]] = {
        "/api/v1/services": [WEB, DB],
        "/apis/discovery.k8s.io/v1/endpointslices": [DB_SLICE],
        "/api/v1/namespaces": [],
    }

    def __init__(self) -> None:
        self.tell = asyncio.Event()
        self.done = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        url = urlsplit(head.split(" ")[1])
        assert "Authorization: Bearer secret\r\n" in head
        if "watch" in parse_qs(url.query):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await self.tell.wait()
            if url.path.endswith("/services"):
                line = b'{"type":"ADDED","object":%s}\n' % codec.encode(LATE)
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            await self.done.wait()
        else:
            items = [codec.to_builtins(item) for item in self.ITEMS[url.path]]
            body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()


async def page(port: int, path: str) -> tuple[int, str]:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, text = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split(" ")[1]), text


async def ask(port: int, name: str) -> list[str]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.connect(("127.0.0.1", port))
        await loop.sock_sendall(own, dnslib.DNSRecord.question(name).pack())
        reply = dnslib.DNSRecord.parse(await loop.sock_recv(own, 4096))
        return sorted(str(record.rdata) for record in reply.rr)


async def until(check: Any) -> None:
    while not await check():  # noqa: ASYNC110 - another process, which sets no event here
        await asyncio.sleep(0.02)


def test_it_serves_what_the_api_server_lists_and_later_tells(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    tls = certificate(tmp_path)
    port, pages = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    options = {
        "--account": tmp_path,
        "--host": "127.0.0.1",
        "--port": port,
        "--health-port": pages,
        "--ready-port": pages,
        "--metrics-port": pages,
        "--upstream": "127.0.0.1:1",
    }
    words = [str(word) for pair in options.items() for word in pair]

    async def steps() -> None:
        api = Api()
        server = await asyncio.start_server(api.serve, "127.0.0.1", 0, ssl=tls)
        where = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.sockets[0].getsockname()[1]),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sampan.network.dns", *words, env=os.environ | where
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                await until(lambda: _is(pages, "/ready"))
                assert await ask(port, f"web.default.svc.{D}") == ["10.96.0.10"]
                assert await ask(port, f"db.default.svc.{D}") == ["10.88.0.5", "10.88.0.6"]
                assert (await page(pages, "/health"))[0] == 200
                assert (await page(pages, "/nothing"))[0] == 404
                assert 'queries_total{proto="udp"} 2' in (await page(pages, "/metrics"))[1]
                api.tell.set()
                await until(lambda: _says(port, f"late.default.svc.{D}"))
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            api.tell.set()
            api.done.set()
            server.close()
            await server.wait_closed()

    asyncio.run(steps())


async def _is(port: int, path: str) -> bool:
    return (await page(port, path))[0] == 200


async def _says(port: int, name: str) -> bool:
    return await ask(port, name) == ["10.96.0.10"]
