"""Why pods run where they do, or nowhere, as an API: `kubectl get podexplanation NAME -o yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.observe import documents
from sampan.observe.documents import Answer, refusal
from sampan.scheduler.asking import explain_pod
from sampan.scheduler.profile import Profile

GROUP: Final = "scheduling.sampan.dev"
VERSION: Final = "v1alpha1"
RESOURCE: Final = "podexplanations"
KIND: Final = "PodExplanation"
API_VERSION: Final = f"{GROUP}/{VERSION}"
_ROOT: Final = f"/apis/{API_VERSION}"
_LISTED: Final = {
    "name": RESOURCE,
    "singularName": "podexplanation",
    "namespaced": True,
    "kind": KIND,
    "verbs": ["get"],
}


class Explanations:
    """Answers requests that the API server relays. `profiles` are the scheduler's; none: the usual one."""

    def __init__(self, client: Client, profiles: Sequence[Profile] = ()) -> None:
        self._client = client
        self._profiles = profiles

    async def answer(self, path: str) -> Answer:
        """The answer to a GET: discovery, or the explanation of the pod of that name.

        Each is worked out from what the API server has at that moment, as `sampan explain pod` does it.
        """
        if path.rstrip("/") == f"/apis/{GROUP}":
            return Answer(200, documents.group(GROUP, VERSION))
        if path.rstrip("/") == _ROOT:
            return Answer(200, documents.resources(API_VERSION, [_LISTED]))
        match path.removeprefix(f"{_ROOT}/").split("/") if path.startswith(f"{_ROOT}/") else []:
            case ["namespaces", namespace, found, name] if found == RESOURCE:
                return await self._explained(namespace, name)
        return refusal(404, "NotFound", documents.NOWHERE)

    async def _explained(self, namespace: str, name: str) -> Answer:
        try:
            found = await explain_pod(self._client, namespace, name, self._profiles)
        except SampanError as missing:
            details = {"group": GROUP, "kind": RESOURCE, "name": name}
            return refusal(404, "NotFound", str(missing), details)
        told: dict[str, Any] = msgspec.to_builtins(found)
        metadata = {"namespace": told.pop("namespace"), "name": told.pop("name")}
        return Answer(200, {"kind": KIND, "apiVersion": API_VERSION, "metadata": metadata, **told})
