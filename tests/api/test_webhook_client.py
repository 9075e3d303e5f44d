"""The client of webhooks against a real HTTPS server: trust, limits, and what it says of failures."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from sampan.apiserver.core.webhooks import client as client_module
from sampan.apiserver.core.webhooks.client import Endpoint, WebhookClient, WebhookFailed, endpoint_of
from sampan.schema import api
from tests.api.server import Api, served
from tests.api.webhooks import Hooks, hooks

Test = Callable[[WebhookClient, Hooks], Awaitable[None]]


def webhooked(test: Test) -> None:
    async def whole() -> None:
        client = WebhookClient()
        try:
            async with hooks() as server:
                await test(client, server)
        finally:
            await client.close()

    asyncio.run(whole())


def endpoint(server: Hooks, path: str, ca: bytes | None = None) -> Endpoint:
    return Endpoint(server.url(path), "", base64.b64decode(server.ca) if ca is None else ca)


async def failure(client: WebhookClient, where: Endpoint, timeout_s: float = 10) -> str:
    with pytest.raises(WebhookFailed) as caught:
        await client.post(where, b"{}", timeout_s)
    return str(caught.value)


async def _post_and_reuse(client: WebhookClient, server: Hooks) -> None:
    ports = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.query["timeout"] == "3s"
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(body=b"<" + await request.read() + b">")

    server.raw("/echo", answer)
    for _ in range(3):
        assert await client.post(endpoint(server, "/echo"), b"hello", 3) == b"<hello>"
    assert len(ports) == 1, "connections are reused"


def test_post_and_reuse() -> None:
    webhooked(_post_and_reuse)


async def _failures(client: WebhookClient, server: Hooks) -> None:
    async def hang(_: web.Request) -> web.Response:
        await server.over.wait()
        return web.Response()

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound(server.url("/hang"))

    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500, text="out of order")

    async def vanish(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    for path, answer in {"/hang": hang, "/redirect": redirect, "/broken": broken, "/vanish": vanish}.items():
        server.raw(path, answer)
    hung = await failure(client, endpoint(server, "/hang"), 0.2)
    assert hung == f'Post "{server.url("/hang")}?timeout=0.2s": context deadline exceeded'
    assert "redirect" in await failure(client, endpoint(server, "/redirect"))
    assert "out of order" in await failure(client, endpoint(server, "/broken"))
    assert (await failure(client, endpoint(server, "/vanish"))).endswith(": EOF")
    assert "could not find the requested resource" in await failure(client, endpoint(server, "/none"))
    assert "x509" in await failure(client, endpoint(server, "/hang", b""))
    assert "PEM" in await failure(client, endpoint(server, "/hang", b"rubbish"))
    gone = Endpoint("https://127.0.0.1:1/x")
    assert "dial tcp 127.0.0.1:1: connect: connection refused" in await failure(client, gone)


def test_failures() -> None:
    webhooked(_failures)


async def _endless(client: WebhookClient, server: Hooks) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not server.over.is_set():
            try:
                await response.write(b"x" * 65536)
            except ConnectionError:
                break
        return response

    server.raw("/endless", endless)
    said = await failure(client, endpoint(server, "/endless"))
    assert said == f"the answer is larger than {client_module.MAX_ANSWER_BYTES} bytes"


def test_an_endless_answer_is_cut() -> None:
    webhooked(_endless)


async def _by_service(client: WebhookClient, server: Hooks) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Host"])

    server.raw("/convert", answer)
    reference = api.ServiceReference(name="hook", namespace="default", path="/convert", port=443)
    config = api.WebhookClientConfig(service=reference, caBundle=base64.b64decode(server.ca))
    asked: list[tuple[str, str, int]] = []

    def find(namespace: str, name: str, port: int) -> str:
        asked.append((namespace, name, port))
        return f"127.0.0.1:{server.port}"

    where = endpoint_of(config, find)
    assert where.url == "https://hook.default.svc:443/convert"
    assert await client.post(where, b"{}", 5) == b"hook.default.svc:443"
    assert asked == [("default", "hook", 443)]


def test_a_service_is_asked_at_an_endpoint_under_its_own_name() -> None:
    webhooked(_by_service)


@served
async def test_the_addresses_of_services(server: Api) -> None:
    from sampan.apiserver.core.webhooks.services import ServiceAddresses

    addresses = ServiceAddresses(server.server.resources)
    with pytest.raises(WebhookFailed, match='service "hook" not found'):
        addresses.find("default", "hook", 443)
    ports = [{"name": "https", "port": 443, "targetPort": 8443}]
    await server.post(
        "/api/v1/namespaces/default/services",
        {"metadata": {"name": "hook"}, "spec": {"selector": {"app": "hook"}, "ports": ports}},
    )
    with pytest.raises(WebhookFailed, match='no endpoints available for service "hook"'):
        addresses.find("default", "hook", 443)
    with pytest.raises(WebhookFailed, match='no service port 80 found for service "hook"'):
        addresses.find("default", "hook", 80)
    made = await server.post(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {
            "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.1.0.7"], "conditions": {"ready": True}},
                {"addresses": ["10.1.0.8"], "conditions": {"ready": False}},
            ],
        },
    )
    made.ok(201)
    assert addresses.find("default", "hook", 443) == "10.1.0.7:8443"
