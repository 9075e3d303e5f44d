"""Audiences found by what they select: each change reaches the same ones as if all had been asked."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.store.audience import Audience, Watcher
from sampan.store.audiences import Audiences
from sampan.store.backend import Change
from sampan.store.items import Event, Item, Match, Pinned, render_json
from sampan.store.watchcache import KindCache

PODS = "/registry/core/pods/"
NODES = ("a", "b", "c")


def node_of(item: Item) -> str:
    node = msgspec.json.decode(item.data)["node"]
    if node == "broken":
        raise ValueError("no node can be told")
    return str(node)


def name_of(item: Item) -> str:
    return item.name


def on(node: str) -> Pinned:
    return Pinned(lambda item: node_of(item) == node, node_of, node)


def value(name: str, node: str) -> bytes:
    return msgspec.json.encode({"metadata": {"resourceVersion": "", "name": name}, "node": node})


def types_of(watcher: Watcher) -> list[tuple[str, str]]:
    found = [msgspec.json.decode(line) for line in watcher._lines]
    return [(event["type"], event["object"]["metadata"]["name"]) for event in found]


class Pods:
    """A kind whose objects this test changes."""

    def __init__(self) -> None:
        self.cache = KindCache(PODS, 0)
        self.revision = 0
        self.there: dict[str, bytes] = {}

    def put(self, name: str, node: str) -> None:
        self.revision += 1
        previous, self.there[name] = self.there.get(name), value(name, node)
        self.cache.apply(
            Change(f"{PODS}default/{name}", self.revision, self.revision, self.there[name], previous)
        )

    def delete(self, name: str) -> None:
        self.revision += 1
        previous = self.there.pop(name)
        self.cache.apply(Change(f"{PODS}default/{name}", self.revision, self.revision, None, previous))


def test_a_pod_that_moves_is_told_of_on_both_sides() -> None:
    pods = Pods()
    watchers = {node: pods.cache.watch(None, match=on(node)) for node in NODES}
    pods.put("p", "")
    pods.put("p", "a")
    pods.put("p", "a")
    pods.put("p", "b")
    pods.delete("p")
    assert types_of(watchers["a"]) == [("ADDED", "p"), ("MODIFIED", "p"), ("DELETED", "p")]
    assert types_of(watchers["b"]) == [("ADDED", "p"), ("DELETED", "p")]
    assert types_of(watchers["c"]) == []


def test_only_those_whom_a_change_may_concern_are_asked() -> None:
    asked: list[str] = []

    def told(node: str) -> Match:
        def match(item: Item) -> bool:
            asked.append(node)
            return node_of(item) == node

        return Pinned(match, node_of, node)

    pods = Pods()
    for node in NODES:
        pods.cache.watch(None, match=told(node))
    pods.put("p", "b")
    assert asked == ["b"]


def test_who_cannot_be_told_apart_all_hear_of_it(caplog: pytest.LogCaptureFixture) -> None:
    pods = Pods()
    watchers = [pods.cache.watch(None, match=on(node)) for node in NODES]
    every = pods.cache.watch(None)
    pods.put("p", "broken")
    assert all(watcher.expired for watcher in watchers)
    assert not every.expired
    assert "cannot be found out" in caplog.text


_STEPS = st.lists(
    st.tuples(st.sampled_from(("p", "q")), st.sampled_from((*NODES, "", None))), min_size=1, max_size=20
)


@given(_STEPS)
def test_what_is_pinned_gets_what_it_would_get_without(steps: list[tuple[str, str | None]]) -> None:
    pods = Pods()
    pairs = []
    for pinned in (*map(on, NODES), Pinned(lambda item: item.name == "p", name_of, "p")):
        loose = lambda item, pinned=pinned: pinned(item)  # noqa: E731 - the same, but nobody can tell by what
        pairs.append((pods.cache.watch(None, match=pinned), pods.cache.watch(None, match=loose)))
    for name, node in steps:
        if node is not None:
            pods.put(name, node)
        elif name in pods.there:
            pods.delete(name)
    for pinned_one, loose_one in pairs:
        assert list(pinned_one._lines) == list(loose_one._lines)


def test_nothing_is_left_of_audiences_that_went() -> None:
    audiences = Audiences()
    item = Item(f"{PODS}default/p", value("p", "a"), 1, 1)
    event = Event("ADDED", item, None)
    made = [Audience(match, render_json, None) for match in (None, on("a"), on("a"), on("b"))]  # type: ignore[arg-type]
    for each in made:
        audiences.add(each)
    assert list(audiences.concerned(event)) == made[:3]
    for each in made:
        audiences.remove(each)
        audiences.remove(each)
    assert not audiences
    assert not list(audiences.concerned(event))
    assert not audiences._pinned
    assert not audiences._loose
