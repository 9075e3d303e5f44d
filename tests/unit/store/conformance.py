"""What every store must do. A backend's tests subclass `StoreConformance` and say how one is made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from typing import Any, Protocol, cast

import pytest

from sampan.store.backend import (
    Batch,
    Change,
    Committed,
    Compacted,
    Conflict,
    Delete,
    Entry,
    FutureRevision,
    Guard,
    KeyRange,
    Op,
    Put,
    Store,
    StoreUnavailable,
)

DEADLINE_S = 30
PODS = KeyRange.prefix("/registry/core/pods/")
ALL = KeyRange.prefix("/registry/")


class MakeStore(Protocol):
    def __call__(self, *, max_unread_changes: int = ...) -> Store: ...


def pod(name: str) -> str:
    return f"/registry/core/pods/default/{name}"


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test()

    asyncio.run(bounded())


async def put(store: Store, key: str, value: bytes) -> int:
    return await done(store, Put(key, value))


async def done(store: Store, *ops: Op) -> int:
    outcome = await store.commit([], ops)
    assert isinstance(outcome, Committed)
    return outcome.revision


async def keys_at(store: Store, keys: KeyRange, at: int | None = None) -> list[str]:
    return [entry.key.removeprefix(pod("")) for entry in (await store.read(keys, at)).entries]


def changes_of(store: Store, keys: KeyRange, after: int) -> aclosing[Any]:
    """The changes, closed when the block ends, so that no reader outlives its test."""
    return aclosing(cast(Any, store.changes(keys, after)))


async def collect(batches: AsyncIterator[Batch], upto: int) -> list[Change]:
    """All changes until a batch says that it is at `upto`."""
    changes: list[Change] = []
    told = 0
    async for batch in batches:
        assert batch.revision >= told
        assert all(told < change.revision <= batch.revision for change in batch.changes)
        told = batch.revision
        changes += batch.changes
        if told >= upto:
            return changes
    raise AssertionError("the changes ended")


def assert_ordered(changes: Iterable[Change]) -> None:
    places = [(change.revision, change.key) for change in changes]
    assert places == sorted(set(places))


class StoreConformance:
    """Subclasses override the fixture `make`."""

    @pytest.fixture
    def make(self) -> MakeStore:
        raise NotImplementedError

    # Revisions and commits

    def test_an_empty_store_has_a_revision_that_is_not_zero(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            page = await store.read(ALL)
            assert page.entries == () and page.remaining == 0
            assert page.revision > 0
            await store.close()

        run(test)

    def test_each_commit_takes_the_next_revision(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            assert await put(store, pod("a"), b"1") == start + 1
            assert await put(store, pod("a"), b"2") == start + 2
            assert await done(store, Delete(pod("a"))) == start + 3
            assert await put(store, pod("a"), b"3") == start + 4
            page = await store.read(KeyRange.of(pod("a")))
            assert page.entries == (Entry(pod("a"), b"3", start + 4, start + 4),)
            await store.close()

        run(test)

    def test_an_update_keeps_the_creation_revision(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            created = await put(store, pod("a"), b"1")
            changed = await put(store, pod("a"), b"")
            page = await store.read(KeyRange.of(pod("a")))
            assert page.entries == (Entry(pod("a"), b"", changed, created),)
            await store.close()

        run(test)

    def test_writing_the_same_value_again_is_a_change(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            first = await put(store, pod("a"), b"1")
            assert await put(store, pod("a"), b"1") == first + 1
            await store.close()

        run(test)

    def test_all_operations_of_a_commit_share_its_revision(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            await put(store, pod("gone"), b"x")
            revision = await done(store, Put(pod("b"), b"2"), Delete(pod("gone")), Put(pod("a"), b"1"))
            page = await store.read(PODS)
            assert [(e.key, e.mod_revision) for e in page.entries] == [
                (pod("a"), revision),
                (pod("b"), revision),
            ]
            assert page.revision == revision
            await store.close()

        run(test)

    def test_many_operations_in_one_commit(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            ops = [Put(pod(f"p{i:04}"), b"%d" % i) for i in range(1500)]
            random.Random(1).shuffle(ops)
            start = (await store.read(ALL)).revision
            revision = await done(store, *ops)
            assert revision == start + 1
            assert await keys_at(store, PODS) == [f"p{i:04}" for i in range(1500)]
            async with changes_of(store, PODS, start) as batches:
                changes = await collect(batches, revision)
            assert len(changes) == 1500
            assert_ordered(changes)
            await store.close()

        run(test)

    def test_deleting_what_does_not_exist_takes_no_revision(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            before = (await store.read(ALL)).revision
            assert await done(store, Delete(pod("a"))) == before
            assert await done(store) == before
            assert await done(store, Delete(pod("a")), Put(pod("b"), b"")) == before + 1
            assert await done(store, Delete(pod("b"))) == before + 2
            assert await done(store, Delete(pod("b"))) == before + 2
            assert (await store.read(ALL)).revision == before + 2
            await store.close()

        run(test)

    def test_a_key_may_stand_in_a_commit_once(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            before = (await store.read(ALL)).revision
            with pytest.raises(ValueError, match="twice"):
                await store.commit([], [Put(pod("a"), b"1"), Put(pod("b"), b""), Delete(pod("a"))])
            assert (await store.read(ALL)).revision == before
            assert await put(store, pod("a"), b"1") == before + 1
            await store.close()

        run(test)

    # Guards

    def test_a_guard_holds_at_the_revision_of_the_last_change(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            first = await put(store, pod("a"), b"1")
            outcome = await store.commit([Guard(pod("a"), first)], [Put(pod("a"), b"2")])
            assert outcome == Committed(first + 1)
            outcome = await store.commit([Guard(pod("a"), first)], [Put(pod("a"), b"3")])
            assert outcome == Conflict(first + 1, (Entry(pod("a"), b"2", first + 1, first),))
            assert (await store.read(KeyRange.of(pod("a")))).entries[0].value == b"2"
            await store.close()

        run(test)

    def test_a_guard_at_zero_means_that_the_key_must_not_exist(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            create = [Guard(pod("a"), 0)]
            first = await store.commit(create, [Put(pod("a"), b"1")])
            assert isinstance(first, Committed)
            again = await store.commit(create, [Put(pod("a"), b"2")])
            assert isinstance(again, Conflict) and again.current[0].value == b"1"
            await done(store, Delete(pod("a")))
            assert await store.commit(create, [Put(pod("a"), b"3")]) == Committed(first.revision + 2)
            await store.close()

        run(test)

    def test_a_guard_on_a_deleted_key_fails(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            first = await put(store, pod("a"), b"1")
            deleted = await done(store, Delete(pod("a")))
            for revision in (first, deleted):
                outcome = await store.commit([Guard(pod("a"), revision)], [Put(pod("a"), b"2")])
                assert outcome == Conflict(deleted, ())
            await store.close()

        run(test)

    def test_one_failing_guard_stops_the_whole_commit(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            a = await put(store, pod("a"), b"1")
            b = await put(store, pod("b"), b"2")
            guards = [Guard(pod("b"), b), Guard(pod("a"), a + 100), Guard(pod("c"), 0)]
            outcome = await store.commit(guards, [Put(pod("b"), b"9"), Put(pod("c"), b"9")])
            assert outcome == Conflict(b, (Entry(pod("b"), b"2", b, b), Entry(pod("a"), b"1", a, a)))
            assert (await store.read(PODS)).revision == b
            assert await keys_at(store, PODS) == ["a", "b"]
            await store.close()

        run(test)

    def test_guards_alone_check_and_change_nothing(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            a = await put(store, pod("a"), b"1")
            assert await store.commit([Guard(pod("a"), a)], []) == Committed(a)
            assert isinstance(await store.commit([Guard(pod("a"), 0)], []), Conflict)
            await store.close()

        run(test)

    def test_of_many_who_create_one_key_at_once_one_wins(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            outcomes = await asyncio.gather(
                *(store.commit([Guard(pod("a"), 0)], [Put(pod("a"), b"%d" % i)]) for i in range(50))
            )
            winners = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Committed)]
            assert len(winners) == 1
            value = b"%d" % winners[0]
            losers = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
            assert [loser.current[0].value for loser in losers] == [value] * 49
            await store.close()

        run(test)

    def test_concurrent_counters_lose_no_increment(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            await put(store, pod("n"), b"0")

            async def increment(times: int) -> None:
                while times:
                    (entry,) = (await store.read(KeyRange.of(pod("n")))).entries
                    value = b"%d" % (int(entry.value) + 1)
                    guard = Guard(pod("n"), entry.mod_revision)
                    times -= isinstance(await store.commit([guard], [Put(pod("n"), value)]), Committed)

            await asyncio.gather(*(increment(10) for _ in range(8)))
            assert (await store.read(KeyRange.of(pod("n")))).entries[0].value == b"80"
            await store.close()

        run(test)

    def test_commits_made_at_once_each_have_their_own_revision(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            revisions = await asyncio.gather(*(put(store, pod(f"{i}"), b"") for i in range(300)))
            assert sorted(revisions) == list(range(start + 1, start + 301))
            await store.close()

        run(test)

    # Reads

    def test_ranges_are_in_the_order_of_utf8_bytes(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            names = ["a", "a-b", "a.b", "a0", "aa", "b", "Z", "é", "\ud7ff", "\ue000", "😀", "a\0"]
            for name in random.Random(3).sample(names, len(names)):
                await put(store, pod(name), name.encode())
            await put(store, "/registry/core/pod", b"before")
            await put(store, "/registry/core/pods0", b"after")
            assert await keys_at(store, PODS) == sorted(names, key=str.encode)
            assert await keys_at(store, KeyRange(pod("a-b"), pod("b"))) == ["a-b", "a.b", "a0", "aa"]
            assert await keys_at(store, KeyRange.of(pod("a"))) == ["a"]
            assert await keys_at(store, KeyRange(pod("b"), pod("a"))) == []
            await store.close()

        run(test)

    def test_limit_and_remaining(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            for i in range(10):
                await put(store, pod(f"{i}"), b"")
            page = await store.read(PODS, limit=4)
            assert [e.key for e in page.entries] == [pod(f"{i}") for i in range(4)]
            assert page.remaining == 6
            rest = KeyRange(page.entries[-1].key + "\0", PODS.end)
            assert (await store.read(rest, limit=6)).remaining == 0
            assert (await store.read(rest, limit=100)).remaining == 0
            assert (await store.read(rest, page.revision, limit=5)).remaining == 1
            assert len((await store.read(PODS, limit=0)).entries) == 10
            await store.close()

        run(test)

    def test_reads_at_an_older_revision_see_the_state_of_then(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            empty = (await store.read(ALL)).revision
            a = await put(store, pod("a"), b"1")
            b = await done(store, Put(pod("b"), b"1"), Put(pod("c"), b"1"))
            change = await put(store, pod("b"), b"2")
            delete = await done(store, Delete(pod("a")), Delete(pod("c")))
            back = await put(store, pod("c"), b"3")
            expected = {
                empty: [],
                a: [Entry(pod("a"), b"1", a, a)],
                b: [Entry(pod(n), b"1", a if n == "a" else b, a if n == "a" else b) for n in "abc"],
                change: [
                    Entry(pod("a"), b"1", a, a),
                    Entry(pod("b"), b"2", change, b),
                    Entry(pod("c"), b"1", b, b),
                ],
                delete: [Entry(pod("b"), b"2", change, b)],
                back: [Entry(pod("b"), b"2", change, b), Entry(pod("c"), b"3", back, back)],
            }
            for at, entries in expected.items():
                page = await store.read(PODS, at)
                assert (list(page.entries), page.revision) == (entries, at)
                for limit in (1, 2):
                    page = await store.read(PODS, at, limit)
                    assert list(page.entries) == entries[:limit]
                    assert page.remaining == max(0, len(entries) - limit)
                one = await store.read(KeyRange.of(pod("a")), at)
                assert list(one.entries) == [e for e in entries if e.key == pod("a")]
            await store.close()

        run(test)

    def test_pages_at_one_revision_do_not_move_while_others_write(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            for i in range(60):
                await put(store, pod(f"{i:03}"), b"old")
            page = await store.read(PODS, limit=7)
            found = list(page.entries)
            while page.remaining:
                for i in range(0, 60, 3):
                    await done(store, Put(pod(f"{i:03}"), b"new"), Put(pod(f"{i:03}-x"), b"new"))
                    await done(store, Delete(pod(f"{i + 1:03}")))
                rest = KeyRange(found[-1].key + "\0", PODS.end)
                page = await store.read(rest, page.revision, 7)
                found += page.entries
                assert len(found) + page.remaining == 60
            assert [(e.key, e.value) for e in found] == [(pod(f"{i:03}"), b"old") for i in range(60)]
            await store.close()

        run(test)

    def test_a_future_revision_cannot_be_read(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            revision = await put(store, pod("a"), b"1")
            with pytest.raises(FutureRevision):
                await store.read(PODS, revision + 1)
            with pytest.raises(FutureRevision):
                await store.compact(revision + 1)
            async with changes_of(store, PODS, revision + 1) as batches:
                with pytest.raises(FutureRevision):
                    await anext(batches)
            await store.close()

        run(test)

    # Compaction

    def test_compaction_forgets_what_is_older_and_nothing_else(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            first = await done(store, Put(pod("a"), b"1"), Put(pod("b"), b"1"), Put(pod("c"), b"1"))
            await done(store, Put(pod("a"), b"2"), Delete(pod("b")))
            floor = await put(store, pod("d"), b"3")
            after = await done(store, Delete(pod("c")), Put(pod("a"), b"4"))
            await store.compact(floor)
            for at in (first, floor - 1):
                with pytest.raises(Compacted) as compacted:
                    await store.read(PODS, at)
                assert compacted.value.floor == floor
            assert [(e.key, e.value) for e in (await store.read(PODS, floor)).entries] == [
                (pod("a"), b"2"),
                (pod("c"), b"1"),
                (pod("d"), b"3"),
            ]
            assert await keys_at(store, PODS, after) == ["a", "d"]
            page = await store.read(PODS)
            assert [(e.value, e.mod_revision, e.create_revision) for e in page.entries] == [
                (b"4", after, first),
                (b"3", floor, floor),
            ]
            await store.compact(first)  # lower than before: no way back, and no error
            with pytest.raises(Compacted):
                await store.read(PODS, first)
            await store.close()

        run(test)

    def test_everything_deleted_and_compacted_leaves_the_revision(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            await put(store, pod("a"), b"1")
            revision = await done(store, Delete(pod("a")))
            await store.compact(revision)
            assert (await store.read(ALL)).revision == revision
            assert (await store.read(ALL, revision)).entries == ()
            assert await put(store, pod("a"), b"2") == revision + 1
            assert await keys_at(store, PODS) == ["a"]
            assert await keys_at(store, PODS, revision) == []
            await store.close()

        run(test)

    def test_compaction_while_others_commit(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            for i in range(2000):
                if i % 20 == 0:
                    await asyncio.gather(*(put(store, pod(f"{i + n:04}"), b"1") for n in range(20)))
            half = (await store.read(ALL)).revision

            async def rewrite() -> None:
                for i in range(0, 2000, 20):
                    await asyncio.gather(*(put(store, pod(f"{i + n:04}"), b"2") for n in range(20)))

            await asyncio.gather(rewrite(), store.compact(half))
            assert len((await store.read(PODS, half)).entries) == 2000
            end = (await store.read(ALL)).revision
            assert end == half + 2000
            await store.compact(end)
            page = await store.read(PODS, end)
            assert [e.value for e in page.entries] == [b"2"] * 2000
            await store.close()

        run(test)

    # Changes

    def test_changes_carry_what_was_and_what_is(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            key = pod("a")

            async def write() -> int:
                await put(store, key, b"1")
                await put(store, key, b"")
                await done(store, Delete(key))
                return await put(store, key, b"3")

            expected = [
                Change(key, start + 1, start + 1, b"1", None),
                Change(key, start + 2, start + 1, b"", b"1"),
                Change(key, start + 3, start + 1, None, b""),
                Change(key, start + 4, start + 4, b"3", None),
            ]
            async with changes_of(store, PODS, start) as batches:
                live = asyncio.ensure_future(collect(batches, start + 4))
                end = await write()
                assert await live == expected
            async with changes_of(store, PODS, start) as batches:
                assert await collect(batches, end) == expected
            async with changes_of(store, PODS, start + 2) as batches:
                assert await collect(batches, end) == expected[2:]
            await store.close()

        run(test)

    def test_a_commit_is_told_whole_and_in_the_order_of_keys(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = await put(store, pod("z"), b"0")
            async with changes_of(store, PODS, start) as live:
                told = asyncio.ensure_future(anext(live))
                await turns()
                end = await done(
                    store, Put(pod("c"), b"1"), Delete(pod("z")), Put(pod("a"), b"1"), Put("/registry/x", b"")
                )
                batch = await told
            assert batch.revision == end
            assert [(c.key, c.revision) for c in batch.changes] == [(pod(n), end) for n in "acz"]
            async with changes_of(store, PODS, start) as replayed:
                assert await anext(replayed) == batch
            await store.close()

        run(test)

    def test_readers_are_told_of_their_own_range_only(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            ranges = [
                ALL,
                PODS,
                KeyRange.prefix(pod("a")),
                KeyRange.of(pod("a")),
                KeyRange(pod("b"), pod("c")),
            ]
            written = [
                pod("a"),
                pod("aa"),
                pod("b"),
                pod("bb"),
                pod("c"),
                "/registry/core/nodes/a",
                "/registry/z",
            ]
            readers = [cast(Any, store.changes(keys, start)) for keys in ranges]
            end = start + len(written) + 1
            tasks = [
                asyncio.ensure_future(until_seen(reader, keys, written))
                for reader, keys in zip(readers, ranges, strict=True)
            ]
            await turns()
            for key in written:
                await put(store, key, b"1")
            for keys, task in zip(ranges, tasks, strict=True):
                assert [c.key for c in await task] == [key for key in written if key in keys]
            assert await put(store, "/registry/z", b"2") == end
            for reader in readers:
                await reader.aclose()
            await store.close()

        run(test)

    def test_readers_come_and_go(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = await put(store, pod("a"), b"0")
            async with changes_of(store, ALL, start) as batches:
                everything = asyncio.ensure_future(collect(batches, start + 6))
                await turns()
                for n in range(3):
                    before = await put(store, pod("a"), b"%d" % n)
                    async with changes_of(store, PODS, before) as joined:
                        told = asyncio.ensure_future(anext(joined))
                        await turns()
                        await put(store, pod("a"), b"+")
                        assert [c.revision for c in (await told).changes] == [before + 1]
                assert [c.revision for c in await everything] == list(range(start + 1, start + 7))
            await store.close()

        run(test)

    def test_changes_have_no_gap_from_any_start_under_load(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            writers, each, names = 8, 150, 40
            end = start + writers * each
            rng = random.Random(5)

            async def write(seed: int) -> None:
                own = random.Random(seed)
                for n in range(each):
                    await put(store, pod(f"{own.randrange(names)}"), b"%d-%d" % (seed, n))
                    await turns(1)

            async def listen(after: int) -> list[Change]:
                async with changes_of(store, PODS, after) as batches:
                    return await collect(batches, end)

            async def join_late() -> list[tuple[int, list[Change]]]:
                heard = [(start, asyncio.ensure_future(listen(start)))]
                while (now := (await store.read(PODS, limit=1)).revision) < end:
                    if len(heard) < 12:
                        after = rng.randint(start, now)
                        heard.append((after, asyncio.ensure_future(listen(after))))
                    await turns(5)
                return [(after, await task) for after, task in heard]

            writing = asyncio.gather(*(write(seed) for seed in range(writers)))
            heard = await join_late()
            await writing
            assert len(heard) > 3
            everything = heard[0][1]
            assert [change.revision for change in everything] == list(range(start + 1, end + 1))
            last: dict[str, bytes] = {}
            for change in everything:
                assert change.previous == last.get(change.key)
                assert change.value is not None
                last[change.key] = change.value
            for after, changes in heard:
                assert changes == everything[after - start :]
            await store.close()

        run(test)

    def test_a_long_past_is_replayed_whole_while_others_write(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            for _ in range(20):
                await asyncio.gather(*(put(store, pod(f"{i}"), b"1") for i in range(60)))
            end = start + 1200 + 300

            async def write() -> None:
                for i in range(300):
                    await put(store, pod(f"{i}"), b"2")

            async with changes_of(store, PODS, start) as batches:
                changes, _ = await asyncio.gather(collect(batches, end), write())
            assert [change.revision for change in changes] == list(range(start + 1, end + 1))
            await store.close()

        run(test)

    def test_a_reader_that_is_too_slow_is_cut_off_and_the_others_are_not(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make(max_unread_changes=20)
            start = await put(store, pod("a"), b"0")
            async with changes_of(store, PODS, start) as slow, changes_of(store, PODS, start) as quick:
                waiting = asyncio.ensure_future(anext(slow))
                heard: list[Change] = []
                reading = asyncio.ensure_future(anext(quick))
                await turns()
                for n in range(60):
                    await put(store, pod("a"), b"%d" % n)
                    heard += (await reading).changes
                    reading = asyncio.ensure_future(anext(quick))
                    await turns()
                assert [c.revision for c in heard] == list(range(start + 1, start + 61))
                first = await waiting
                assert first.changes[0].revision == start + 1
                with pytest.raises(Compacted):
                    while True:
                        await anext(slow)
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading
            # What it lost is still in the store, and a new reader gets it.
            async with changes_of(store, PODS, first.revision) as again:
                changes = await collect(again, start + 60)
            assert [c.revision for c in changes] == list(range(first.revision + 1, start + 61))
            await store.close()

        run(test)

    def test_compaction_bounds_where_changes_may_start(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = await put(store, pod("a"), b"1")
            floor = await put(store, pod("a"), b"2")
            end = await done(store, Delete(pod("a")))
            await store.compact(floor)
            async with changes_of(store, PODS, start) as batches:
                with pytest.raises(Compacted) as compacted:
                    await anext(batches)
                assert compacted.value.floor == floor
            async with changes_of(store, PODS, floor) as batches:
                assert await collect(batches, end) == [Change(pod("a"), end, start, None, b"2")]
            await store.close()

        run(test)

    def test_open_readers_do_not_notice_a_compaction(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = await put(store, pod("a"), b"0")
            async with changes_of(store, PODS, start) as batches, changes_of(store, ALL, start) as idle:
                quiet = asyncio.ensure_future(anext(idle))
                reading = asyncio.ensure_future(collect(batches, start + 30))
                await turns()
                for n in range(1, 31):
                    revision = await put(store, pod("a"), b"%d" % n)
                    await store.compact(revision)
                changes = await reading
                assert [c.revision for c in changes] == list(range(start + 1, start + 31))
                assert [c.previous for c in changes] == [b"%d" % n for n in range(30)]
                assert (await quiet).changes[0].revision == start + 1
                rest = await collect(idle, start + 30)
                assert [c.revision for c in rest][-1] == start + 30
            await store.close()

        run(test)

    def test_a_replay_that_a_compaction_overtakes_says_so(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            for _ in range(20):
                await asyncio.gather(*(put(store, pod("a"), b"%d" % i) for i in range(100)))
            end = start + 2000
            async with changes_of(store, PODS, start) as batches:
                first = await anext(batches)
                assert first.revision < end
                await store.compact(end)
                with pytest.raises(Compacted):
                    await collect(batches, end)
            await store.close()

        run(test)

    def test_a_reader_whose_keys_rest_learns_how_far_the_store_is(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            async with changes_of(store, KeyRange.prefix("/registry/core/nodes/"), start) as batches:
                told = asyncio.ensure_future(anext(batches))
                await turns()
                while not told.done():
                    await asyncio.gather(*(put(store, pod(f"{i}"), b"") for i in range(100)))
                batch = await told
                assert batch.changes == () and batch.revision > start
            await store.close()

        run(test)

    def test_a_cancelled_reader_is_forgotten(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make(max_unread_changes=5)
            start = await put(store, pod("a"), b"0")
            batches = cast(Any, store.changes(PODS, start))
            reading = asyncio.ensure_future(anext(batches))
            await turns()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            for n in range(10):
                await put(store, pod("a"), b"%d" % n)
            with pytest.raises(StopAsyncIteration):
                await anext(batches)
            await store.close()

        run(test)

    # Ends

    def test_close_finishes_what_was_taken(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = (await store.read(ALL)).revision
            commits = [asyncio.ensure_future(put(store, pod(f"{i}"), b"")) for i in range(100)]
            await turns()  # these may be under way, the next ones may have to wait
            commits += [asyncio.ensure_future(put(store, pod(f"{i}"), b"")) for i in range(100, 200)]
            await turns(1)
            await asyncio.gather(store.close(), store.close())
            assert sorted(await asyncio.gather(*commits)) == list(range(start + 1, start + 201))
            await store.close()

        run(test)

    def test_a_closed_store_says_so(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            start = await put(store, pod("a"), b"1")
            async with changes_of(store, PODS, start) as batches:
                reading = asyncio.ensure_future(anext(batches))
                await turns()
                await store.close()
                with pytest.raises(StoreUnavailable, match="closed"):
                    await reading
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.read(PODS)
            with pytest.raises(StoreUnavailable, match="closed"):
                await put(store, pod("a"), b"2")
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.compact(start)
            async with changes_of(store, PODS, start) as batches:
                with pytest.raises(StoreUnavailable, match="closed"):
                    await anext(batches)

        run(test)

    def test_a_cancelled_commit_hinders_nobody(self, make: MakeStore) -> None:
        async def test() -> None:
            store = make()
            commits = [asyncio.ensure_future(put(store, pod(f"{i}"), b"")) for i in range(50)]
            for turn in range(50):
                await turns(1)
                commits[turn].cancel()
            outcomes = await asyncio.gather(*commits, return_exceptions=True)
            end = await put(store, pod("end"), b"")
            page = await store.read(PODS)
            assert page.revision == end
            present = {entry.key for entry in page.entries}
            assert all(
                pod(f"{i}") in present for i, outcome in enumerate(outcomes) if isinstance(outcome, int)
            )
            await store.close()

        run(test)


async def turns(count: int = 3) -> None:
    """Let other tasks run as far as they get without waiting for a thread."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_seen(batches: AsyncIterator[Batch], keys: KeyRange, written: list[str]) -> list[Change]:
    wanted = sum(key in keys for key in written)
    changes: list[Change] = []
    while len(changes) < wanted:
        changes += (await anext(batches)).changes
    return changes
