"""The typed client for code that does not await."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sampan.client.client import MERGE, Client

T = TypeVar("T")


class SyncClient:
    """The methods of `sampan.client.client.Client`, each blocking until its answer is there."""

    def __init__(self, client: Client, call: Callable[[Any], Any]) -> None:
        self._client = client
        self._call = call

    def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        found: T = self._call(self._client.get(kind, name, namespace))
        return found

    def list(self, kind: type[T], namespace: str = "", *, labels: str = "", fields: str = "") -> list[T]:
        """The items alone."""
        listed = self._call(self._client.list(kind, namespace, labels=labels, fields=fields))
        return list(listed.items)

    def create(self, obj: T) -> T:
        made: T = self._call(self._client.create(obj))
        return made

    def update(self, obj: T, *, subresource: str = "") -> T:
        made: T = self._call(self._client.update(obj, subresource=subresource))
        return made

    def update_status(self, obj: T) -> T:
        made: T = self._call(self._client.update_status(obj))
        return made

    def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str,
        patch: Any,
        *,
        patch_type: str = MERGE,
        subresource: str = "",
    ) -> T:
        made: T = self._call(
            self._client.patch(kind, name, namespace, patch, patch_type=patch_type, subresource=subresource)
        )
        return made

    def apply(self, obj: T, manager: str, *, force: bool = True) -> T:
        made: T = self._call(self._client.apply(obj, manager, force=force))
        return made

    def delete(
        self,
        kind: type[Any],
        name: str,
        namespace: str = "",
        *,
        propagation: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        self._call(self._client.delete(kind, name, namespace, propagation=propagation, grace_s=grace_s))
