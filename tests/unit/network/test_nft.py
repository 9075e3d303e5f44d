"""From rule set to nftables: the table, and transactions that lead from any state to any other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.network.proxy import table as t
from sampan.network.proxy.conntrack import Flows, stale_flows
from sampan.network.proxy.nft import table
from sampan.network.proxy.rules import NodeFacts, RuleSet, rule_set
from tests.unit.network.objects import NODE, endpoint_slice, remote, service

NAME = "sampan-test"


class Simulated:
    """An nftables table that refuses what the kernel refuses."""

    def __init__(self) -> None:
        self.chains: dict[str, tuple[str, list[str]]] = {}
        self.sets: dict[str, tuple[str, bool, dict[str, str]]] = {}

    def run(self, commands: tuple[t.Command, ...]) -> None:
        for command in commands:
            self._step(command)

    def table(self) -> t.Table:
        return t.Table(
            NAME,
            {name: t.Chain(tuple(rules), hook) for name, (hook, rules) in self.chains.items()},
            {name: t.Set(declared, elements, m) for name, (declared, m, elements) in self.sets.items()},
        )

    def _step(self, command: t.Command) -> None:
        match command:
            case t.ResetTable():
                self.__init__()  # type: ignore[misc]
            case t.AddTable():
                pass
            case t.AddSet(name, declaration, is_map):
                there = self.sets.setdefault(name, (declaration, is_map, {}))
                assert there[:2] == (declaration, is_map)
            case t.FlushSet(name, is_map):
                assert self.sets[name][1] == is_map
                self.sets[name][2].clear()
            case t.DeleteSet(name, is_map):
                assert self.sets[name][1] == is_map
                assert not self._used(f"@{name} ") and not self._used(f"@{name}", at_end=True)
                del self.sets[name]
            case t.AddChain(name, hook):
                assert self.chains.setdefault(name, (hook, []))[0] == hook
            case t.FlushChain(name):
                self.chains[name][1].clear()
            case t.DeleteChain(name):
                assert not self.chains[name][1], "a chain with rules is busy"
                assert not self._used(f"goto {name}", at_end=True) and not self._used(f"goto {name},")
                del self.chains[name]
            case t.AddRule(chain, rule):
                self._refers(rule)
                self.chains[chain][1].append(rule)
            case t.AddElements(name, elements):
                held = self.sets[name][2]
                for key, value in elements:
                    assert key not in held, "the element exists"
                    self._refers(value)
                    held[key] = value
            case t.DeleteElements(name, keys):
                for key in keys:
                    del self.sets[name][2][key]
            case _:
                raise AssertionError(command)

    def _refers(self, text: str) -> None:
        words = text.replace(",", " ").split()
        for before, word in zip(["", *words], words, strict=False):
            if before in ("goto", "jump"):
                assert word in self.chains, f"{text}: there is no chain {word}"
            if word.startswith("@"):
                assert word[1:] in self.sets, f"{text}: there is no set {word}"

    def _used(self, text: str, at_end: bool = False) -> bool:
        texts = [rule for _, rules in self.chains.values() for rule in rules]
        texts += [value for _, _, elements in self.sets.values() for value in elements.values()]
        return any(found.endswith(text) if at_end else text in found for found in texts)


def services_strategy() -> st.SearchStrategy[RuleSet]:
    """Clusters of up to three services, in all their variety."""
    policy = st.sampled_from(["Cluster", "Local"])
    endpoint = st.sampled_from(["10.88.0.2", "10.88.0.3", "10.88.1.4", "10.88.1.5"])
    spec = st.fixed_dictionaries(
        {
            "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
            "affinity": st.sampled_from([0, 30, 60]),
            "inward": policy,
            "outward": policy,
            "protocol": st.sampled_from(["TCP", "UDP", "SCTP"]),
            "port": st.sampled_from([80, 81]),
            "ranges": st.sampled_from([[], ["192.0.2.0/24"], ["198.51.100.0/24"]]),
            "endpoints": st.lists(endpoint, max_size=4, unique=True),
        }
    )
    clusters = st.dictionaries(st.sampled_from(["a", "b", "c"]), spec, max_size=3)
    return st.builds(_rules, clusters, st.sampled_from([NODE, NodeFacts("node-a", bridge_netfilter=False)]))


def _rules(given_services: dict[str, dict[str, Any]], node: NodeFacts) -> RuleSet:
    services, slices = [], []
    for number, (name, spec) in enumerate(sorted(given_services.items())):
        port = {"port": spec["port"], "protocol": spec["protocol"], "nodePort": 30000 + number}
        config = {"clientIP": {"timeoutSeconds": spec["affinity"]}}
        services.append(
            service(
                name,
                clusterIP=f"10.96.0.{number + 1}",
                type=spec["type"],
                ports=[port],
                sessionAffinity="ClientIP" if spec["affinity"] else "None",
                sessionAffinityConfig=config if spec["affinity"] else None,
                internalTrafficPolicy=spec["inward"],
                externalTrafficPolicy=spec["outward"],
                loadBalancerSourceRanges=spec["ranges"],
                status={"loadBalancer": {"ingress": [{"ip": f"203.0.113.{number + 1}"}]}},
            )
        )
        found = [ip if ip.startswith("10.88.0.") else remote(ip) for ip in spec["endpoints"]]
        ports = [{"port": 8080, "protocol": spec["protocol"]}]
        slices.append(endpoint_slice(*found, service=name, ports=ports))
    return rule_set(services, slices, node)


@settings(max_examples=60, deadline=None)
@given(st.lists(services_strategy(), min_size=1, max_size=5))
def test_any_way_through_states_ends_as_a_full_write_of_the_last(states: list[RuleSet]) -> None:
    kernel, known = Simulated(), None
    for state in states:
        wanted = table(state, NAME)
        kernel.run(t.replacement(wanted) if known is None else t.increment(known, wanted))
        assert kernel.table() == wanted
        assert t.increment(wanted, wanted) == ()
        known = wanted


@settings(max_examples=60, deadline=None)
@given(services_strategy(), st.data())
def test_what_somebody_took_away_is_put_back(state: RuleSet, data: st.DataObject) -> None:
    wanted, kernel = table(state, NAME), Simulated()
    kernel.run(t.replacement(wanted))
    for name in data.draw(st.sets(st.sampled_from(sorted(wanted.chains)))):
        kernel.run((t.FlushChain(name),))
    for name in data.draw(st.sets(st.sampled_from(sorted(wanted.sets)))):
        kernel.run((t.FlushSet(name, wanted.sets[name].is_map),))
    kernel.run(t.refreshment(wanted))
    assert kernel.table() == wanted
    nothing = Simulated()
    nothing.run(t.refreshment(wanted))
    assert nothing.table() == wanted


def test_a_refresh_keeps_the_hooks_and_the_clients_that_the_kernel_remembers() -> None:
    state = rule_set([service(sessionAffinity="ClientIP")], [endpoint_slice("10.88.0.2", "10.88.0.3")], NODE)
    steps = t.refreshment(table(state, NAME))
    assert not any(isinstance(step, t.ResetTable | t.DeleteChain | t.DeleteSet) for step in steps)
    assert not [step for step in steps if isinstance(step, t.FlushSet) and step.name.startswith("aff-")]


@given(services_strategy())
def test_no_rule_draws_from_an_anonymous_map(state: RuleSet) -> None:
    # The kernel ends such a map's elements for packets that are in the rule that a transaction replaces.
    rules = [rule for chain in table(state, NAME).chains.values() for rule in chain.rules]
    assert rules
    assert not [rule for rule in rules if "map {" in rule]


def test_each_endpoint_is_drawn_with_the_same_chance() -> None:
    state = rule_set([service()], [endpoint_slice("10.88.0.2", "10.88.0.3", "10.88.0.4")], NODE)
    rules = table(state, NAME).chains["svc-default/web/tcp/80"].rules
    # A third of all; half of the rest; whoever is left.
    assert [rule.partition("meta")[0] for rule in rules] == [
        "numgen random mod 3 0 ",
        "numgen random mod 2 0 ",
        "",
    ]


def test_one_endpoint_more_touches_one_chain() -> None:
    before = rule_set([service()], [endpoint_slice("10.88.0.2")], NODE)
    after = rule_set([service()], [endpoint_slice("10.88.0.2", "10.88.0.3")], NODE)
    steps = t.increment(table(before, NAME), table(after, NAME))
    assert t.script(NAME, steps) == (
        f"flush chain inet {NAME} svc-default/web/tcp/80\n"
        f"add rule inet {NAME} svc-default/web/tcp/80 numgen random mod 2 0 "
        "meta l4proto tcp dnat ip to 10.88.0.2:8080\n"
        f"add rule inet {NAME} svc-default/web/tcp/80 meta l4proto tcp dnat ip to 10.88.0.3:8080\n"
        f"add element inet {NAME} hairpin4 {{ 10.88.0.3 . 10.88.0.3 : }}\n".replace(" : }", " }")
    )


def test_a_declaration_that_differs_replaces_the_table() -> None:
    old = t.Table(NAME, {}, {"s": t.Set("type ipv4_addr;")})
    new = t.Table(NAME, {}, {"s": t.Set("type ipv6_addr;")})
    assert t.increment(old, new) == t.replacement(new)


def test_two_services_that_claim_one_address_do_not_break_the_table() -> None:
    made = [
        service(name, clusterIP=f"10.96.0.{i}", externalIPs=["192.0.2.7"]) for i, name in enumerate("ba", 1)
    ]
    slices = [endpoint_slice("10.88.0.2", service=name) for name in "ab"]
    routes = table(rule_set(made, slices, NODE), NAME).sets["services4"].elements
    assert routes["192.0.2.7 . tcp . 80"] == "goto ext-default/a/tcp/80"


OFF_CLUSTER = "ip daddr @cluster-ips4 ip saddr != @pods4 meta mark set meta mark | 0x4000"


@pytest.mark.parametrize(
    ("facts", "rule", "there"),
    [
        ({}, OFF_CLUSTER, True),
        ({"masquerade_all": True}, "ip daddr @cluster-ips4 meta mark set meta mark | 0x4000", True),
        (
            {"cluster_cidrs": ()},
            "ip daddr @cluster-ips4 ip saddr != @pods4 meta mark set meta mark | 0x4000",
            False,
        ),
        (
            {"nodeport_cidrs": ("192.0.2.0/24",)},
            "ip daddr { 192.0.2.0/24 } fib daddr type local meta l4proto . th dport vmap @nodeports4",
            True,
        ),
    ],
)
def test_what_the_node_says_shapes_the_look_up(facts: dict[str, Any], rule: str, there: bool) -> None:
    node = NodeFacts(**({"name": "n", "cluster_cidrs": ("10.88.0.0/16",)} | facts))
    assert (rule in table(RuleSet(node), NAME).chains["services"].rules) == there


def udp(*addresses: str, port: int = 53, target: int = 5353) -> RuleSet:
    made = service("dns", ports=[{"port": port, "protocol": "UDP"}])
    slices = endpoint_slice(*addresses, service="dns", ports=[{"port": target, "protocol": "UDP"}])
    return rule_set([made], [slices], NODE)


@pytest.mark.parametrize(
    ("old", "new", "flows"),
    [
        (udp("10.88.0.2"), udp("10.88.0.2"), []),
        (udp("10.88.0.2"), udp("10.88.0.3"), [Flows(4, "10.96.0.10", 53, "10.88.0.2")]),
        (udp("10.88.0.2"), udp("10.88.0.2", "10.88.0.3"), []),
        (udp("10.88.0.2"), udp("10.88.0.2", target=54), [Flows(4, "10.96.0.10", 53, "10.88.0.2", 5353)]),
        (udp("10.88.0.2"), udp(), [Flows(4, "10.96.0.10", 53, "10.88.0.2")]),
        (udp("10.88.0.2"), RuleSet(NODE), [Flows(4, "10.96.0.10", 53, "10.88.0.2")]),
        (udp(), udp("10.88.0.2"), [Flows(4, "10.96.0.10", 53)]),
        (
            udp("10.88.0.2"),
            udp("10.88.0.2", port=54),
            [Flows(4, "10.96.0.10", 53, "10.88.0.2"), Flows(4, "10.96.0.10", 54)],
        ),
        (RuleSet(NODE), rule_set([service()], [endpoint_slice("10.88.0.2")], NODE), []),  # TCP ends by itself
    ],
)
def test_flows_to_forget(old: RuleSet, new: RuleSet, flows: list[Flows]) -> None:
    assert stale_flows(old, new) == tuple(flows)


def test_flows_are_named_as_conntrack_wants_them() -> None:
    exact, any_endpoint = Flows(4, "10.96.0.10", 53, "10.88.0.2"), Flows(6, "", 30053)
    assert " ".join(exact.arguments()) == (
        "-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.88.0.2"
    )
    one_port = Flows(4, "10.96.0.10", 53, "10.88.0.2", 5353)
    assert one_port.arguments() == (*exact.arguments(), "--reply-port-src", "5353")
    assert " ".join(any_endpoint.arguments()) == "-D -f ipv6 -p udp --orig-port-dst 30053"
