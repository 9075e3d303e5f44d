"""An API server in the test's own process: store in memory, clock that the test moves, no sockets."""

from __future__ import annotations

import asyncio
import base64
import functools
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.apiserver.core.authn import TokenKeys
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.server import ApiServer, Settings
from sampan.apiserver.core.users import ADMIN, AUTHENTICATED, User
from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.cluster import pki
from sampan.store.memory import MemoryStore

P = ParamSpec("P")
ISSUER = "https://kubernetes.default.svc"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
LIMIT_S = 10.0


@functools.cache
def token_keys() -> TokenKeys:
    pair = pki.make_signing_key()
    return TokenKeys(pair.key, (pair.certificate,), ISSUER, (ISSUER,))


def as_item(obj: dict[str, Any]) -> dict[str, Any]:
    """An object of a built-in kind as lists show it: which kind it is of is said once, for all of them."""
    return {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}


class Answer:
    """What the server said."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.code = response.status
        self.body = response.body
        self.headers = response.headers

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])

    @property
    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.json["items"]]

    def ok(self, code: int = 200) -> Any:
        """The document, after making sure of the code."""
        assert self.code == code, (self.code, self.body[:2000])
        return self.json

    def refused(self, code: int, reason: str) -> str:
        """The message of a Status with this code and reason."""
        assert (self.code, self.json.get("reason", "")) == (code, reason), (self.code, self.body[:2000])
        assert self.json["kind"] == "Status"
        assert self.json["status"] == "Failure"
        assert self.json["code"] == code
        return self.message


class Watch:
    """The lines of one watch."""

    def __init__(self, response: Response) -> None:
        assert response.status == 200, (response.status, response.body)
        assert response.chunks is not None
        self._chunks: AsyncIterator[bytes] = response.chunks
        self._lines: list[bytes] = []

    async def next(self) -> dict[str, Any]:
        """The next event; fails where none comes. An empty one stands for the end of the watch."""
        while not self._lines:
            try:
                async with asyncio.timeout(LIMIT_S):
                    self._lines = (await anext(self._chunks)).splitlines()
            except StopAsyncIteration:
                return {}
        event: dict[str, Any] = msgspec.json.decode(self._lines.pop(0))
        return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of that many events."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def close(self) -> None:
        closing: Any = self._chunks
        await closing.aclose()


class Api:
    """Requests to one server."""

    def __init__(self, server: ApiServer, clock: SimulatedClock, store: MemoryStore) -> None:
        self.server = server
        self.clock = clock
        self.store = store

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: User | None = ADMIN,
        media: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answer:
        return Answer(await self.send(method, path, body, user, media, accept, headers, query))

    async def send(
        self,
        method: str,
        path: str,
        body: Any,
        user: User | None,
        media: str,
        accept: str,
        headers: Mapping[str, str] | None,
        query: Mapping[str, str],
    ) -> Response:
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        request = Request(
            method=method,
            path=path,
            query={"continue" if name == "continues" else name: value for name, value in query.items()},
            headers={"content-type": media, "accept": accept, "user-agent": "test/1", **(headers or {})},
            body=data,
            user=user,
            host="127.0.0.1:6443",
        )
        return await self.server.handle(request)

    async def get(self, path: str, *, owners: bool = False, **options: Any) -> Answer:
        """An object without its managedFields, as kubectl shows it, but with `owners`."""
        answer = await self.call("GET", path, **options)
        if not owners and b'"managedFields":' in answer.body:
            document = answer.json
            if isinstance(document.get("metadata"), dict):
                document["metadata"].pop("managedFields", None)
                answer.body = msgspec.json.encode(document)
        return answer

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def put(self, path: str, body: Any, **options: Any) -> Answer:
        return await self.call("PUT", path, body, **options)

    async def delete(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("DELETE", path, body, **options)

    async def patch(self, path: str, body: Any, media: str = MERGE, **options: Any) -> Answer:
        return await self.call("PATCH", path, body, media=media, **options)

    async def apply(self, path: str, body: Any, manager: str, **options: Any) -> Answer:
        return await self.patch(path, body, APPLY, fieldManager=manager, **options)

    async def watch(
        self, path: str, *, user: User | None = ADMIN, accept: str = "application/json", **query: str
    ) -> Watch:
        query = {"watch": "true", **query}
        return Watch(await self.send("GET", path, None, user, "application/json", accept, None, query))

    async def account(self, namespace: str = "default") -> None:
        """The service account that pods of the namespace need; a controller makes it in whole clusters."""
        made = await self.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}}
        )
        assert made.code in (201, 409)

    async def pod(self, name: str = "web", namespace: str = "default", **changes: Any) -> Any:
        """A created pod; `node` places it, `labels` and the fields of its spec are options."""
        await self.account(namespace)
        made = await self.post(f"/api/v1/namespaces/{namespace}/pods", pod(name, **changes))
        return made.ok(201)


def pod(
    name: str = "web", *, node: str = "", labels: Mapping[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """The manifest of a pod."""
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels or {})}
    whole: dict[str, Any] = {"containers": [{"name": "main", "image": "busybox"}], **spec}
    if node:
        whole["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name: str = "web", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def certificate_request() -> str:
    """A request for jane's certificate, as a CertificateSigningRequest carries it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def user(name: str, *groups: str) -> User:
    return User(name, (*groups, AUTHENTICATED))


async def run(work: Callable[[Api], Awaitable[None]], **settings: Any) -> None:
    """Run `work` against a server of its own."""
    clock, store = SimulatedClock(), MemoryStore()
    ids = RandomIds(random.Random(7))
    whole = Settings(keys=token_keys(), **settings)
    server = ApiServer(store, clock, ids, whole, chance=random.Random(7))
    await server.start()
    try:
        await work(Api(server, clock, store))
    finally:
        await server.close()
        await store.close()


def served(test: Callable[Concatenate[Api, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes a test of an `async def` that takes an Api first."""

    def whole(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(run(lambda api: test(api, *args, **kwargs)))

    functools.update_wrapper(whole, test)
    del whole.__wrapped__  # type: ignore[attr-defined]
    parameters = list(inspect.signature(test).parameters.values())[1:]
    whole.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return whole


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SERVICES = "/api/v1/namespaces/default/services"
