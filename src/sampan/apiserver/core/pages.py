"""Answers to requests that are not about a resource: health, version, discovery, documents, metrics."""

from __future__ import annotations

from typing import Final

from sampan.apiserver.core import status
from sampan.apiserver.core.aggregation.aggregator import Aggregator
from sampan.apiserver.core.custom.registry import CustomKinds
from sampan.apiserver.core.discovery import Discovery
from sampan.apiserver.core.documents import Documents
from sampan.apiserver.core.flowcontrol.control import FlowControl
from sampan.apiserver.core.gate import Gate
from sampan.apiserver.core.metrics import Metrics
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
        if answer is None and request.path == "/metrics":
            answer = self._metrics.answer(self._flow, self._cache)
        if answer is None and request.path == "/":
            answer = self._documents.index(self._discovery.paths)
        return self._nothing_at(request) if answer is None else answer

    def _nothing_at(self, request: Request) -> Response:
        """The refusal of a path that names nothing: a Status below a version that there is, else a page."""
        target = request.target
        if target is not None and self._discovery.has(target.group, target.version):
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
