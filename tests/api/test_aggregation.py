"""APIServices with a real extension server behind them, over TLS."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from sampan.apiserver.core.discovery import AGGREGATED
from sampan.apiserver.core.server import ApiServer
from sampan.apiserver.http.relay import Relay
from sampan.apiserver.http.serve import HttpServer
from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.cluster import pki
from sampan.cluster.tls import server_context
from tests.api.server import Api, run, user

GROUP = "things.example.com"
ROOT = f"/apis/{GROUP}/v1"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {
            "name": "things",
            "singularName": "thing",
            "namespaced": True,
            "kind": "Thing",
            "verbs": ["get", "list", "watch"],
        },
        {"name": "things/status", "singularName": "", "namespaced": True, "kind": "Thing", "verbs": ["get"]},
    ],
}


class Extension:
    """An extension server that trusts the front proxy alone."""

    def __init__(self, directory: Path) -> None:
        now = datetime.now(UTC)
        self.directory = directory
        self.authority = pki.make_authority("things", now)
        front = pki.make_authority("front-ca", now)
        pki.save(directory, "things-ca", self.authority)
        pki.save(directory, "front-ca", front)
        pki.save(directory, "front", pki.issue(front, "front-proxy-client", now))
        hosts = ("things.default.svc",)
        pki.save(directory, "things", pki.issue(self.authority, "things-server", now, hosts=hosts))
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0
        self.well = True

    async def start(self) -> None:
        tls = server_context(self.directory / "front-ca.crt", self.directory, "things")
        tls.verify_mode = ssl.CERT_REQUIRED
        loop = asyncio.get_running_loop()
        self.server = web.Server(lambda http: self._handle(http))
        self.site = await loop.create_server(self.server, "127.0.0.1", 0, ssl=tls)
        self.port = self.site.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.site.close()
        await self.server.shutdown(1.0)
        await self.site.wait_closed()
        await asyncio.sleep(0.05)  # TLS connections of aiohttp's client say goodbye after its close

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        if not self.well:
            return web.Response(status=500)
        if http.path == ROOT:
            return web.json_response(RESOURCES)
        if http.path.startswith("/openapi/"):
            return web.Response(status=404)
        self.seen.append((http.method, http.path_qs, dict(http.headers), await http.read()))
        if http.query.get("watch"):
            stream = web.StreamResponse()
            await stream.prepare(http)
            for name in "ab":
                event = {"type": "ADDED", "object": {"kind": "Thing", "metadata": {"name": name}}}
                await stream.write(msgspec.json.encode(event) + b"\n")
            return stream
        return web.json_response({"kind": "ThingList", "apiVersion": f"{GROUP}/v1", "items": []})


def _api_service(extension: Extension, **spec: Any) -> dict[str, Any]:
    ca = base64.b64encode(extension.authority.certificate).decode()
    whole = {
        "group": GROUP,
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 15,
        "service": {"namespace": "default", "name": "things"},
        "caBundle": ca,
        **spec,
    }
    return {"metadata": {"name": f"v1.{GROUP}"}, "spec": {k: v for k, v in whole.items() if v is not None}}


async def _service(api: Api, port: int) -> None:
    spec = {"ports": [{"name": "https", "port": 443, "targetPort": port}]}
    (
        await api.post("/api/v1/namespaces/default/services", {"metadata": {"name": "things"}, "spec": spec})
    ).ok(201)
    labels = {"kubernetes.io/service-name": "things"}
    endpoints = {
        "metadata": {"name": "things-1", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    (await api.post(path, endpoints)).ok(201)


async def _condition(api: Api, reason: str) -> dict[str, str]:
    """The Available condition, once it has this reason."""
    found: dict[str, str] = {}
    for _ in range(500):
        conditions = (await api.get(f"{SERVICES}/v1.{GROUP}")).ok()["status"].get("conditions") or [{}]
        found = conditions[0]
        if found.get("reason") == reason:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(found)


Work = Callable[[Api, Extension, Callable[..., Awaitable[tuple[int, Any]]]], Awaitable[None]]


def _with_extension(tmp_path: Path, work: Work, **spec: Any) -> None:
    async def whole(api: Api) -> None:
        extension = Extension(tmp_path)
        await extension.start()
        relay = Relay(front=(tmp_path / "front.crt", tmp_path / "front.key"))
        api.server.aggregator.fetch = relay.fetch
        http = HttpServer(api.server, relay)
        port = await http.start("127.0.0.1", 0, None)
        await _service(api, extension.port)
        (await api.post(SERVICES, _api_service(extension, **spec))).ok(201)
        session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
        try:

            async def ask(method: str, path: str, **more: Any) -> tuple[int, Any]:
                headers = {"Authorization": "Bearer jane", **more.pop("headers", {})}
                async with session.request(method, path, headers=headers, **more) as answer:
                    body = await answer.read()
                    if answer.content_type == "text/plain":
                        return answer.status, body
                    lines = [msgspec.json.decode(line) for line in body.splitlines()]
                    return answer.status, lines[0] if len(lines) == 1 else lines

            ask.http = http  # type: ignore[attr-defined]
            await work(api, extension, ask)
        finally:
            await session.close()
            await http.close()
            await extension.close()

    jane = user("jane", "system:masters")
    tokens = {"jane": jane, "joe": user("joe")}
    from sampan.kinds.loopback import LoopbackEndpoints

    allowed, LoopbackEndpoints.allowed = LoopbackEndpoints.allowed, True
    try:
        # The loop that serves in earnest: asyncio's own forgets transports whose handshake was refused.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(whole, static_tokens=tokens))
    finally:
        LoopbackEndpoints.allowed = allowed


def test_requests_reach_the_extension_server_with_the_user_in_headers(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        assert (await _condition(api, "Passed"))["status"] == "True"
        path = f"{ROOT}/namespaces/default/things"
        spoof = {"X-Remote-User": "system:admin", "X-Remote-Extra-Scopes": "all"}
        code, listed = await ask("GET", f"{path}?labelSelector=a%3Db&labelSelector=c", headers=spoof)
        assert (code, listed["kind"]) == (200, "ThingList")
        code, _ = await ask("POST", path, json={"kind": "Thing"})
        (_, asked, headers, _), (method, _, _, body) = extension.seen
        assert asked == f"{path}?labelSelector=a%3Db&labelSelector=c"
        assert (headers["X-Remote-User"], headers["X-Remote-Group"]) == ("jane", "system:masters")
        assert "X-Remote-Extra-Scopes" not in headers
        assert "Authorization" not in headers
        assert (method, msgspec.json.decode(body)) == ("POST", {"kind": "Thing"})
        # Who names no type of its body means JSON: none is made up on the way.
        await ask("POST", path, data=b"{}", skip_auto_headers=("Content-Type",))
        assert "Content-Type" not in extension.seen.pop()[2]
        code, events = await ask("GET", f"{path}?watch=true")
        assert [event["object"]["metadata"]["name"] for event in events] == ["a", "b"]
        code, refused = await ask("GET", path, headers={"Authorization": "Bearer joe"})
        assert code == 403
        assert f'cannot list resource "things" in API group "{GROUP}"' in refused["message"]

    _with_extension(tmp_path, work)


def test_discovery_holds_what_the_extension_server_serves(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        await _condition(api, "Passed")
        _, groups = await ask("GET", "/apis")
        assert groups["groups"][-1] == {
            "name": GROUP,
            "versions": [{"groupVersion": f"{GROUP}/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": f"{GROUP}/v1", "version": "v1"},
        }
        _, group = await ask("GET", f"/apis/{GROUP}")
        assert (group["kind"], group["name"]) == ("APIGroup", GROUP)
        _, resources = await ask("GET", ROOT)
        assert resources == RESOURCES
        code, whole = await ask("GET", "/apis", headers={"Accept": AGGREGATED})
        item = whole["items"][-1]
        assert (code, item["metadata"]["name"]) == (200, GROUP)
        [version] = item["versions"]
        assert version["freshness"] == "Current"
        assert [each["resource"] for each in version["resources"]] == ["things"]
        assert version["resources"][0]["subresources"][0]["subresource"] == "status"

    _with_extension(tmp_path, work)


def test_a_server_that_is_down_is_said_to_be_and_answers_503(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        await _condition(api, "Passed")
        extension.well = False
        await api.clock.advance(31)
        assert (await _condition(api, "FailedDiscoveryCheck"))["status"] == "False"
        code, answer = await ask("GET", f"{ROOT}/things")
        assert (code, answer["reason"]) == (503, "ServiceUnavailable")
        (await api.get("/api/v1/namespaces/default/configmaps")).ok()
        (await api.delete("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/things-1")).ok()
        await _condition(api, "MissingEndpoints")
        (await api.delete("/api/v1/namespaces/default/services/things")).ok()
        await _condition(api, "ServiceNotFound")
        (await api.delete(f"{SERVICES}/v1.{GROUP}")).ok()
        code, _ = await ask("GET", f"{ROOT}/things")
        assert code == 404

    _with_extension(tmp_path, work)


def test_a_certificate_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        await _condition(api, "FailedDiscoveryCheck")

    _with_extension(tmp_path, work, caBundle=None)


def test_verification_can_be_skipped(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        await _condition(api, "Passed")

    _with_extension(tmp_path, work, caBundle=None, insecureSkipTLSVerify=True)


def test_built_in_groups_have_local_api_services() -> None:
    async def work(api: Api) -> None:
        found = {item["metadata"]["name"]: item for item in (await api.get(SERVICES)).ok()["items"]}
        assert {"v1.", "v1.apps", "v2.autoscaling"} <= set(found)
        core = found["v1."]
        assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
        assert core["status"]["conditions"][0]["reason"] == "Local"

    asyncio.run(run(work))


TRUST = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


def test_extension_servers_find_whom_to_trust() -> None:
    async def work(api: Api) -> None:
        found = (await api.get(TRUST)).ok()["data"]
        assert found["client-ca-file"] == "clients"
        assert found["requestheader-client-ca-file"] == "front"
        assert found["requestheader-username-headers"] == '["X-Remote-User"]'

    asyncio.run(run(work, client_ca="clients", front_proxy_ca="front"))


def _authority(name: str, of: SimulatedClock, days: int = 0) -> str:
    return pki.make_authority(name, of.now() - timedelta(days=days)).certificate.decode()


def test_a_server_with_another_authority_says_so() -> None:
    async def work(api: Api) -> None:
        first, second = (_authority(name, api.clock) for name in ("one", "two"))
        old = _authority("old", api.clock, days=365 * 30)
        change = {
            "client-ca-file": old + first,
            "requestheader-allowed-names": '["other"]',
            "requestheader-client-ca-file": "rubbish",
            "requestheader-uid-headers": None,
            "mine": "kept",
        }
        (await api.patch(TRUST, {"data": change})).ok()
        settings = msgspec.structs.replace(api.server.settings, client_ca=second, front_proxy_ca=first)
        again = ApiServer(api.store, api.clock, RandomIds(random.Random(8)), settings)
        await again.start()
        try:
            other = Api(again, api.clock, api.store)
            found = (await other.get(TRUST)).ok()
            data = found["data"]
            # Another server may still use its own: what has not run out stays beside.
            assert data["client-ca-file"] == second + first
            assert data["requestheader-client-ca-file"] == first
            assert data["requestheader-allowed-names"] == '["front-proxy-client","other"]'
            assert data["requestheader-uid-headers"] == '["X-Remote-Uid"]'
            assert data["mine"] == "kept"
            # Nobody else may take it away, and what is right is not written again.
            (await other.delete(TRUST)).ok()
            watch = await other.watch(TRUST.rpartition("/")[0], resourceVersion="0")
            while (event := await watch.next())["object"]["metadata"]["name"] != TRUST.rpartition("/")[2]:
                pass
            assert event["object"]["data"]["client-ca-file"] == second
            await watch.close()
            await api.clock.advance(121)
            revision = event["object"]["metadata"]["resourceVersion"]
            assert (await other.get(TRUST)).ok()["metadata"]["resourceVersion"] == revision
        finally:
            await again.close()

    asyncio.run(run(work, client_ca="clients", front_proxy_ca="front"))
