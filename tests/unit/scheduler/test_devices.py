"""Which devices claims get: cases, and two laws against brute force and under any order of events."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.scheduler.devices.allocator import Search, Taken, Unallocatable
from sampan.scheduler.devices.capacity import taken_by
from sampan.scheduler.devices.inventory import DeviceId, Inventory
from sampan.scheduler.devices.ledger import Devices, Reserve, taken_of
from sampan.scheduler.devices.results import allocation
from sampan.scheduler.devices.selectors import SelectorError
from sampan.schema import api, codec

DRIVER = "d.example.com"
CLASSES = {"any": codec.from_builtins({"metadata": {"name": "any"}, "spec": {}}, api.DeviceClass)}


def slice_of(devices: list[dict[str, Any]], name: str = "s", generation: int = 1, **spec: Any) -> Any:
    pool = {"name": "p", "generation": generation, "resourceSliceCount": spec.pop("count", 1)}
    spec = {"driver": DRIVER, "nodeName": "n", "pool": pool, "devices": devices, **spec}
    whole = {"metadata": {"name": name}, "spec": spec}
    return codec.from_builtins(whole, api.ResourceSlice)


def claim_of(requests: list[dict[str, Any]], constraints: Any = (), uid: str = "c", **status: Any) -> Any:
    devices = {"requests": requests, "constraints": list(constraints)}
    meta = {"name": uid, "namespace": "default", "uid": uid, "resourceVersion": "1"}
    return codec.from_builtins(
        {"metadata": meta, "spec": {"devices": devices}, "status": status}, api.ResourceClaim
    )


def exactly(name: str = "r", *, cel: str = "", **more: Any) -> dict[str, Any]:
    selectors = [{"cel": {"expression": cel}}] if cel else []
    return {"name": name, "exactly": {"deviceClassName": "any", "count": 1, "selectors": selectors, **more}}


def device(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


def found(inventory: Inventory, *claims: Any, taken: Taken | None = None) -> list[list[str]] | None:
    search = Search(inventory, taken or Taken(), CLASSES, {})
    got = search.run(claims, inventory.on("n", {}))
    return [[c.id.device for c in each.devices] for each in got] if got is not None else None


A, B, C = (device(n, attributes={"model": {"string": n}, "rank": {"int": i}}) for i, n in enumerate("abc"))
BIG = device(
    "big",
    attributes={"driverVersion": {"version": "2.1.0"}, "other.example.com/kind": {"string": "x"}},
    capacity={"memory": {"value": "40Gi"}},
)


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        (f'device.driver == "{DRIVER}"', True),
        (f'device.attributes["{DRIVER}"].driverVersion.compareTo(semver("2.0.0")) >= 0', True),
        (f'device.capacity["{DRIVER}"].memory.compareTo(quantity("20Gi")) > 0', True),
        (f'device.capacity["{DRIVER}"].memory.isGreaterThan(quantity("80Gi"))', False),
        ('device.attributes["other.example.com"].kind == "x"', True),
        ('"kind" in device.attributes["absent.example.com"]', False),
        ("device.allowMultipleAllocations", False),
    ],
)
def test_selectors(expression: str, chosen: bool) -> None:
    inventory = Inventory([slice_of([BIG])])
    assert found(inventory, claim_of([exactly(cel=expression)])) == ([["big"]] if chosen else None)


def test_a_selector_without_a_value_says_so() -> None:
    broken = claim_of([exactly(cel=f'device.attributes["{DRIVER}"].absent == "x"')])
    with pytest.raises(SelectorError, match="selector #0: CEL runtime error: no such key: absent"):
        found(Inventory([slice_of([BIG])]), broken)


def model(name: str) -> str:
    return f'device.attributes["{DRIVER}"].model == "{name}"'


TAINTED = device("t", taints=[{"key": "broken", "effect": "NoSchedule"}])
TOLERATES = [{"key": "broken", "operator": "Exists"}]
HALF = [{"counterSet": "card", "counters": {"memory": {"value": "4Gi"}}}]
CARD = [{"name": "card", "counters": {"memory": {"value": "10Gi"}}}]
PARTS = [device(n, consumesCounters=HALF) for n in "xyz"]
SPEED = {"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}}
LINE = device(
    "line",
    attributes={"model": {"string": "l"}},
    allowMultipleAllocations=True,
    capacity={"speed": {"value": "10", "requestPolicy": SPEED}},
)
WHOLE = dict(LINE, capacity={"speed": {"value": "10"}})
FIRST = {
    "name": "r",
    "firstAvailable": [
        {"name": "two", "deviceClassName": "any", "count": 4},
        {"name": "one", "deviceClassName": "any", "count": 1},
    ],
}


@pytest.mark.parametrize(
    ("devices", "requests", "constraints", "expected"),
    [
        ([A, B], [exactly(count=2)], (), ["a", "b"]),
        ([A, B], [exactly(count=3)], (), None),
        (
            [A, B],
            [exactly("q"), exactly("r", cel=model("a"))],
            (),
            ["b", "a"],
        ),  # takes back what it chose first
        ([A, B], [exactly(allocationMode="All", count=None)], (), ["a", "b"]),
        ([], [exactly(allocationMode="All", count=None)], (), None),
        ([A], [FIRST], (), ["a"]),
        ([A, B], [exactly(count=2)], [{"matchAttribute": f"{DRIVER}/model"}], None),
        ([A, B], [exactly(count=2)], [{"distinctAttribute": f"{DRIVER}/model"}], ["a", "b"]),
        ([A, B], [exactly(count=2)], [{"requests": ["x"], "matchAttribute": f"{DRIVER}/model"}], ["a", "b"]),
        ([TAINTED], [exactly()], (), None),
        ([TAINTED], [exactly(tolerations=TOLERATES)], (), ["t"]),
        (PARTS, [exactly(count=2)], (), ["x", "y"]),
        (PARTS, [exactly(count=3)], (), None),
        ([BIG], [exactly(capacity={"requests": {"memory": "20Gi"}})], (), ["big"]),
        ([BIG], [exactly(capacity={"requests": {"memory": "80Gi"}})], (), None),
        ([LINE], [exactly(count=2, capacity={"requests": {"speed": "4"}})], (), ["line", "line"]),
        ([LINE], [exactly(count=3, capacity={"requests": {"speed": "4"}})], (), None),
        ([LINE], [exactly("q", capacity={"requests": {"speed": "4"}}), exactly()], (), ["line", "line"]),
        ([LINE], [exactly(capacity={"requests": {"speed": "9"}})], (), None),  # more than the policy's most
        ([LINE], [exactly(capacity={"requests": {"absent": "1"}})], (), None),
        ([LINE, A], [exactly(count=3)], (), ["line", "line", "line"]),
        ([LINE], [exactly(count=2)], [{"distinctAttribute": f"{DRIVER}/model"}], None),
        ([WHOLE], [exactly(), exactly("s")], (), None),  # what has no policy is taken whole
        ([WHOLE], [exactly(capacity={"requests": {"speed": "4"}}), exactly("s")], (), None),
        ([WHOLE], [exactly(f"r{n}", capacity={"requests": {"speed": "5"}}) for n in "ab"], (), ["line"] * 2),
        (
            [dict(LINE, consumesCounters=[dict(HALF[0], counters={"memory": {"value": "6Gi"}})])],
            [exactly(count=2)],
            (),
            ["line", "line"],
        ),  # counters are consumed once
    ],
)
def test_allocations(devices: Any, requests: Any, constraints: Any, expected: list[str] | None) -> None:
    inventory = Inventory([slice_of(devices), slice_of([], "counters", sharedCounters=CARD)])
    got = found(inventory, claim_of(requests, constraints))
    assert got == ([expected] if expected is not None else None)


@pytest.mark.parametrize(
    ("policy", "asked", "taken"),
    [
        (None, None, "10Gi"),
        (None, "3Gi", "3Gi"),
        ({"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, None, "1Gi"),
        ({"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, "2Gi", "4Gi"),
        ({"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, "5Gi", None),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "step": "512Mi"}}, None, "2Gi"),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "step": "512Mi"}}, "1", "1Gi"),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "step": "512Mi"}}, "1100Mi", "1536Mi"),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "max": "3Gi"}}, "2500Mi", "2500Mi"),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "max": "3Gi"}}, "4Gi", None),
        ({"default": "2", "validRange": {"min": "0", "step": "250m"}}, "300m", "500m"),
        (None, "11Gi", None),
    ],
)
def test_requests_are_raised_to_what_the_policy_allows(policy: Any, asked: Any, taken: str | None) -> None:
    held = {"value": "10Gi", **({"requestPolicy": policy} if policy else {})}
    shared = codec.from_builtins(device("s", capacity={"memory": held}), api.Device)
    wanted = codec.from_builtins(
        {"requests": {f"{DRIVER}/memory": asked}} if asked else {}, api.CapacityRequirements
    )
    got = taken_by(shared, DRIVER, wanted)
    assert ({n: str(a) for n, a in got.items()} if got is not None else None) == (
        {f"{DRIVER}/memory": taken} if taken is not None else None
    )


def test_a_capacity_is_asked_for_once() -> None:
    twice = {"requests": {"memory": "1Gi", f"{DRIVER}/memory": "2Gi"}}
    with pytest.raises(Unallocatable, match='capacity "memory" requested both as'):
        found(Inventory([slice_of([BIG])]), claim_of([exactly(capacity=twice)]))


def test_what_claims_show_is_taken_of_a_shared_device() -> None:
    inventory = Inventory([slice_of([LINE])])
    claim = claim_of([exactly(count=2, capacity={"requests": {"speed": "3"}})])
    (claimed,) = Search(inventory, Taken(), CLASSES, {}).run([claim], inventory.on("n", {})) or []
    written = allocation(claimed, inventory, CLASSES, "n")
    assert [{n: str(a) for n, a in r.consumedCapacity.items()} for r in written.devices.results] == [
        {"speed": "4"}
    ] * 2
    assert len({r.shareID for r in written.devices.results}) == 2
    taken = taken_of([written, written, None], inventory)  # as promised, and as the watch shows it
    assert {n: int(a) for n, a in taken.shares[DeviceId(DRIVER, "p", "line")].items()} == {
        f"{DRIVER}/speed": 8
    }
    assert found(inventory, claim_of([exactly()]), taken=taken) == [["line"]]
    assert found(inventory, claim_of([exactly(count=2)]), taken=taken) is None
    alone = Inventory([slice_of([dict(LINE, allowMultipleAllocations=False)])])
    assert found(alone, claim_of([exactly()]), taken=taken_of([written], alone)) is None


def test_rules_taint_the_devices_that_they_select() -> None:
    def rule(**selector: str) -> Any:
        spec = {"taint": {"key": "broken", "effect": "NoSchedule"}, "deviceSelector": selector}
        return codec.from_builtins({"metadata": {"name": "r"}, "spec": spec}, api.DeviceTaintRule)

    others: dict[str, str] = {"driver": "other.example.com"}
    for selector, left in (({"device": "a"}, [["b"]]), (others, [["a"]]), ({"pool": "p"}, None), ({}, None)):
        inventory = Inventory([slice_of([A, B])], [rule(**selector)])
        assert found(inventory, claim_of([exactly()])) == left
    everywhere = Inventory([slice_of([A])], [rule()])
    assert found(everywhere, claim_of([exactly(tolerations=TOLERATES)])) == [["a"]]
    unchosen = codec.from_builtins(
        {"metadata": {"name": "r"}, "spec": {"taint": {"key": "k", "effect": "NoExecute"}}},
        api.DeviceTaintRule,
    )
    assert found(Inventory([slice_of([A])], [unchosen]), claim_of([exactly()])) == [["a"]]


def test_admins_get_what_others_have() -> None:
    inventory = Inventory([slice_of([A])])
    taken = Taken(frozenset({DeviceId(DRIVER, "p", "a")}))
    assert found(inventory, claim_of([exactly()]), taken=taken) is None
    assert found(inventory, claim_of([exactly(adminAccess=True)]), taken=taken) == [["a"]]


def test_only_the_latest_generation_counts_and_only_when_it_is_whole() -> None:
    old, new = slice_of([A], "old"), slice_of([B], "new", generation=2)
    assert found(Inventory([old, new]), claim_of([exactly()])) == [["b"]]
    half = slice_of([B], "new", generation=2, count=2)
    assert found(Inventory([old, half]), claim_of([exactly()])) is None
    rest = slice_of([C], "rest", generation=2, count=2)
    assert found(Inventory([half, rest]), claim_of([exactly(count=2)])) == [["b", "c"]]


def test_devices_for_some_nodes() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z"]}]}
    selector = {"nodeSelectorTerms": [term]}
    inventory = Inventory(
        [slice_of([device("w", nodeSelector=selector), device("n", nodeName="m")], nodeName=None,
                  perDeviceNodeSelection=True)]
    )  # fmt: skip
    assert [d.id.device for d in inventory.on("m", {})] == ["n"]
    assert [d.id.device for d in inventory.on("k", {"zone": "z"})] == ["w"]


# -- laws ------------------------------------------------------------------------------------------------

MODELS = st.sampled_from("uvw")
NODES = st.lists(st.tuples(MODELS, st.integers(0, 3)), max_size=5)
REQUESTS = st.lists(st.tuples(st.integers(1, 3), st.none() | MODELS), min_size=1, max_size=3)
CONSTRAINTS = st.sampled_from([(), ("matchAttribute",), ("distinctAttribute",)])


@settings(max_examples=150, deadline=None)
@given(NODES, REQUESTS, CONSTRAINTS, st.integers(0, 6))
def test_what_brute_force_finds_is_found(
    kinds: list[tuple[str, int]],
    wanted: list[tuple[int, str | None]],
    constrained: tuple[str, ...],
    total: int,
) -> None:
    devices = [
        device(
            f"d{n}",
            attributes={"model": {"string": kind}},
            consumesCounters=[{"counterSet": "card", "counters": {"memory": {"value": str(uses)}}}],
        )
        for n, (kind, uses) in enumerate(kinds)
    ]
    card = [{"name": "card", "counters": {"memory": {"value": str(total)}}}]
    inventory = Inventory([slice_of(devices), slice_of([], "counters", sharedCounters=card)])
    requests = [
        exactly(f"r{n}", count=count, cel=model(kind) if kind else "")
        for n, (count, kind) in enumerate(wanted)
    ]
    got = found(inventory, claim_of(requests, [{key: f"{DRIVER}/model"} for key in constrained]))

    def fits(chosen: tuple[int, ...]) -> bool:
        flat = iter(chosen)
        for count, kind in wanted:
            if any(kind is not None and kinds[next(flat)][0] != kind for _ in range(count)):
                return False
            if kind is None:
                for _ in range(count):
                    next(flat)
        models = [kinds[n][0] for n in chosen]
        return (
            sum(kinds[n][1] for n in chosen) <= total
            and ("matchAttribute" not in constrained or len(set(models)) == 1)
            and ("distinctAttribute" not in constrained or len(set(models)) == len(models))
        )

    slots = sum(count for count, _ in wanted)
    possible = any(fits(chosen) for chosen in itertools.permutations(range(len(kinds)), slots))
    assert (got is not None) == possible
    if got is not None:
        assert fits(tuple(int(name[1:]) for name in got[0]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=3),
    st.lists(st.tuples(st.integers(1, 2), st.none() | st.integers(1, 5)), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_what_brute_force_finds_of_shared_devices_is_found(
    kinds: list[tuple[int, bool]], wanted: list[tuple[int, int | None]], step: int
) -> None:
    """Devices with room for so much, some of them for one allocation only; requests for so much each."""
    policy = {"default": str(step), "validRange": {"min": "0", "step": str(step)}}
    devices = [
        device(
            f"d{n}",
            allowMultipleAllocations=shared,
            capacity={"room": {"value": str(room), "requestPolicy": policy}},
        )
        for n, (room, shared) in enumerate(kinds)
    ]
    requests = [
        exactly(f"r{n}", count=count, capacity={"requests": {"room": str(room)}} if room else None)
        for n, (count, room) in enumerate(wanted)
    ]
    got = found(Inventory([slice_of(devices)]), claim_of(requests))
    slots = [-(-room // step) * step if room else step for count, room in wanted for _ in range(count)]

    def fits(chosen: tuple[int, ...]) -> bool:
        for n, (room, shared) in enumerate(kinds):
            mine = [amount for amount, device in zip(slots, chosen, strict=True) if device == n]
            if sum(mine) > room or (not shared and len(mine) > 1):
                return False
        return True

    assert (got is not None) == any(
        fits(chosen) for chosen in itertools.product(range(len(kinds)), repeat=len(slots))
    )
    if got is not None:
        assert fits(tuple(int(name[1:]) for name in got[0]))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["decide", "commit", "answer", "fail", "see", "end", "slices", "restart"]),
        st.integers(0, 7),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_no_device_is_ever_given_twice(steps: list[tuple[str, int]]) -> None:
    """The server holds claims; the watch shows them late; answers come late or are lost."""
    cluster = _Cluster()
    for step, number in steps:
        getattr(cluster, step)(number)
        cluster.check()


class _Cluster:
    def __init__(self) -> None:
        self.version = 1
        self.stored: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}
        self.writing: list[list[Any]] = []  # [work, resourceVersion once it is stored]
        self.made = 0
        self.slice: Any = None
        self.ledger = Devices()
        self.slices(0)

    def check(self) -> None:
        held = [
            result
            for claim in self.stored.values()
            if claim.status.allocation is not None
            for result in claim.status.allocation.devices.results
        ]
        whole = [r.device for r in held if r.shareID is None]
        shared = [r.device for r in held if r.shareID is not None]
        assert len(whole) == len(set(whole)) and not set(whole) & set(shared)
        used = [int(r.consumedCapacity["speed"].value) for r in held if r.shareID is not None]
        assert sum(used) <= 10  # of the one device that is shared
        assert len({r.shareID for r in held if r.shareID is not None}) == len(shared)

    def decide(self, number: int) -> None:
        self.made += 1
        share = {"requests": {"speed": str(number)}} if number > 3 else None
        claim = claim_of([exactly(count=1 + number % 2, capacity=share)], uid=f"c{self.made}")
        self.stored[f"c{self.made}"] = claim
        self._show(f"c{self.made}")
        inventory = self.ledger.inventory
        search = Search(inventory, self.ledger.taken, CLASSES, self.ledger.seen)
        got = search.run([claim], inventory.on("n", {}))
        if got is None:
            return
        work = Reserve(claim, "n", allocation(got[0], inventory, CLASSES, "n"))
        self.ledger.promise([work])
        self.writing.append([work, 0])

    def commit(self, number: int) -> None:
        """The server stores what is being written, before anybody hears of it."""
        for write in self.writing[number % 3 :][:1]:
            uid = write[0].claim.metadata.uid
            if not write[1] and uid in self.stored:
                self._store(uid, write[0].allocation)
                write[1] = self.version

    def answer(self, number: int) -> None:
        self.commit(number)
        for write in self.writing[number % 3 :][:1]:
            self.writing.remove(write)
            if write[1]:
                self.ledger.written(write[0], str(write[1]))
            else:
                self.ledger.withdraw(write[0])

    def fail(self, number: int) -> None:
        """A write is refused: it was never stored."""
        for write in self.writing[number % 3 :][:1]:
            if not write[1]:
                self.writing.remove(write)
                self.ledger.withdraw(write[0])

    def see(self, number: int) -> None:
        for uid in sorted({*self.stored, *self.shown})[number:][:2]:
            self._show(uid)

    def end(self, number: int) -> None:
        """A claim is given back or deleted."""
        for uid in sorted(self.stored)[number:][:1]:
            if any(write[0].claim.metadata.uid == uid and not write[1] for write in self.writing):
                return
            if number % 2:
                del self.stored[uid]
            else:
                self._store(uid, None)

    def slices(self, number: int) -> None:
        line = dict(LINE, allowMultipleAllocations=number != 7)
        devices = [*(device(f"d{n}") for n in range(2 + number % 4)), line]
        new = slice_of(devices, generation=self.version)
        self.ledger.changed(self.slice, new)
        self.slice = new

    def restart(self, number: int) -> None:
        """Another scheduler begins, with what the server holds; the old one's writes have ended."""
        self.writing.clear()
        self.ledger = Devices()
        self.ledger.changed(None, self.slice)
        self.shown = dict(self.stored)
        for claim in self.shown.values():
            self.ledger.changed(None, claim)

    def _store(self, uid: str, allocation: Any) -> None:
        self.version += 1
        changed = codec.copy(self.stored[uid])
        changed.status.allocation = allocation
        changed.metadata.resourceVersion = str(self.version)
        self.stored[uid] = changed

    def _show(self, uid: str) -> None:
        old, new = self.shown.get(uid), self.stored.get(uid)
        if old is None and new is None:
            return
        self.ledger.changed(old, new)
        if new is None:
            del self.shown[uid]
        else:
            self.shown[uid] = new
