"""Objects as the bytes that clients get, and what happened to them as the lines that watchers get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from sys import intern
from typing import Any, Final

import msgspec

ROOT: Final = "/registry/"
ADDED: Final = "ADDED"
MODIFIED: Final = "MODIFIED"
DELETED: Final = "DELETED"
BOOKMARK: Final = "BOOKMARK"

_VERSION_FIELD: Final = b'"resourceVersion":"'


def splice(value: bytes, revision: int) -> bytes:
    """The stored object with its revision put in.

    The first resourceVersion in the bytes is metadata's own: schema.compile writes it before all else. What
    stands there in the store is who has written the object (`Item.owners`).
    """
    at = value.index(_VERSION_FIELD) + len(_VERSION_FIELD)
    return b"%b%d%b" % (value[:at], revision, value[value.index(b'"', at) :])


# Most objects of a kind have been written by the same: their texts are one.
@lru_cache(maxsize=4_096)
def _owners(text: bytes) -> str:
    return text.decode()


def unrevised(value: bytes) -> bytes:
    """The object of a create that was tried and not made: it has no revision."""
    at = value.index(_VERSION_FIELD)
    return value[:at] + value[value.index(b'"', at + len(_VERSION_FIELD)) + 2 :]


def respliced(data: bytes, revision: int) -> bytes:
    """An object's bytes with another revision put in."""
    start = data.index(_VERSION_FIELD) + len(_VERSION_FIELD)
    return b"%b%d%b" % (data[:start], revision, data[data.index(b'"', start) :])


def stored(data: bytes, owners: str = "") -> bytes:
    """An object's bytes, or the first of them, with `owners` for the revision: as `splice` gets them."""
    start = data.index(_VERSION_FIELD) + len(_VERSION_FIELD)
    return b"%b%b%b" % (data[:start], owners.encode(), data[data.index(b'"', start) :])


# Sets of labels that are remembered: most objects have those of many others.
_REMEMBERED_LABELS: Final = 4_096


class _Metadata(msgspec.Struct):
    labels: msgspec.Raw = msgspec.Raw()


class _Labelled(msgspec.Struct):
    metadata: _Metadata


_labels = msgspec.json.Decoder(_Labelled)
_label_set = msgspec.json.Decoder(dict[str, str] | None)


@lru_cache(maxsize=_REMEMBERED_LABELS)
def _read_labels(data: bytes) -> Mapping[str, str]:
    return (_label_set.decode(data) if data else None) or {}


class Fields(Mapping[str, str]):
    """Fields by name in little memory: the names are one dictionary for all objects of a kind."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: Iterable[str]) -> None:
        """`places` gives where each name's value stands in `values`."""
        self._places = places
        self._values = tuple(values)

    def __getitem__(self, name: str) -> str:
        return self._values[self._places[name]]

    def get(self, name: str, default: Any = None) -> Any:
        place = self._places.get(name)
        return default if place is None else self._values[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Item:
    """One object at one revision."""

    __slots__ = (
        "_fields",
        "_labels",
        "create_revision",
        "data",
        "key",
        "name",
        "namespace",
        "owners",
        "revision",
    )

    def __init__(self, key: str, value: bytes, revision: int, create_revision: int) -> None:
        self.key = key
        self.namespace, self.name = names_of(key)
        self.revision = revision
        self.create_revision = create_revision
        at = value.index(_VERSION_FIELD) + len(_VERSION_FIELD)
        end = value.index(b'"', at)
        self.data = b"%b%d%b" % (value[:at], revision, value[end:])
        # Who has written it, in short; "" where nobody knows, or the object itself tells.
        self.owners = _owners(value[at:end]) if end > at else ""
        self._labels: Mapping[str, str] | None = None
        self._fields: Mapping[str, str] | None = None

    def at(self, revision: int) -> Item:
        """The same object said to be of another revision."""
        other = Item.__new__(Item)
        other.key, other.namespace, other.name = self.key, self.namespace, self.name
        other.revision, other.create_revision = revision, self.create_revision
        other.data = respliced(self.data, revision)
        other.owners = self.owners
        other._labels, other._fields = self._labels, self._fields
        return other

    @property
    def labels(self) -> Mapping[str, str]:
        if self._labels is None:
            self._labels = _read_labels(bytes(_labels.decode(self.data).metadata.labels))
        return self._labels

    def fields(self, describe: Callable[[Item], Mapping[str, str]]) -> Mapping[str, str]:
        """What field selectors see, computed once by `describe`."""
        if self._fields is None:
            self._fields = describe(self)
        return self._fields


Match = Callable[[Item], bool]
# A value that an item has.
Of = Callable[[Item], str]


class Pinned:
    """A Match that holds for no item of which `of` is not `value`: whoever has many finds it by that."""

    __slots__ = ("_match", "of", "value")

    def __init__(self, match: Match, of: Of, value: str) -> None:
        """`of` must be the same function for the same question."""
        self._match = match
        self.of = of
        self.value = value

    def __call__(self, item: Item) -> bool:
        return self._match(item)


# Turns an event's type and item into the line a watcher gets. One per kind of answer (JSON, Table, …), so
# that the watchers that share it share the line too.
Render = Callable[[str, Item], bytes]


def render_json(event_type: str, item: Item) -> bytes:
    """The line of a plain JSON watch."""
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), item.data)


class Event:
    """A change of one object, with the lines already rendered from it."""

    __slots__ = ("_last", "_lines", "item", "previous", "revision", "type")

    def __init__(self, event_type: str, item: Item, previous: Item | None) -> None:
        self.type = event_type
        self.item = item
        self.previous = previous
        self.revision = item.revision
        self._last: Item | None = None
        self._lines: dict[tuple[str, Render], bytes] | None = None

    def line(self, event_type: str, render: Render) -> bytes:
        """The line for those who get this event as `event_type`: rendered once, until it is forgotten."""
        if self._lines is None:
            self._lines = {}
        made = self._lines.get((event_type, render))
        if made is None:
            made = render(event_type, self._left() if event_type == DELETED else self.item)
            self._lines[(event_type, render)] = made
        return made

    def forget_lines(self) -> None:
        """All who watch have their lines: kept in the history, each event would hold its object twice."""
        self._lines = self._last = None

    def _left(self) -> Item:
        """What a watcher gets to see of an object that went away or out of its selection: how it last was
        there, at the revision of this event."""
        if self.type == DELETED or self.previous is None:
            return self.item
        if self._last is None:
            self._last = self.previous.at(self.revision)
        return self._last


def prefix_of(key: str) -> str:
    """`/registry/core/pods/` of the key of a pod."""
    return key[: key.index("/", key.index("/", len(ROOT)) + 1) + 1]


def names_of(key: str) -> tuple[str, str]:
    """Namespace ("" where there is none) and name of the object with this key."""
    rest = key[key.index("/", key.index("/", len(ROOT)) + 1) + 1 :]
    namespace, slash, name = rest.partition("/")
    # Thousands of objects name the same namespace.
    return (intern(namespace), name) if slash else ("", rest)
