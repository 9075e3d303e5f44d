"""What an informer knows: the objects of one kind, by name, by uid, and by any index."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Generic, TypeVar, cast

T = TypeVar("T")

NAMESPACE: Final = "namespace"
CONTROLLER: Final = "controller"

Index = Callable[[T], Iterable[str]]
Key = tuple[str, str]  # (namespace, name)


def key_of(obj: Any) -> Key:
    """`(namespace, name)`; the namespace is empty for cluster scope."""
    meta = obj.metadata
    return meta.namespace or "", meta.name or ""


def controller_of(obj: Any) -> Any | None:
    """The owner reference of the controller that manages `obj`, if one does."""
    for owner in obj.metadata.ownerReferences:
        if owner.controller:
            return owner
    return None


def _namespaces(obj: Any) -> Iterable[str]:
    return (obj.metadata.namespace or "",)


def _controllers(obj: Any) -> Iterable[str]:
    owner = controller_of(obj)
    return (owner.uid,) if owner is not None else ()


class Order(Generic[T]):
    """An index that is asked who comes before whom: `places(obj)` gives groups, and the place in each.

    Places are tuples that compare with each other; no two objects of a group have the same.
    """

    def __init__(self, places: Callable[[T], Iterable[tuple[str, tuple[str, ...]]]]) -> None:
        self._places = places

    def __call__(self, obj: T) -> Iterable[str]:
        return (group for group, _ in self._places(obj))

    def places(self, obj: T) -> Iterable[tuple[str, tuple[str, ...]]]:
        return self._places(obj)


class Cache(Generic[T]):
    """Objects as the server last showed them. They are shared: never change one in place.

    Every cache has the indexes `namespace` and `controller` (the uid of the managing owner).
    """

    def __init__(self, indexes: Mapping[str, Index[T]] | None = None) -> None:
        self._objects: dict[Key, T] = {}
        self._uids: dict[str, T] = {}
        self._seen_at: dict[Key, datetime] = {}
        # Of each index its function, and the objects by what that gave.
        self._indexes: dict[str, tuple[Index[T], dict[str, dict[Key, T]]]] = {
            NAMESPACE: (_namespaces, {}),
            CONTROLLER: (_controllers, {}),
        }
        # Of indexes that are an Order: the places that are taken in each group, sorted.
        self._orders: dict[str, tuple[Order[T], dict[str, list[tuple[str, ...]]]]] = {}
        for name, function in (indexes or {}).items():
            self.add_index(name, function)

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get((namespace, name))

    def seen_at(self, namespace: str, name: str) -> datetime | None:
        """When we saw the object's last change, on our own clock: what others write may be out of step."""
        return self._seen_at.get((namespace, name))

    def by_uid(self, uid: str) -> T | None:
        return self._uids.get(uid)

    def items(self) -> list[T]:
        """Every object, in the order in which they became known."""
        return list(self._objects.values())

    def keys(self) -> list[Key]:
        return list(self._objects)

    def by_index(self, index: str, value: str) -> list[T]:
        """The objects for which the index function gave `value`. Raises KeyError for an unknown index."""
        held = self._indexes[index][1].get(value)
        return list(held.values()) if held else []

    def count(self, index: str, value: str) -> int:
        """How many objects `by_index` would give."""
        return len(self._indexes[index][1].get(value, ()))

    def before(self, index: str, group: str, place: tuple[str, ...]) -> int:
        """How many objects of the group come before `place`. Raises KeyError where it is no Order."""
        return bisect_left(self._orders[index][1].get(group, ()), place)

    def last(self, index: str, group: str) -> tuple[str, ...] | None:
        """The last place that is taken in the group."""
        taken = self._orders[index][1].get(group)
        return taken[-1] if taken else None

    def by_namespace(self, namespace: str) -> list[T]:
        return self.by_index(NAMESPACE, namespace)

    def controlled_by(self, uid: str) -> list[T]:
        """The objects whose controller has this uid."""
        return self.by_index(CONTROLLER, uid)

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def add_index(self, name: str, function: Index[T]) -> None:
        """Index by `function` from now on. The same name and function may be added again."""
        known = self._indexes.get(name)
        if known is not None:
            if known[0] is not function:
                raise ValueError(f"the index {name!r} exists with another function; choose another name")
            return
        index: dict[str, dict[Key, T]] = {}
        self._indexes[name] = function, index
        for key, obj in self._objects.items():
            _enter(function, index, key, obj)
        if isinstance(function, Order):
            groups: dict[str, list[tuple[str, ...]]] = {}
            self._orders[name] = function, groups
            for obj in self._objects.values():
                _enter_order(function, groups, obj)

    def put(self, obj: T, seen_at: datetime | None = None) -> T | None:
        """Hold `obj`; gives what was held under its name before."""
        key = key_of(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        if seen_at is not None:
            self._seen_at[key] = seen_at
        uid = cast(Any, obj).metadata.uid
        if old is not None:
            before = cast(Any, old).metadata.uid
            if before and before != uid and self._uids.get(before) is old:
                del self._uids[before]
        if uid:
            self._uids[uid] = obj
        for function, index in self._indexes.values():
            if old is None:
                _enter(function, index, key, obj)
            else:
                _replace(function, index, key, old, obj)
        for order, groups in self._orders.values():
            if old is not None:
                _leave_order(order, groups, old)
            _enter_order(order, groups, obj)
        return old

    def remove(self, key: Key) -> T | None:
        """Forget the object; gives what was held."""
        old = self._objects.pop(key, None)
        self._seen_at.pop(key, None)
        if old is not None:
            self._leave_all(key, old)
        return old

    def _leave_all(self, key: Key, old: T) -> None:
        uid = cast(Any, old).metadata.uid
        if uid and self._uids.get(uid) is old:
            del self._uids[uid]
        for function, index in self._indexes.values():
            _leave(index, key, function(old))
        for order, groups in self._orders.values():
            _leave_order(order, groups, old)


def _enter(function: Index[T], index: dict[str, dict[Key, T]], key: Key, obj: T) -> None:
    for value in function(obj):
        held = index.get(value)
        if held is None:
            index[value] = {key: obj}
        else:
            held[key] = obj


def _replace(function: Index[T], index: dict[str, dict[Key, T]], key: Key, old: T, new: T) -> None:
    """Put `new` where `old` was: most changes leave an object under the values that it had."""
    before, after = tuple(function(old)), tuple(function(new))
    if before != after:
        _leave(index, key, before)
    for value in after:
        held = index.get(value)
        if held is None:
            index[value] = {key: new}
        else:
            held[key] = new


def _leave(index: dict[str, dict[Key, T]], key: Key, values: Iterable[str]) -> None:
    for value in values:
        held = index.get(value)
        if held is not None:
            held.pop(key, None)
            if not held:
                del index[value]


def _leave_order(order: Order[T], groups: dict[str, list[tuple[str, ...]]], obj: T) -> None:
    for group, place in order.places(obj):
        taken = groups[group]
        del taken[bisect_left(taken, place)]
        if not taken:
            del groups[group]


def _enter_order(order: Order[T], groups: dict[str, list[tuple[str, ...]]], obj: T) -> None:
    for group, place in order.places(obj):
        insort(groups.setdefault(group, []), place)
