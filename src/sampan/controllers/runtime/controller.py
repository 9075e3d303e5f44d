"""The shape of a controller: a value that says what it looks at and how it decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from sampan.client.cache import Cache, controller_of
from sampan.client.client import Client
from sampan.client.effects import Plan
from sampan.client.everything import Everything
from sampan.client.executor import Failure
from sampan.client.resources import Resource, resource_of
from sampan.machinery import selectors

T = TypeVar("T")
BACKOFF_FIRST_S: Final = 0.005
BACKOFF_MOST_S: Final = 1000.0


class Key(NamedTuple):
    """What most controllers plan for: one object of their kind."""

    namespace: str
    name: str


class Caches(Protocol):
    """What `gather` may read."""

    def of(self, kind: type[T]) -> Cache[T]:
        """The cache of a kind that the controller watches. Raises KeyError for any other."""
        ...

    def failure(self, key: Hashable) -> Failure | None:
        """What went wrong when the last plan for this key was carried out."""
        ...

    @property
    def everything(self) -> Everything:
        """Every object's metadata; for controllers with an `everything` watch only."""
        ...


class Watch(msgspec.Struct, frozen=True):
    """Changes of `kind` (None: every kind) that make keys be planned again.

    `keys(root, caches, obj)` is asked about the old and the new object. `matters` leaves out changes that can
    make no difference. The keys are planned `delay_s` after the change. Where `same` says that the old and
    the new object have the same keys, it is not asked about both.
    """

    kind: Any
    keys: Callable[[Resource[Any] | None, Caches, Any], Iterable[Hashable]]
    matters: Callable[[Any, Any], bool] = lambda _old, _new: True
    delay_s: float = 0.0
    same: Callable[[Any, Any], bool] = lambda _old, _new: False


class Controller(msgspec.Struct, frozen=True, kw_only=True):
    """A controller. `gather` and `plan` are pure; `survey`, where there is one, asks the server in between.

    `gather(caches, key)` gives what there is to know about a key, or None when there is nothing to do.
    `survey(client, view)` completes that with what caches cannot know. `plan(view, now)` decides.
    `indexes` are added to the caches of the kinds they name.
    """

    name: str
    gather: Callable[[Caches, Any], Any | None]
    plan: Callable[[Any, datetime], Plan]
    kind: Any = None
    watches: tuple[Watch, ...] = ()
    survey: Callable[[Client, Any], Awaitable[Any | None]] | None = None
    indexes: Mapping[Any, Mapping[str, Callable[[Any], Iterable[str]]]] = msgspec.field(default_factory=dict)
    # Which changes of the root kind matter.
    matters: Callable[[Any, Any], bool] = lambda _old, _new: True
    # Whether there can be anything to do for such an object: of a change, for what was or for what is. Says
    # no early for controllers of pods that hardly any pod concerns; what it reads must be watched too.
    wants: Callable[[Caches, Any], bool] | None = None
    # Who its events say that they come from; "": `<name>-controller`.
    reporter: str = ""
    # How long after a change of the root kind its key is planned.
    delay_s: float = 0.0
    workers: int = 5
    backoff_first_s: float = BACKOFF_FIRST_S
    backoff_most_s: float = BACKOFF_MOST_S

    @property
    def kinds(self) -> set[Any]:
        """The kinds whose caches it needs."""
        asked = (self.kind, *(watch.kind for watch in self.watches), *self.indexes)
        return {kind for kind in asked if kind is not None}


def owned(kind: Any, *, adopt: bool = False) -> Watch:
    """Objects whose controller is of the root kind; with `adopt` also free ones that a root selects."""

    def keys(root: Resource[Any] | None, caches: Caches, obj: Any) -> Iterable[Key]:
        assert root is not None
        owner = controller_of(obj)
        namespace = obj.metadata.namespace or ""
        if owner is not None:
            if owner.kind == root.kind and owner.apiVersion.rpartition("/")[0] == root.group:
                return (Key(namespace, owner.name),)
            return ()
        if not adopt or obj.metadata.deletionTimestamp is not None:
            return ()
        candidates = caches.of(root.type).by_namespace(namespace)
        return [Key(namespace, c.metadata.name) for c in candidates if _selects(c, obj)]

    return Watch(kind, keys, same=_belongs_as_before)


def _belongs_as_before(old: Any, new: Any) -> bool:
    before, after = old.metadata, new.metadata
    return bool(
        before.ownerReferences == after.ownerReferences
        and before.labels == after.labels
        and before.deletionTimestamp == after.deletionTimestamp
    )


def mapped(
    kind: Any,
    keys: Callable[[Caches, Any], Iterable[Hashable]],
    matters: Callable[[Any, Any], bool] = lambda _old, _new: True,
    *,
    delay_s: float = 0.0,
) -> Watch:
    """Objects of `kind`, each mapped to the keys that depend on it."""
    return Watch(kind, lambda _root, caches, obj: keys(caches, obj), matters, delay_s)


def cached(kind: Any) -> Watch:
    """Objects that `gather` reads, but whose changes alone are no reason to plan."""
    return Watch(kind, lambda _root, _caches, _obj: ())


def everything(keys: Callable[[Caches, Any], Iterable[Hashable]]) -> Watch:
    """Objects of every kind, each mapped to keys; events are left out."""
    return Watch(None, lambda _root, caches, obj: keys(caches, obj))


def _selects(root: Any, obj: Any) -> bool:
    selector = root.spec.selector
    if isinstance(selector, dict):
        parsed = selectors.from_labels(selector)
    else:
        try:
            parsed = selectors.from_label_selector(selector)
        except selectors.SelectorError:
            return False
    return not parsed.empty and parsed.matches(obj.metadata.labels)


def root_of(controller: Controller) -> Resource[Any] | None:
    """The resource of the controller's kind."""
    return resource_of(controller.kind) if controller.kind is not None else None
