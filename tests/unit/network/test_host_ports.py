"""Host ports of pods: who gets which, and what the node does for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.base.clock import SimulatedClock
from sampan.network.proxy.book import RuleBook
from sampan.network.proxy.conntrack import Flows, stale_flows
from sampan.network.proxy.host_ports import HostPort, claims
from sampan.network.proxy.nft import table
from sampan.network.proxy.rules import RuleSet, rule_set
from sampan.network.proxy.shell import COALESCE_S, ServiceProxy
from sampan.network.proxy.table import Table, increment, replacement
from sampan.schema import api
from tests.unit.network.objects import NODE, Held, endpoint_slice, pod, service
from tests.unit.network.test_nft import Simulated
from tests.unit.network.test_proxy_shells import Notes

A, B, NODE_IP, OTHER_NODE_IP = "10.88.0.2", "10.88.0.3", "192.0.2.1", "192.0.2.2"
WIDE = {"podIPs": [{"ip": A}, {"ip": "fd00::2"}], "hostIPs": [{"ip": NODE_IP}, {"ip": "fd01::1"}]}
Place = tuple[int, str, str, int, str, int]


def places(*pods: api.Pod) -> list[Place]:
    """(family, protocol, host address, host port, pod address, pod port) of all that is granted."""
    granted = rule_set([], [], NODE, pods).host_ports
    return [(p.family, p.protocol, p.host_ip, p.host_port, p.pod_ip, p.pod_port) for p in granted]


def port(**given: Any) -> dict[str, Any]:
    return {"hostPort": 80, "containerPort": 8080, **given}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (pod("a", A, (80, 8080)), [("", 80, 8080), (NODE_IP, 80, 8080)]),
        (pod("a", A, port(hostIP="0.0.0.0")), [("", 80, 8080), (NODE_IP, 80, 8080)]),
        (pod("a", A, port(hostIP="127.0.0.1")), [("127.0.0.1", 80, 8080)]),
        (pod("a", A, port(hostIP="::")), []),  # all addresses of a family that the pod lacks
        (pod("a", A, port(hostIP="no address")), []),
        (pod("a", A, port(protocol="ICMP")), []),
        (pod("a", A, {"containerPort": 8080}), []),
        (pod("a", "", (80, 8080)), []),
        (pod("a", A, (80, 8080), hostNetwork=True), []),
        (pod("a", A, (80, 8080), status={"phase": "Succeeded"}), []),
        (pod("a", A, (80, 8080), status={"phase": "Failed"}), []),
        # As portmap: from the moment that the sandbox has its address.
        (pod("a", A, (80, 8080), status={"phase": "Pending"}), [("", 80, 8080), (NODE_IP, 80, 8080)]),
        (
            pod("a", A, (81, 1), (80, 2)),
            [("", 80, 2), ("", 81, 1), (NODE_IP, 80, 2), (NODE_IP, 81, 1)],
        ),
    ],
)
def test_what_a_pod_gets(made: api.Pod, expected: list[tuple[str, int, int]]) -> None:
    assert places(made) == [(4, "tcp", ip, host, A, inside) for ip, host, inside in expected]


def test_sidecars_count_and_other_init_containers_do_not() -> None:
    init = [
        {"name": "once", "ports": [port(hostPort=1)]},
        {"name": "sidecar", "restartPolicy": "Always", "ports": [port(hostPort=2, hostIP="127.0.0.1")]},
    ]
    assert [p[3] for p in places(pod("a", A, initContainers=init))] == [2]


def test_both_families_and_every_protocol() -> None:
    made = pod("a", A, port(protocol="UDP"), port(protocol="SCTP", hostIP="fd01::0:1"), status=WIDE)
    assert places(made) == [
        (4, "udp", "", 80, A, 8080),
        (4, "udp", NODE_IP, 80, A, 8080),
        (6, "sctp", "fd01::1", 80, "fd00::2", 8080),
        (6, "udp", "", 80, "fd00::2", 8080),
        (6, "udp", "fd01::1", 80, "fd00::2", 8080),
    ]


def test_nodes_of_one_machine_keep_the_port_on_their_own_address() -> None:
    first, second = pod("a", A, (80, 1)), pod("b", B, (80, 2), node_ip=OTHER_NODE_IP)
    for pods in ((first, second), (second, first)):
        assert places(*pods) == [
            (4, "tcp", "", 80, A, 1),
            (4, "tcp", NODE_IP, 80, A, 1),
            (4, "tcp", OTHER_NODE_IP, 80, B, 2),
        ]


def test_a_pod_on_its_way_out_gives_way() -> None:
    leaving = pod("a", A, (80, 1), meta={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert {p[4] for p in places(leaving)} == {A}
    assert {p[4] for p in places(leaving, pod("b", B, (80, 1)))} == {B}


SOME = st.builds(
    pod,
    st.sampled_from("abc"),
    st.sampled_from([A, B, ""]),
    st.tuples(st.sampled_from([80, 81]), st.just(8080)),
    hostNetwork=st.booleans(),
    node_ip=st.sampled_from([NODE_IP, OTHER_NODE_IP]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SOME, st.booleans()), max_size=12))
def test_the_book_is_the_whole_and_increments_lead_to_it(changes: list[tuple[api.Pod, bool]]) -> None:
    book, there = RuleBook(NODE), dict[str, api.Pod]()
    kernel, before = Simulated(), Table("sampan-test")
    kernel.run(replacement(before))
    for made, present in changes:
        name = made.metadata.name or ""
        old, new = there.get(name), made if present else None
        told = book.put_pod(("default", name), new)
        assert told == (claims(old) != claims(new))
        there.pop(name, None)
        if new is not None:
            there[name] = new
        rules = book.rules()
        assert rules == rule_set([], [], NODE, there.values())
        wanted = table(rules, "sampan-test")
        kernel.run(increment(before, wanted))
        assert kernel.table() == wanted
        before = wanted


@pytest.mark.parametrize(
    ("heard", "left"),
    [
        (pod("a", "", (80, 1)), {A}),  # the API does not know the address yet
        (pod("a", B, (80, 1)), {A}),  # or that of a sandbox before
        (pod("a", A, (80, 1)), {A}),
        (pod("a", "", (80, 1), meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}), set()),
        (pod("a", "", (80, 1), status={"phase": "Failed"}), set()),
        (pod("a", B, (80, 1), meta={"uid": "another"}), {B}),
        (None, set()),
    ],
)
def test_what_the_node_knows_first_holds_until_the_api_says_as_much(
    heard: api.Pod | None, left: set[str]
) -> None:
    book, key = RuleBook(NODE), ("default", "a")
    assert not book.put_pod(key, pod("a", "", (80, 1)))
    assert book.put_ahead(key, pod("a", A, (80, 1)))
    assert not book.put_ahead(key, pod("a", A, (80, 1)))
    assert book.put_pod(key, heard) == (left != {A})
    assert {port.pod_ip for port in book.rules().host_ports} == left
    book.put_pod(key, pod("a", A, (80, 1)))
    assert book.put_pod(key, pod("a", "", (80, 1)))  # what was known first is not believed for ever
    assert not book.rules().host_ports


def test_the_table_sends_them_to_the_pod_and_lets_it_reach_itself() -> None:
    made = table(rule_set([], [], NODE, [pod("a", A, (80, 8080), port(protocol="UDP"), status=WIDE)]), "x")
    assert made.sets["hostports4"].elements == {"tcp . 80": f"{A} . 8080", "udp . 80": f"{A} . 8080"}
    assert made.sets["hostports-at4"].elements[f"{NODE_IP} . udp . 80"] == f"{A} . 8080"
    assert made.sets["hostports6"].elements["tcp . 80"] == "fd00::2 . 8080"
    assert f"{A} . {A}" in made.sets["hairpin4"].elements
    rules = made.chains["services"].rules
    assert rules.index(next(r for r in rules if "@hostports4" in r)) > rules.index(
        next(r for r in rules if "@nodeports4" in r)
    )


def udp(pod_ip: str, host_ip: str = "", host_port: int = 53) -> HostPort:
    return HostPort(4, "udp", host_ip, host_port, pod_ip, 5353)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((), (udp(A),), (Flows(4, "", 53),)),
        ((udp(A),), (), (Flows(4, "", 53, A),)),
        ((udp(A),), (udp(B),), (Flows(4, "", 53), Flows(4, "", 53, A))),
        ((udp(A, NODE_IP),), (), (Flows(4, NODE_IP, 53, A),)),
        ((udp(A),), (udp(A),), ()),
        ((HostPort(4, "tcp", "", 80, A, 80),), (), ()),
    ],
)
def test_udp_flows_that_a_change_makes_wrong(
    old: tuple[HostPort, ...], new: tuple[HostPort, ...], expected: tuple[Flows, ...]
) -> None:
    before, after = RuleSet(NODE, host_ports=old), RuleSet(NODE, host_ports=new)
    assert stale_flows(before, after) == expected


def test_the_proxy_follows_pods_and_passes_over_what_is_no_host_port() -> None:
    async def steps() -> None:
        kernel, clock = Notes(), SimulatedClock()
        services, slices, here, there = Held(), Held(), Held(), Held()
        services.put(service())
        slices.put(endpoint_slice(A))
        proxy = ServiceProxy(
            services,  # type: ignore[arg-type]
            slices,  # type: ignore[arg-type]
            NODE,
            kernel,
            clock,
            pods=(here, there),  # type: ignore[arg-type]
        )
        here.put(pod("a", A, (80, 8080)))
        running = asyncio.create_task(proxy.run())
        try:
            await clock.advance(1)
            assert len(kernel.scripts) == 1 and f"tcp . 80 : {A} . 8080" in kernel.scripts[0]
            here.put(pod("a", A, (80, 8080), meta={"labels": {"new": "label"}}))
            here.put(pod("quiet", B))
            await clock.advance(1)
            assert len(kernel.scripts) == 1
            there.put(pod("b", B, (81, 8080), node_ip=OTHER_NODE_IP))
            await clock.advance(COALESCE_S)
            assert f"{OTHER_NODE_IP} . tcp . 81 : {B} . 8080" in kernel.scripts[1]
            await clock.advance(1)
            here.remove(pod("a", A))
            await clock.advance(1)
            assert "delete element inet sampan hostports4 { tcp . 80 }" in kernel.scripts[2]
            assert proxy.applied is not None and {p.host_port for p in proxy.applied.host_ports} == {81}
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(steps())


def test_who_asks_waits_until_the_kernel_has_them() -> None:
    async def steps() -> None:
        kernel, clock, pods = Notes(), SimulatedClock(), Held()
        nothing = Held()
        proxy = ServiceProxy(
            nothing,  # type: ignore[arg-type]
            nothing,  # type: ignore[arg-type]
            NODE,
            kernel,
            clock,
            pods=(pods,),  # type: ignore[arg-type]
        )
        running = asyncio.create_task(proxy.run())
        try:
            await clock.advance(1)
            kernel.refuse_next = 2  # the increment, and the whole
            asking = asyncio.create_task(proxy.lead_to(pod("a", A, (80, 8080))))
            await clock.advance(COALESCE_S)
            assert not asking.done()
            await clock.advance(1)
            assert asking.done() and f"tcp . 80 : {A} . 8080" in kernel.scripts[-1]
            written = len(kernel.scripts)
            await proxy.lead_to(pod("a", A, (80, 8080)))
            pods.put(pod("a", A, (80, 8080)))
            await clock.advance(1)
            assert len(kernel.scripts) == written
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(steps(), 20))
