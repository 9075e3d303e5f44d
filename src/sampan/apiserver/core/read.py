"""GET and LIST, answered from the watch cache; pages of older snapshots from the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sampan.apiserver.core import formats
from sampan.apiserver.core import list_options as options
from sampan.apiserver.core.formats import Form, Tables
from sampan.apiserver.core.ownership import Telling
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import bad_request, expired, not_found, too_large_revision
from sampan.base.clock import Clock
from sampan.store.backend import Compacted, FutureRevision, KeyRange, Page, Store
from sampan.store.items import Item
from sampan.store.watchcache import WatchCache

_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent "
    "list - objects that were created, modified, or deleted between the time the first chunk was returned "
    "and now may show up in the list."
)


class Reader:
    """Answers what changes nothing and ends at once."""

    def __init__(self, store: Store, cache: WatchCache, clock: Clock) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._telling = Telling()

    def tables(self, request: Request, resource: Resource) -> Tables:
        """How this request wants its tables."""
        return Tables(resource, self._now, request.query.get("includeObject", ""))

    def get(self, request: Request, target: Target, resource: Resource, *, told: bool = True) -> Response:
        """One object, with its managedFields where they are to be `told`. Raises 404, 406."""
        item = resource.cache.get(target.namespace, target.name)
        if request.query:
            self._check_revision(request)
        if item is None:
            raise not_found(resource.kind, target.name)
        return self._one(request, resource, item, resource.present(item.data), told=told)

    def _check_revision(self, request: Request) -> None:
        """A client that has seen more than this server may ask again in a moment. Raises 400, 504."""
        revision = options.revision_of(request) or 0
        if revision > self._cache.revision:
            raise too_large_revision(revision, self._cache.revision)

    async def get_asked(self, request: Request, target: Target, resource: Resource) -> Response:
        """One object of a resource that asks somebody to convert it. Raises 404, 406, 500."""
        item = resource.cache.get(target.namespace, target.name)
        if item is None:
            raise not_found(resource.kind, target.name)
        (data,) = await resource.presented((item.data,))
        return self._one(request, resource, item, data)

    def _one(
        self, request: Request, resource: Resource, item: Item, data: bytes, *, told: bool = True
    ) -> Response:
        form = formats.negotiate(request.accept)
        if told and item.owners and form is not Form.TABLE:
            data = self._telling.shown(item, resource, data)
        if form is Form.JSON:
            return Response(body=data)
        return formats.one(form, data, self.tables(request, resource), item.revision)

    async def list_objects(self, request: Request, target: Target, resource: Resource) -> Response:
        """All that match, or a page. Raises 400, 406, 410, 422, 504."""
        form = formats.negotiate(request.accept)
        options.check(request, watch=False)
        chosen = options.selection(request, resource, target.name)
        match, late = chosen.early(resource), chosen.late(resource)
        limit = options.number(request, "limit")
        token = request.query.get("continue", "")
        at = self._snapshot(request, token)
        if token or at is not None:
            datas, metadata = await self._list_stored(resource, target.namespace, token, at, limit, match)
        else:
            datas, metadata = self._list_cached(resource, target.namespace, limit, match)
        if resource.converts:
            datas = await resource.presented(datas)
        if late is not None:
            datas = [data for data in datas if resource.selects(late, data)]
        return formats.many(form, resource, datas, metadata, self.tables(request, resource))

    def _now(self) -> datetime:
        return self._clock.now()

    def _list_cached(
        self, resource: Resource, namespace: str, limit: int, match: Callable[[Item], bool] | None
    ) -> tuple[list[bytes], dict[str, Any]]:
        items = resource.cache.items(namespace)
        if match is not None:
            items = [item for item in items if match(item)]
        metadata: dict[str, Any] = {"resourceVersion": str(self._cache.revision)}
        if 0 < limit < len(items):
            metadata["continue"] = options.make_token(self._cache.revision, items[limit - 1].key)
            if match is None:
                metadata["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        return [item.data for item in items], metadata

    def _snapshot(self, request: Request, token: str) -> int | None:
        """The revision that the list must be of exactly; None where the newest will do."""
        revision = options.revision_of(request)
        if revision is None:
            return None
        if token:
            if revision:
                raise bad_request("specifying resource version is not allowed when using continue")
            return None
        if revision > self._cache.revision:
            raise too_large_revision(revision, self._cache.revision)
        exact = request.query.get("resourceVersionMatch", "") == options.EXACT
        return revision if exact and revision != self._cache.revision else None

    async def _list_stored(
        self,
        resource: Resource,
        namespace: str,
        token: str,
        at: int | None,
        limit: int,
        match: Callable[[Item], bool] | None,
    ) -> tuple[list[bytes], dict[str, Any]]:
        """A page of an older snapshot, read from the store."""
        whole = KeyRange.prefix(resource.prefix + (f"{namespace}/" if namespace else ""))
        start = whole.start
        if token:
            goes_on = options.parse_token(token)
            at, start = (None if goes_on.rv == options.NEWEST else goes_on.rv), goes_on.start
            if start not in whole:
                raise options.invalid_token(f"{start} belongs to another list")
        found: list[bytes] = []
        while True:
            page = await self._page(KeyRange(start, whole.end), at, limit)
            at = page.revision  # so that all steps are of one snapshot
            last, more = _take(page, limit, match, found)
            if not more or len(found) == limit:
                break
            start = last + "\0"
        metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
        if more:
            metadata["continue"] = options.make_token(page.revision, last)
            if match is None:
                metadata["remainingItemCount"] = page.remaining
        return found, metadata

    async def _page(self, keys: KeyRange, at: int | None, limit: int) -> Page:
        try:
            return await self._store.read(keys, at=at, limit=limit)
        except Compacted:
            if not keys.start.endswith("\0"):
                raise expired("The resourceVersion for the provided list is too old.") from None
            token = options.make_token(options.NEWEST, keys.start.removesuffix("\0"))
            raise expired(_TOO_OLD, token) from None
        except FutureRevision:
            raise too_large_revision(at or 0, self._cache.revision) from None


def _take(
    page: Page, limit: int, match: Callable[[Item], bool] | None, found: list[bytes]
) -> tuple[str, bool]:
    """Add what matches to `found`, up to `limit`; the last key looked at, and whether more come after it."""
    for entry in page.entries:
        item = Item(entry.key, entry.value, entry.mod_revision, entry.create_revision)
        if match is None or match(item):
            found.append(item.data)
            if len(found) == limit:
                return entry.key, bool(page.remaining) or entry.key != page.entries[-1].key
    return (page.entries[-1].key if page.entries else ""), bool(page.remaining)
