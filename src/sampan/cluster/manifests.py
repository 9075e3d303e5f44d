"""Applying manifest files and waiting until what they describe runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.cluster import documents
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts.clients import client_of
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.machinery import selectors
from sampan.schema import api, codec
from sampan.schema.definitions import GroupVersionKind

MANAGER: Final = "sampan-up"
READY_WAIT_S: Final = 120.0
_POLL_S: Final = 0.1
# A container that waits for one of these needs somebody's help; waiting longer is pointless.
_HOPELESS: Final = frozenset(
    {"ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"}
)


def apply_and_wait(layout: Layout, settings: Settings, paths: list[Path]) -> None:
    """Server-side apply every object, then wait for Deployments. Raises SampanError."""
    # All of them are looked at before the first one is applied.
    wanted = [typed(document) for document in documents.read(paths)]

    async def run() -> None:
        client = client_of(layout, settings, "admin")
        try:
            for obj in wanted:
                await _apply(client, obj)
            async with asyncio.timeout(READY_WAIT_S):
                for obj in wanted:
                    if isinstance(obj, api.Deployment):
                        await _rolled_out(client, obj)
        except TimeoutError:
            raise SampanError(
                f"What was applied did not become ready within {READY_WAIT_S:.0f} s; "
                "`kubectl get pods` and `kubectl describe` say why."
            ) from None
        finally:
            await client.close()

    asyncio.run(run())


def typed(document: dict[str, Any]) -> Any:
    """A document as the struct of its kind. Raises SampanError for what is not built in or does not fit."""
    kind, name = _kind(document), (document.get("metadata") or {}).get("name") or ""
    try:
        obj = codec.from_builtins(document, kind.type)
    except msgspec.ValidationError as problem:
        raise SampanError(
            f"The {document['kind']} {name!r} cannot be applied: {problem}; mend its manifest."
        ) from None
    if not name:
        raise SampanError(f"A {document['kind']} has no metadata.name; give it one and apply it again.")
    if kind.namespaced and not obj.metadata.namespace:
        obj.metadata.namespace = "default"
    return obj


def _kind(document: dict[str, Any]) -> Kind:
    group, _, version = str(document["apiVersion"]).rpartition("/")
    kind = registry.by_gvk(GroupVersionKind(group, version, str(document["kind"])))
    if kind is None:
        raise SampanError(
            f"{document['apiVersion']} {document['kind']} is no built-in kind; apply it with kubectl."
        )
    return kind


async def _apply(client: Client, obj: Any) -> None:
    try:
        await client.apply(obj, MANAGER)
    except ApiError as refused:
        words = " ".join(str(refused).split()).rstrip(".")
        raise SampanError(
            f"The API server refused the {obj.kind} {obj.metadata.name!r}: {words}; mend its manifest."
        ) from None


async def _rolled_out(client: Client, applied: api.Deployment) -> None:
    name, namespace = applied.metadata.name or "", applied.metadata.namespace or ""
    while True:
        found = await client.get(api.Deployment, name, namespace)
        wanted = found.spec.replicas or 0
        seen = (found.status.observedGeneration or 0) >= (found.metadata.generation or 0)
        if seen and (found.status.availableReplicas or 0) >= wanted:
            return
        selector = selectors.from_label_selector(found.spec.selector)
        for pod in (await client.list(api.Pod, namespace)).items:
            if selector.matches(pod.metadata.labels):
                _demand_hope(pod)
        await asyncio.sleep(_POLL_S)


def _demand_hope(pod: api.Pod) -> None:
    """Raises SampanError where a container of the pod cannot start until somebody helps."""
    for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        waiting = status.state.waiting if status.state is not None else None
        if waiting is not None and waiting.reason in _HOPELESS:
            mend = "mend what its manifest refers to"
            if "Image" in waiting.reason:
                mend = f"mend the name of the image {status.image}, or bring it with `sampan image`"
            words = " ".join((waiting.message or "").split()).rstrip(".")
            raise SampanError(
                f"The pod {pod.metadata.namespace}/{pod.metadata.name} cannot start ({waiting.reason}: "
                f"{words}); {mend}."
            )
