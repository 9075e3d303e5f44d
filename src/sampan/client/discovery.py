"""Which resources a server serves: built-in kinds from the registry, all others from discovery."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from sampan.client.client import Client
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import Partial, Resource
from sampan.kinds import registry
from sampan.schema import api
from sampan.schema.definitions import GroupVersionKind


class Served(msgspec.Struct, frozen=True):
    """What discovery found: each resource once, in its group's preferred version.

    `failed` names the group versions that could not be read: what they serve is not known now.
    """

    resources: tuple[Resource[Partial], ...]
    failed: tuple[str, ...] = ()


class UnknownKind(LookupError):
    """The server serves no such kind."""


class Discovery:
    """Looks kinds up. What was found is remembered until `forget`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[tuple[str, str], Resource[Any]] = {}

    async def resource(self, api_version: str, kind: str) -> Resource[Any]:
        """The resource of a kind, as in an object's type meta. Raises UnknownKind, ApiError."""
        known = self._found.get((api_version, kind)) or built_in(api_version, kind)
        if known is None:
            for found in await self._read(api_version):
                self._found[found.api_version, found.kind] = found
            known = self._found.get((api_version, kind))
        if known is None:
            raise UnknownKind(f"the server serves no {kind} in {api_version}")
        self._found[api_version, kind] = known
        return known

    def forget(self) -> None:
        """Something about the served kinds has changed."""
        self._found.clear()

    async def served(self) -> Served:
        """Everything that can be listed, watched and deleted. Raises ApiError, ConnectionError."""
        groups = await self._client.read("/apis", api.APIGroupList)
        versions = ["v1"]
        for group in groups.groups:
            first = group.preferredVersion.groupVersion if group.preferredVersion else ""
            names = [version.groupVersion for version in group.versions]
            versions += sorted(names, key=lambda name: name != first)
        read = await asyncio.gather(*map(self._read, versions), return_exceptions=True)
        resources: dict[tuple[str, str], Resource[Partial]] = {}
        failed: list[str] = []
        for version, found in zip(versions, read, strict=True):
            if isinstance(found, ApiError | ConnectionError | TimeoutError):
                failed.append(version)
            elif isinstance(found, BaseException):
                raise found
            else:
                for resource in found:
                    resources.setdefault(resource.id, resource)
        return Served(tuple(r for r in resources.values() if _collectable(r)), tuple(failed))

    async def _read(self, api_version: str) -> list[Resource[Partial]]:
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            listed = await self._client.read(path, api.APIResourceList)
        except ApiError as error:
            if is_not_found(error):
                return []
            raise
        return list(_resources(api_version, listed.resources))


def built_in(api_version: str, kind: str) -> Resource[Any] | None:
    """The resource of a kind that this program knows by itself, read as its metadata only."""
    group, _, version = api_version.rpartition("/")
    found = registry.by_gvk(GroupVersionKind(group, version, kind))
    if found is None:
        return None
    return Resource(api_version, kind, found.plural, found.namespaced, Partial, found.verbs)


def _resources(api_version: str, found: Iterable[api.APIResource]) -> Iterable[Resource[Partial]]:
    for one in found:
        if "/" not in one.name:
            yield Resource(api_version, one.kind, one.name, one.namespaced, Partial, tuple(one.verbs))


def _collectable(resource: Resource[Any]) -> bool:
    return {"delete", "list", "watch"} <= set(resource.verbs)
