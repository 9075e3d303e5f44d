"""A real HTTPS webhook server for tests, in the test's own event loop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from sampan.cluster import pki

Answer = Callable[[dict[str, Any]], Any]


@functools.cache
def _certificates() -> tuple[pki.KeyPair, pki.KeyPair]:
    now = datetime.now(UTC)
    authority = pki.make_authority("webhooks", now)
    hosts = ("127.0.0.1", "localhost", "hook.default.svc")
    return authority, pki.issue(authority, "hook", now, hosts=hosts)


class Hooks:
    """Webhooks by path; `seen` has every review that arrived, by path."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.seen: dict[str, list[dict[str, Any]]] = {}
        self.transports: set[asyncio.Transport] = set()
        # Set to let webhooks that hang end with the test.
        self.over = asyncio.Event()

    @property
    def ca(self) -> str:
        return base64.b64encode(_certificates()[0].certificate).decode()

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def config(self, path: str) -> dict[str, Any]:
        return {"url": self.url(path), "caBundle": self.ca}

    def raw(self, path: str, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        """Answer requests to `path` with anything at all."""
        self.answers[path] = answer

    def review(self, path: str, answer: Answer) -> None:
        """Answer reviews at `path` by the response that `answer` makes of their request; the uid is added."""

        async def handle(request: web.Request) -> web.Response:
            review = msgspec.json.decode(await request.read())
            self.seen.setdefault(path, []).append(review["request"])
            made = answer(review["request"])
            if asyncio.iscoroutine(made):
                made = await made
            made.setdefault("uid", review["request"]["uid"])
            body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": made}
            return web.Response(body=msgspec.json.encode(body), content_type="application/json")

        self.answers[path] = handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self.transports.add(request.transport)
        answer = self.answers.get(request.path)
        return web.Response(status=404) if answer is None else await answer(request)


@contextlib.asynccontextmanager
async def hooks() -> AsyncIterator[Hooks]:
    """A server on a free port."""
    made = Hooks()
    _, own = _certificates()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "both.pem"
        chain.write_bytes(own.certificate + own.key)
        context.load_cert_chain(chain)
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        made.over.set()
        for transport in made.transports:
            if not transport.is_closing():
                transport.abort()  # a farewell over TLS would outlive the loop
        await runner.cleanup()


def json_patch(*operations: dict[str, Any]) -> dict[str, Any]:
    """A response that allows with a patch."""
    patch = base64.b64encode(msgspec.json.encode(operations)).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": patch}
