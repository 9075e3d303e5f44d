"""OpenAPI documents, made when first asked for."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.apiserver.core.request import Request, Response
from sampan.kinds.kind import Kind


class OpenApi:
    """Answers below /openapi/."""

    def __init__(self, kinds: Sequence[Kind], version: str) -> None:
        self._kinds = kinds
        self._version = version

    def answer(self, request: Request) -> Response | None:
        return None
