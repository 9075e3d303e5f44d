"""Sets of field paths in the shape of FieldsV1, with the algebra that ownership needs.

A set is a tree whose keys are path elements in their FieldsV1 text (`f:spec`, `k:{"name":"a"}`, `v:"x"`,
`i:0`). A node is a member of the set where it holds "." or nothing at all. So reading and writing
managedFields costs next to nothing, and every operation is one walk over plain dicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

Tree: TypeAlias = dict[str, Any]
PathElements: TypeAlias = tuple[str, ...]

_SELF: Final = "."
_PREFIX_ORDER: Final = {"f:": 0, "k:": 1, "v:": 2, "i:": 3}
_json: Final = msgspec.json.Encoder()
_sorted_json: Final = msgspec.json.Encoder(order="sorted")
# Path elements of items that are remembered: containers and ports are called alike in most objects.
_REMEMBERED_KEYS: Final = 4_096
# Sets that are remembered: what a manager owns is the same in most objects that it writes.
_REMEMBERED_SETS: Final = 512
_REMEMBERED_SET_BYTES: Final = 8_192
_INDEX: Final = re.compile(r"i:-?[0-9]+")


class FieldSet:
    """A set of field paths. Immutable: every operation gives a new set."""

    __slots__ = ("in_order", "tree")

    def __init__(self, tree: Tree | None = None) -> None:
        """`tree` must be in normal form, as `parse` and the operations make it."""
        self.tree: Tree = tree if tree is not None else {}
        # The same as it is written, once somebody has asked for that: see `ordered`.
        self.in_order: Tree | None = None

    def __bool__(self) -> bool:
        return bool(self.tree)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, FieldSet) and self.tree == other.tree)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.paths())))

    def __repr__(self) -> str:
        return f"FieldSet({', '.join(map(path_text, self.paths()))})"

    def __or__(self, other: FieldSet) -> FieldSet:
        """Paths in either."""
        return FieldSet(_union(self.tree, other.tree))

    def __le__(self, other: FieldSet) -> bool:
        """Whether all paths of this set are in `other`."""
        return _is_within(self.tree, other.tree)

    def __and__(self, other: FieldSet) -> FieldSet:
        """Paths in both."""
        return FieldSet(_intersection(self.tree, other.tree))

    def __sub__(self, other: FieldSet) -> FieldSet:
        """Paths of this set that are not in `other`; a member of `other` takes only itself away."""
        return FieldSet(_difference(self.tree, other.tree))

    def without(self, other: FieldSet) -> FieldSet:
        """Paths of this set that neither are in `other` nor lie below a member of it."""
        return FieldSet(_recursive_difference(self.tree, other.tree))

    def __contains__(self, path: PathElements) -> bool:
        node = self.tree
        for element in path:
            if element not in node:
                return False
            node = node[element]
        return bool(path) and is_member(node)

    def paths(self) -> Iterator[PathElements]:
        """Every member path, each level's members before what is below them."""
        return _paths(self.tree, ())


EMPTY: Final = FieldSet()


def of(*paths: PathElements) -> FieldSet:
    """The set of these paths."""
    tree: Tree = {}
    for path in paths:
        insert(tree, path)
    return FieldSet(tree)


def insert(tree: Tree, path: PathElements) -> None:
    """Make `path` a member of `tree`, in place; `tree` stays in normal form."""
    if not path:
        return
    node = tree
    created = False
    for element in path:
        following = node.get(element)
        if following is None:
            # A leaf that gets its first child must say that it was a member itself.
            if not created and not node and node is not tree:
                node[_SELF] = {}
            following = node[element] = {}
            created = True
        node = following
    if node and not created:
        node[_SELF] = {}


def parse(fields: Mapping[str, Any]) -> FieldSet:
    """The set that a FieldsV1 object writes. Raises ValueError where it is not one."""
    data = _json.encode(fields)
    return _parse(data) if len(data) <= _REMEMBERED_SET_BYTES else FieldSet(_parsed(fields, top=True))


@lru_cache(maxsize=_REMEMBERED_SETS)
def _parse(data: bytes) -> FieldSet:
    return FieldSet(_parsed(msgspec.json.decode(data), top=True))


def ordered(fields: FieldSet) -> Tree:
    """The tree with its elements in the order in which kube-apiserver writes them. Not to be changed."""
    made = fields.in_order
    if made is None:
        data = _json.encode(fields.tree)
        made = _ordered(data) if len(data) <= _REMEMBERED_SET_BYTES else _in_order(fields.tree)
        fields.in_order = made
    return made


@lru_cache(maxsize=_REMEMBERED_SETS)
def _ordered(data: bytes) -> Tree:
    return _in_order(msgspec.json.decode(data))


def is_member(node: Tree) -> bool:
    """Whether a node of a tree is in the set itself, not only what is below it."""
    return not node or _SELF in node


def children(node: Tree) -> Iterator[tuple[str, Tree]]:
    """The elements below a node."""
    return ((element, child) for element, child in node.items() if element != _SELF)


def field(name: str) -> str:
    """The path element of a field or of a map's key."""
    return f"f:{name}"


def key(fields: Mapping[str, Any]) -> str:
    """The path element of a list's item that these key fields name."""
    try:
        return _key(tuple(fields), *fields.values())
    except TypeError:  # a list or a map, which names nothing, but is written all the same
        return f"k:{_sorted_json.encode(fields).decode()}"


# `typed`, as 1 and true are the same to a dictionary.
@lru_cache(maxsize=_REMEMBERED_KEYS, typed=True)
def _key(names: tuple[str, ...], *values: Any) -> str:
    return f"k:{_sorted_json.encode(dict(zip(names, values, strict=True))).decode()}"


