"""Certificates are renewed while the cluster runs, and taken over without ending a connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509

from sampan.base.clock import SimulatedClock
from sampan.cluster import credentials, tls
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts import renewal

SETTINGS = Settings(id="abcd", runtime="process")


def _serial(writer: asyncio.StreamWriter) -> int:
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(certificate).serial_number


async def _connect(layout: Layout, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cafile=str(layout.authority))
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def _says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes) -> bool:
    writer.write(word + b"\n")
    return await reader.readline() == word + b"\n"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


def test_a_renewed_certificate_is_shown_and_connections_stay(tmp_path: Path) -> None:
    async def work() -> None:
        # Certificates of 341 days ago, which end soon but not yet, and a day of the past to renew them in.
        layout, now = Layout(tmp_path), datetime.now(UTC)
        clock = SimulatedClock(now - timedelta(days=1))
        credentials.ensure(layout, SETTINGS, now - timedelta(days=341))
        context = tls.server_context(layout.authority, layout.pki, "apiserver")
        server = await asyncio.start_server(_echo, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(renewal.keep(layout, SETTINGS, clock)),
            asyncio.create_task(tls.follow(clock)),
        ]
        before = await _connect(layout, port)
        assert await _says(*before, b"one")
        kubeconfig = layout.kubeconfig.read_bytes()
        serial = _serial(before[1])
        old = (layout.pki / "apiserver.crt").read_bytes()
        await clock.advance(renewal.CHECK_EVERY_S)
        fresh = serial
        for _ in range(600):  # a thread of the real world makes them
            if (layout.pki / "apiserver.crt").read_bytes() != old:
                await clock.advance(tls.RELOAD_EVERY_S)
                after = await _connect(layout, port)
                fresh = _serial(after[1])
                await _close(after[1])
            if fresh != serial and layout.kubeconfig.read_bytes() != kubeconfig:
                break
            await asyncio.sleep(0.05)
        assert fresh != serial
        assert await _says(*before, b"two")
        assert layout.kubeconfig.read_bytes() != kubeconfig
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _close(before[1])
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def _shown(server: ssl.SSLContext, layout: Layout) -> bytes | None:
    """The certificate that a client of this context sees; the two talk in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cafile=str(layout.authority))
    client = trusting.wrap_bio(back, there, server_hostname="127.0.0.1")
    serving = server.wrap_bio(there, back, server_side=True)
    for side in (client, serving) * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True)


def test_a_half_written_pair_is_left_for_the_next_time(tmp_path: Path) -> None:
    layout, now = Layout(tmp_path), datetime.now(UTC)
    credentials.ensure(layout, SETTINGS, now)
    context = tls.server_context(layout.authority, layout.pki, "apiserver")
    other = (layout.pki / "admin.crt").read_bytes()
    good = (layout.pki / "apiserver.crt").read_bytes()
    (layout.pki / "apiserver.crt").write_bytes(other)
    tls.reload()
    assert tls._loaded[context][2] != tls._stamp(layout.pki / "apiserver.crt")
    assert _shown(context, layout) == ssl.PEM_cert_to_DER_cert(good.decode())
    (layout.pki / "apiserver.crt").write_bytes(good)
    tls.reload()
    assert tls._loaded[context][2] == tls._stamp(layout.pki / "apiserver.crt")
