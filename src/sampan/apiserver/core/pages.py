"""Answers to requests that are not about a resource: health, version, discovery, documents, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sampan.apiserver.core import health, metrics_state, status
from sampan.apiserver.core.aggregation.aggregator import Aggregator
from sampan.apiserver.core.custom.registry import CustomKinds
from sampan.apiserver.core.discovery import Discovery
from sampan.apiserver.core.documents import Documents
from sampan.apiserver.core.flowcontrol.control import FlowControl
from sampan.apiserver.core.gate import Gate
from sampan.apiserver.core.metrics import Metrics, page
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.users import User
from sampan.store.watchcache import WatchCache

# Slashes in `/apis/<group>/<version>/`: what is deeper is no discovery.
_DISCOVERY_DEPTH: Final = 4


class Pages:
    """What the server tells of itself."""

    def __init__(
        self,
        gate: Gate,
        resources: Resources,
        custom: CustomKinds,
        documents: Documents,
        aggregator: Aggregator,
        metrics: Metrics,
        flow: FlowControl,
        cache: WatchCache,
        address: str = "",
    ) -> None:
        self._gate = gate
        self._resources = resources
        self._custom = custom
        self._documents = documents
        self._aggregator = aggregator
        self._metrics = metrics
        self._flow = flow
        self._cache = cache
        self._address = address
        self._built_in = frozenset(kind.group for kind in resources.kinds)
        self._discovery = Discovery(resources.kinds, address=address)
        # The generations of custom kinds and extensions that discovery and OpenAPI tell of.
        self._discovered = self._documented = self._extended = 0

    async def answer(self, request: Request, user: User, *, ready: bool) -> Response:
        """Health, version, discovery and documents: what is not about a resource."""
        self._gate.check_path(user, request)
        self._tell_of_custom(request.path)
        if request.path.startswith("/openapi/"):
            await self._documents.openapi.prepared(request)
        answer = self._discovery.answer(request)
        if self._aggregator.routes:
            answer = self._aggregator.discovery(request, answer)
        if answer is None:
            stored = not self._cache.failed
            answer = self._documents.answer(request, ready=ready and stored, stored=stored)
            if request.path == "/metrics/slis":
                answer = page(health.lines(ready=ready and stored, stored=stored))
        if answer is None and request.path == "/metrics":
            answer = self._metrics.answer(self._state())
        if answer is None and request.path in ("/", "/index.html"):
            answer = self._documents.index(self._discovery.paths)
        return self._nothing_at(request) if answer is None else answer

    def _state(self) -> Iterator[str]:
        """The lines of /metrics about how things are now."""
        versions = {(kind.group, kind.plural): kind.version for kind in self._resources.kinds}
        yield from metrics_state.flow(self._flow)
        yield from metrics_state.objects(self._cache)
        yield from metrics_state.watches(self._cache, versions)
        yield from metrics_state.extensions(self._aggregator.routes.values())
        yield from metrics_state.build(self._documents.version_info())

    def _nothing_at(self, request: Request) -> Response:
        """The refusal of a path that names nothing: a Status in a group of this server, else a page."""
        root, *rest = request.path.strip("/").split("/")
        if rest and (root == "api" or (root == "apis" and len(rest) > 1 and rest[0] in self._built_in)):
            raise status.no_such_path()
        return status.no_such_page()

    def _tell_of_custom(self, path: str) -> None:
        """Let the document at this path tell of the custom kinds that there are now.

        Only what is asked for is made anew: many clients ask for kinds that are not there yet, and for
        OpenAPI every schema has to be read.
        """
        generation = self._custom.generation
        if path.startswith("/openapi/"):
            if self._documented != generation:
                self._documented = generation
                self._documents.openapi.replace_custom(self._custom.kinds(), self._custom.schemas())
            if self._extended != self._aggregator.documented:
                self._extended = self._aggregator.documented
                self._documents.openapi.replace_extensions(self._aggregator.documents)
        elif self._discovered != generation and path.count("/") <= _DISCOVERY_DEPTH:
            self._discovered = generation
            self._discovery = Discovery(self._resources.kinds, self._custom.kinds(), address=self._address)
