"""Applying manifest files and waiting until what they describe runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts.clients import client_of
from sampan.kinds import registry
from sampan.schema import codec
from sampan.schema.definitions import GroupVersionKind

MANAGER: Final = "sampan-up"
READY_WAIT_S: Final = 120.0
_POLL_S: Final = 0.1


def read(paths: list[Path]) -> list[dict[str, Any]]:
    """The objects in YAML files and folders of them. Raises SampanError that names the bad file."""
    return [document for path in paths for file in _files(path) for document in _documents(file)]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
    else:
        yield path


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = [d for d in yaml.safe_load_all(file.read_text()) if d is not None]
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as problem:
        raise SampanError(f"{file} cannot be read as YAML ({problem}); mend it and apply it again.") from None
    for document in documents:
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise SampanError(
                f"{file} holds something without apiVersion and kind; mend it and apply it again."
            )
        yield document


def apply_and_wait(layout: Layout, settings: Settings, paths: list[Path]) -> None:
    """Server-side apply every object, then wait for Deployments. Raises SampanError."""
    documents = read(paths)

    async def run() -> None:
        client = client_of(layout, settings, "admin")
        try:
            for document in documents:
                await apply(client, document)
            async with asyncio.timeout(READY_WAIT_S):
                for document in documents:
                    await _rolled_out(client, document)
        except ApiError as refused:
            raise SampanError(f"The manifests were refused: {refused}") from None
        except TimeoutError:
            raise SampanError(
                f"What was applied did not become ready within {READY_WAIT_S:.0f} s; "
                "`kubectl get pods` and `kubectl describe` say why."
            ) from None
        finally:
            await client.close()

    asyncio.run(run())


async def apply(client: Client, document: dict[str, Any]) -> None:
    """Apply one object. Raises ApiError, and SampanError for a kind that is not built in."""
    group, _, version = str(document["apiVersion"]).rpartition("/")
    kind = registry.by_gvk(GroupVersionKind(group, version, str(document["kind"])))
    if kind is None:
        raise SampanError(
            f"{document['apiVersion']} {document['kind']} is no built-in kind; apply it with kubectl."
        )
    if kind.namespaced:
        document.setdefault("metadata", {}).setdefault("namespace", "default")
    await client.apply(codec.from_builtins(document, kind.type), MANAGER)


async def _rolled_out(client: Client, document: dict[str, Any]) -> None:
    if document["kind"] != "Deployment":
        return
    from sampan.schema import api

    metadata = document["metadata"]
    while True:
        found = await client.get(api.Deployment, metadata["name"], metadata["namespace"])
        wanted = found.spec.replicas or 0
        seen = (found.status.observedGeneration or 0) >= (found.metadata.generation or 0)
        if seen and (found.status.availableReplicas or 0) >= wanted:
            return
        await asyncio.sleep(_POLL_S)
