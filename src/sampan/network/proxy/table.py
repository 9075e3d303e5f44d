"""An nftables table as data, and the smallest transaction that turns one into another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

# How many elements one command may carry: keeps lines of a script short enough to read in an error.
_ELEMENTS_PER_COMMAND: Final = 256


class Chain(msgspec.Struct, frozen=True):
    """Rules in order. `hook` is the base chain's declaration, empty for a chain that is jumped to."""

    rules: tuple[str, ...] = ()
    hook: str = ""


class Set(msgspec.Struct, frozen=True):
    """A named set, or with `is_map` a map. `elements` holds the values of a map, "" for those of a set.

    A set whose elements the kernel adds itself (affinity) is declared with none.
    """

    declaration: str
    elements: Mapping[str, str] = {}
    is_map: bool = False


class Table(msgspec.Struct, frozen=True):
    """Everything in one table of the inet family."""

    name: str
    chains: Mapping[str, Chain] = {}
    sets: Mapping[str, Set] = {}


class Command(msgspec.Struct, frozen=True):
    """One step of a transaction."""


class ResetTable(Command, frozen=True):
    """The table exists and is empty, whatever there was."""


class AddTable(Command, frozen=True):
    """The table exists, with what it has."""


class AddSet(Command, frozen=True):
    name: str
    declaration: str
    is_map: bool


class DeleteSet(Command, frozen=True):
    name: str
    is_map: bool


class AddChain(Command, frozen=True):
    name: str
    hook: str


class FlushSet(Command, frozen=True):
    name: str
    is_map: bool


class FlushChain(Command, frozen=True):
    name: str


class DeleteChain(Command, frozen=True):
    name: str


class AddRule(Command, frozen=True):
    chain: str
    rule: str


class AddElements(Command, frozen=True):
    name: str
    elements: tuple[tuple[str, str], ...]


class DeleteElements(Command, frozen=True):
    name: str
    keys: tuple[str, ...]


def replacement(table: Table) -> tuple[Command, ...]:
    """The transaction that leaves exactly `table`, whatever was there under its name before.

    A connection that begins at that very moment may miss both the old and the new base chains.
    """
    return (ResetTable(), *_changes(Table(table.name), table))


def refreshment(table: Table) -> tuple[Command, ...]:
    """The transaction that puts `table` back where somebody took it away, whole or in part.

    Base chains that are still there stay hooked, so that no connection misses them, and what the kernel keeps
    in sets on its own survives. What somebody else added under other names stays as well. The kernel refuses
    all of it where a declaration is another one: then `replacement` helps.
    """
    return tuple(_refreshed(table))


def increment(old: Table, new: Table) -> tuple[Command, ...]:
    """The smallest transaction from `old` to `new`; empty where they are equal.

    A chain that differs is refilled, an element that differs is replaced, all else is left alone: what the
    kernel keeps in sets on its own (affinity) survives. Where a declaration differs the table is replaced.
    """
    return replacement(new) if _redeclared(old, new) else tuple(_changes(old, new))


def script(table: str, commands: Iterable[Command]) -> str:
    """The commands as `nft -f` reads them."""
    return "".join(line + "\n" for command in commands for line in _lines(f"inet {table}", command))


def _redeclared(old: Table, new: Table) -> bool:
    return any(
        name in old.sets and old.sets[name].declaration != item.declaration for name, item in new.sets.items()
    ) or any(name in old.chains and old.chains[name].hook != chain.hook for name, chain in new.chains.items())


def _refreshed(table: Table) -> Iterator[Command]:
    yield AddTable()
    for name, item in table.sets.items():
        yield AddSet(name, item.declaration, item.is_map)
    for name, chain in table.chains.items():
        yield AddChain(name, chain.hook)
        yield FlushChain(name)
    for name, item in table.sets.items():
        if item.elements:
            yield FlushSet(name, item.is_map)
        yield from _elements(name, {}, item.elements)
    for name, chain in table.chains.items():
        yield from _refill(name, Chain(), chain)


def _changes(old: Table, new: Table) -> Iterator[Command]:
    # Whatever is referred to must exist before, and may go only after nothing refers to it any more.
    for name, item in new.sets.items():
        if name not in old.sets:
            yield AddSet(name, item.declaration, item.is_map)
    for name, chain in new.chains.items():
        if name not in old.chains:
            yield AddChain(name, chain.hook)
    for name, chain in new.chains.items():
        yield from _refill(name, old.chains.get(name, Chain()), chain)
    for name, item in new.sets.items():
        yield from _elements(name, old.sets[name].elements if name in old.sets else {}, item.elements)
    gone_chains = [name for name in old.chains if name not in new.chains]
    gone_sets = [(name, item) for name, item in old.sets.items() if name not in new.sets]
    yield from (FlushChain(name) for name in gone_chains)
    yield from (DeleteSet(name, item.is_map) for name, item in gone_sets)
    yield from (DeleteChain(name) for name in gone_chains)


def _refill(name: str, old: Chain, new: Chain) -> Iterator[Command]:
    if old.rules == new.rules:
        return
    kept = len(old.rules)
    if not old.rules or new.rules[:kept] != old.rules:
        kept = 0
        if old.rules:
            yield FlushChain(name)
    for rule in new.rules[kept:]:
        yield AddRule(name, rule)


def _elements(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Command]:
    gone = [key for key, value in old.items() if key not in new or new[key] != value]
    come = [(key, value) for key, value in new.items() if key not in old or old[key] != value]
    for start in range(0, len(gone), _ELEMENTS_PER_COMMAND):
        yield DeleteElements(name, tuple(gone[start : start + _ELEMENTS_PER_COMMAND]))
    for start in range(0, len(come), _ELEMENTS_PER_COMMAND):
        yield AddElements(name, tuple(come[start : start + _ELEMENTS_PER_COMMAND]))


def _lines(table: str, command: Command) -> tuple[str, ...]:
    match command:
        case ResetTable():
            # Adding what exists is no error, deleting what does not is one.
            return f"add table {table}", f"delete table {table}", f"add table {table}"
        case AddTable():
            return (f"add table {table}",)
        case AddSet(name, declaration, is_map):
            return (f"add {_noun(is_map)} {table} {name} {{ {declaration} }}",)
        case DeleteSet(name, is_map):
            return (f"delete {_noun(is_map)} {table} {name}",)
        case AddChain(name, hook):
            return (f"add chain {table} {name}" + (f" {{ {hook} }}" if hook else ""),)
        case FlushSet(name, is_map):
            return (f"flush {_noun(is_map)} {table} {name}",)
        case FlushChain(name):
            return (f"flush chain {table} {name}",)
        case DeleteChain(name):
            return (f"delete chain {table} {name}",)
        case AddRule(chain, rule):
            return (f"add rule {table} {chain} {rule}",)
        case AddElements(name, elements):
            listed = ", ".join(f"{key} : {value}" if value else key for key, value in elements)
            return (f"add element {table} {name} {{ {listed} }}",)
        case DeleteElements(name, keys):
            return (f"delete element {table} {name} {{ {', '.join(keys)} }}",)
    raise TypeError(f"{command!r} is no command of an nftables transaction")


def _noun(is_map: bool) -> str:
    return "map" if is_map else "set"
