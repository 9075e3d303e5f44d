"""schemathesis on the served OpenAPI: what fits the published schema, and what nearly does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode

from sampan.apiserver.core.server import ApiServer, Settings
from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.store.memory import MemoryStore
from tests.api.server import ADMIN, Api, token_keys
from tests.fuzz.test_endpoints import end, whole

pytestmark = pytest.mark.timeout(300)  # on a busy machine
# Schemas that hold no pod template: schemathesis takes minutes to make one of those.
SMALL = {
    "api/v1": (
        "configmaps",
        "secrets",
        "namespaces",
        "serviceaccounts",
        "limitranges",
        "endpoints",
        "events",
    ),
    "apis/rbac.authorization.k8s.io/v1": ("roles", "clusterrolebindings"),
    "apis/coordination.k8s.io/v1": ("leases",),
    "apis/scheduling.k8s.io/v1": ("priorityclasses",),
    "apis/policy/v1": ("poddisruptionbudgets",),
    "apis/networking.k8s.io/v1": ("ingressclasses",),
    "apis/apps/v1": ("deployments/{name}/scale", "controllerrevisions"),
}
EXAMPLES = hypothesis_settings(
    max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


class Server:
    """One server for all cases of a test, in an event loop of its own."""

    def __init__(self, api: Api, runner: asyncio.Runner) -> None:
        self._api, self._runner = api, runner

    def published(self, group: str) -> Any:
        """The OpenAPI v3 document of a group and version."""
        return self._runner.run(self._api.get(f"/openapi/v3/{group}")).ok()

    def ask(self, case: Any) -> None:
        """Put one case to the server."""
        body = case.body
        if not isinstance(body, bytes):
            body = b"" if type(body).__name__ == "NotSet" else msgspec.json.encode(body)
        query = {name: str(value) for name, value in (case.query or {}).items()}
        path = unquote(case.formatted_path)
        self._runner.run(self._send(case.method.upper(), path, body, case.media_type or "", query))

    async def _send(self, method: str, path: str, body: bytes, media: str, query: dict[str, str]) -> None:
        answer = await self._api.send(method, path, body, ADMIN, media, "application/json", None, query)
        assert answer.status != 500, (method, path, query, body, answer.body)
        await end(answer)

    def check(self) -> None:
        self._runner.run(whole(self._api))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with asyncio.Runner() as runner:
        store = MemoryStore()
        clock = SimulatedClock()
        made = ApiServer(store, clock, RandomIds(random.Random(7)), Settings(keys=token_keys()))
        runner.run(made.start())
        yield Server(Api(made, clock, store), runner)
        runner.run(made.close())
        runner.run(store.close())


@pytest.mark.parametrize("group", SMALL)
def test_operations_of_the_published_schema(server: Server, group: str) -> None:
    schema = schemathesis.openapi.from_dict(server.published(group))
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if "/watch/" in operation.path or not operation.path.endswith(SMALL[group]):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            EXAMPLES(given(operation.as_strategy(generation_mode=mode))(server.ask))()
        asked += 1
    assert asked > 0
    server.check()