def value(item: Any) -> str:
    """The path element of an item of a set."""
    return f"v:{_sorted_json.encode(item).decode()}"


def path_text(path: PathElements) -> str:
    """A path as people read it: `.spec.containers[name="web"].image`."""
    return "".join(map(_element_text, path))


def quoted(text: str) -> str:
    """A text in double quotes, as Go's %q writes it."""
    return msgspec.json.encode(text).decode()


def _element_text(element: str) -> str:
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "k:":
        fields = msgspec.json.decode(text)
        return f"[{','.join(f'{name}={_compact(item)}' for name, item in fields.items())}]"
    return f"[={text}]" if kind == "v:" else f"[{text}]"


def _compact(item: Any) -> str:
    return _sorted_json.encode(item).decode()


def _parsed(fields: Mapping[str, Any], *, top: bool) -> Tree:
    tree: Tree = {}
    for element, below in fields.items():
        if type(below) is not dict and not isinstance(below, Mapping):
            raise ValueError(f"FieldsV1: {element!r} must hold an object")
        if element == _SELF:
            if top:
                continue  # the root is never a member
            tree[_SELF] = {}
        else:
            # Most are fields, and most of those are leaves.
            name = element if element.startswith("f:") else _canonical(element)
            tree[name] = _parsed(below, top=False) if below else {}
    if len(tree) == 1 and _SELF in tree:
        return {}
    return tree


@lru_cache(maxsize=_REMEMBERED_KEYS)
def _canonical(element: str) -> str:
    prefix = element[:2]
    if prefix == "f:":
        return element
    if prefix not in _PREFIX_ORDER:
        raise ValueError(f"FieldsV1: {element!r} must begin with f:, k:, v: or i:")
    if prefix == "i:":
        if not _INDEX.fullmatch(element):
            raise ValueError(f"FieldsV1: {element!r} must hold a number")
        return element
    try:
        content = msgspec.json.decode(element[2:])
    except msgspec.DecodeError as error:
        raise ValueError(f"FieldsV1: {element!r} must hold JSON: {error}") from None
    if prefix == "k:" and not (isinstance(content, dict) and content):
        raise ValueError(f"FieldsV1: {element!r} must hold an object of keys")
    return prefix + _compact(content)


def _paths(tree: Tree, at: PathElements) -> Iterator[PathElements]:
    # Members of one level come before what is below them, as structured-merge-diff iterates.
    level = sorted(children(tree), key=lambda item: _order(item[0]))
    for element, node in level:
        if is_member(node):
            yield (*at, element)
    for element, node in level:
        if node:
            yield from _paths(node, (*at, element))


def _in_order(tree: Tree) -> Tree:
    # A dict is in the order of its insertions; "." comes before all elements.
    own: Tree = {_SELF: {}} if _SELF in tree else {}
    level = sorted(children(tree), key=lambda item: _order(item[0]))
    return own | {element: _in_order(node) if node else node for element, node in level}


def _order(element: str) -> tuple[int, Any]:
    """What elements sort by: names as text, numbers in keys and values as numbers."""
    kind = element[:2]
    place = _PREFIX_ORDER[kind]
    if kind == "f:":
        return (place, element)
    content = msgspec.json.decode(element[2:])
    if kind == "k:":
        return (place, [(name, _value_order(content[name])) for name in sorted(content)])
    return (place, content if kind == "i:" else _value_order(content))


def _value_order(content: Any) -> tuple[int, Any]:
    if isinstance(content, bool) or not isinstance(content, int | float):
        return (1, content) if isinstance(content, str) else (2, _compact(content))
    return (0, content)


def _node(member: bool, below: Tree) -> Tree | None:
    """A node in normal form; None where nothing is left of it."""
    if not below:
        return {} if member else None
    return {_SELF: {}, **below} if member else below


def _union(left: Tree, right: Tree) -> Tree:
    if left is right or not right:
        return left
    merged: Tree = {}
    for element, node in children(left):
        other = right.get(element)
        if other is None or other == node:
            merged[element] = node
        else:
            member = is_member(node) or is_member(other)
            joined = _node(member, _union(_below(node), _below(other)))
            assert joined is not None
            merged[element] = joined
    for element, node in children(right):
        if element not in merged:
            merged[element] = node
    return merged


def _intersection(left: Tree, right: Tree) -> Tree:
    common: Tree = {}
    for element, node in children(left):
        other = right.get(element)
        if other is not None:
            member = is_member(node) and is_member(other)
            shared = _node(member, _intersection(_below(node), _below(other)))
            if shared is not None:
                common[element] = shared
    return common


def _difference(left: Tree, right: Tree) -> Tree:
    rest: Tree = {}
    for element, node in children(left):
        other = right.get(element)
        kept: Tree | None = node
        if other is not None:
            member = is_member(node) and not is_member(other)
            kept = _node(member, _difference(_below(node), _below(other)))
        if kept is not None:
            rest[element] = kept
    return rest


def _is_within(left: Tree, right: Tree) -> bool:
    for element, node in left.items():
        if element == _SELF:
            continue
        other = right.get(element)
        if other is None or (is_member(node) and not is_member(other)) or not _is_within(node, other):
            return False
    return True


def _recursive_difference(left: Tree, right: Tree) -> Tree:
    rest: Tree = {}
    for element, node in children(left):
        other = right.get(element)
        kept: Tree | None = node
        if other is not None:
            if is_member(other):
                continue
            kept = _node(is_member(node), _recursive_difference(_below(node), other))
        if kept is not None:
            rest[element] = kept
    return rest


def _below(node: Tree) -> Tree:
    if _SELF not in node:
        return node
    return {element: child for element, child in node.items() if element != _SELF}
