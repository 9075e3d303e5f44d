"""The store as one would write it if neither speed nor memory mattered: a whole dictionary per revision."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sampan.store.backend import (
    Change,
    Committed,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Guard,
    KeyRange,
    Op,
    Page,
    Put,
    Store,
)

T = TypeVar("T")
KEYS = ["/a/", "/a/b", "/a/b/c", "/a/c", "/b/a", "/b/é"]
State = dict[str, Entry]

keys = st.sampled_from(KEYS)
ops = st.lists(
    st.one_of(st.builds(Put, keys, st.binary(max_size=3)), st.builds(Delete, keys)),
    max_size=4,
    unique_by=lambda op: op.key,
)
ranges = st.one_of(
    st.builds(KeyRange.of, keys),
    st.sampled_from([KeyRange.prefix(p) for p in ("/", "/a/", "/a/b", "/c/")]),
    st.builds(KeyRange, keys, keys),
)


class Model:
    """Every state since the beginning."""

    def __init__(self, revision: int) -> None:
        self.states: dict[int, State] = {revision: {}}
        self.first = self.revision = self.floor = revision

    def back(self, steps: int) -> int:
        """The revision so many steps ago, as far as there were any."""
        return max(self.first, self.revision - steps)

    def read(self, keys: KeyRange, at: int, limit: int) -> Page:
        found = [self.states[at][key] for key in sorted(self.states[at]) if key in keys]
        count = limit or len(found)
        return Page(tuple(found[:count]), at, max(0, len(found) - count))

    def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Conflict:
        state = self.states[self.revision]
        for guard in guards:
            if (state[guard.key].mod_revision if guard.key in state else 0) != guard.mod_revision:
                return Conflict(self.revision, tuple(state[g.key] for g in guards if g.key in state))
        after = self.revision + 1
        new = dict(state)
        for op in ops:
            if isinstance(op, Put):
                created = state[op.key].create_revision if op.key in state else after
                new[op.key] = Entry(op.key, op.value, after, created)
            else:
                new.pop(op.key, None)
        if new != state:
            self.states[after] = new
            self.revision = after
        return Committed(self.revision)

    def changes(self, keys: KeyRange, after: int) -> list[Change]:
        changes = []
        for revision in range(after + 1, self.revision + 1):
            old, new = self.states[revision - 1], self.states[revision]
            for key in sorted(old.keys() | new.keys()):
                before, now = old.get(key), new.get(key)
                if key in keys and before != now:
                    created = (now or cast(Entry, before)).create_revision
                    value = now.value if now is not None else None
                    previous = before.value if before is not None else None
                    changes.append(Change(key, revision, created, value, previous))
        return changes


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and the model side by side. Subclasses say how a store is made and opened again."""

    def open(self) -> Store:
        raise NotImplementedError

    def reopen(self) -> None:
        """For stores that outlive their closing."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = self.open()
        self.model = Model(self.run(self.store.read(KeyRange.prefix("/"))).revision)

    @rule(ops=ops, guards=st.lists(st.tuples(keys, st.integers(-1, 2)), max_size=2))
    def commit(self, ops: list[Op], guards: list[tuple[str, int]]) -> None:
        present = self.model.states[self.model.revision]
        made = []
        for key, off in guards:
            # 0 is "must not exist"; else mostly right, sometimes off by a little.
            revision = present[key].mod_revision if key in present else 0
            made.append(Guard(key, revision if off > 0 else max(0, revision + off)))
        assert self.run(self.store.commit(made, ops)) == self.model.commit(made, ops)

    @rule(many=st.lists(ops, min_size=2, max_size=6))
    def commit_at_once(self, many: list[list[Op]]) -> None:
        async def all_of_them() -> list[Committed | Conflict]:
            return await asyncio.gather(*(self.store.commit([], ops) for ops in many))

        assert self.run(all_of_them()) == [self.model.commit([], ops) for ops in many]

    @rule(keys=ranges, back=st.integers(0, 8), limit=st.integers(0, 3))
    def read(self, keys: KeyRange, back: int, limit: int) -> None:
        at = self.model.back(back)
        try:
            page = self.run(self.store.read(keys, at, limit))
        except Compacted as compacted:
            assert at < self.model.floor == compacted.floor
        else:
            assert at >= self.model.floor
            assert page == self.model.read(keys, at, limit)

    @rule(keys=ranges, back=st.integers(0, 8))
    def replay(self, keys: KeyRange, back: int) -> None:
        after = self.model.back(back)
        expected = self.model.changes(keys, after) if after >= self.model.floor else []

        async def first() -> list[Change]:
            batches = cast(Any, self.store.changes(keys, after))
            try:
                return list((await anext(batches)).changes)
            finally:
                await batches.aclose()

        if after < self.model.floor:
            try:
                self.run(first())
            except Compacted:
                return
            raise AssertionError(f"changes after {after} were given, the floor is {self.model.floor}")
        if expected:
            assert self.run(first()) == expected

    @rule(back=st.integers(0, 6))
    def compact(self, back: int) -> None:
        upto = self.model.back(back)
        self.run(self.store.compact(upto))
        self.model.floor = max(self.model.floor, upto)

    @rule()
    def open_again(self) -> None:
        self.reopen()

    @invariant()
    def the_present_is_the_same(self) -> None:
        if hasattr(self, "store"):
            page = self.run(self.store.read(KeyRange.prefix("/")))
            assert page == self.model.read(KeyRange.prefix("/"), self.model.revision, 0)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.run(self.loop.shutdown_asyncgens())
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()
