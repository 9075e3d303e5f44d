"""What the cluster's zone answers, as tables (DNS-based service discovery 1.1.0)."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.network.dns import wire
from sampan.network.dns.answer import Zone
from sampan.network.dns.source import ZoneFeed
from sampan.network.dns.views import ENDPOINT_SLICES, NAMESPACES, SERVICES, EndpointSlice, Namespace, Service
from sampan.network.dns.wire import AAAA, CNAME, NS, PTR, SOA, SRV, TXT, A
from sampan.schema import codec
from tests.unit.network import objects

D = "cluster.local"
HTTP = [{"name": "http", "port": 80, "protocol": "TCP"}]


def view(obj: Any, kind: Any) -> Any:
    """An object of the API as the DNS server reads it."""
    return msgspec.json.decode(codec.encode(obj), type=kind)


def feed(*given_objects: Any) -> ZoneFeed:
    made = ZoneFeed(Zone(D))
    made.put(NAMESPACES, _namespace("default"))
    for obj in given_objects:
        if hasattr(obj, "spec"):
            made.put(SERVICES, view(obj, Service))
        else:
            made.put(ENDPOINT_SLICES, view(obj, EndpointSlice))
    return made


def _namespace(name: str) -> Namespace:
    return msgspec.convert({"metadata": {"name": name}}, Namespace)


WEB = objects.service("web", clusterIP="10.96.0.10", clusterIPs=["10.96.0.10"], ports=HTTP)
DUAL = objects.service("dual", clusterIP="10.96.0.11", clusterIPs=["10.96.0.11", "fd00:96::b"])
EXTERNAL = objects.service("ext", type="ExternalName", externalName="Example.com.", clusterIP="")
INWARD = objects.service("alias", type="ExternalName", externalName=f"web.default.svc.{D}", clusterIP="")
DB = objects.service("db", clusterIP="None", clusterIPs=["None"], ports=HTTP)
DB_SLICE = objects.endpoint_slice(
    {"addresses": ["10.88.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
    {"addresses": ["10.88.0.6"], "conditions": {}},
    {"addresses": ["10.88.0.7"], "conditions": {"ready": False}},
    service="db",
    ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
)
EARLY = objects.service("early", clusterIP="None", publishNotReadyAddresses=True)
EARLY_SLICE = objects.endpoint_slice(
    {"addresses": ["10.88.0.8"], "conditions": {"ready": False}, "hostname": "early-0"}, service="early"
)
EMPTY = objects.service("empty", clusterIP="None")
SIX_SLICE = objects.endpoint_slice("fd00:88::9", service="db", name="db-six", family="IPv6", ports=[])
EVERYTHING = (WEB, DUAL, EXTERNAL, INWARD, DB, DB_SLICE, EARLY, EARLY_SLICE, EMPTY, SIX_SLICE)


def query(name: str, kind: int, klass: int = wire.IN) -> wire.Query:
    packet = wire.make_query(7, wire.encode_name(name), kind)
    return msgspec.structs.replace(wire.parse_query(packet), klass=klass)


def shown(record: wire.Record) -> str:
    match record.type:
        case 1 | 28:
            return str(ipaddress.ip_address(record.data))
        case 33:
            numbers = [int.from_bytes(record.data[i : i + 2], "big") for i in (0, 2, 4)]
            return " ".join(map(str, numbers)) + " " + wire.decode_name(record.data[6:])
        case 16:
            return record.data[1:].decode()
    return wire.decode_name(record.data)


def said(zone: Zone, name: str, kind: int) -> list[str] | str | None:
    """The answer's records as text; NXDOMAIN, NODATA; None where it is not ours."""
    answer = zone.answer(query(name, kind))
    if answer is None:
        return None
    if answer.rcode == wire.NXDOMAIN:
        assert [r.type for r in answer.authority] == [SOA]
        return "NXDOMAIN"
    if not answer.answers:
        assert [r.type for r in answer.authority] == [SOA]
        return "NODATA"
    return sorted(shown(r) for r in answer.answers)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (f"web.default.svc.{D}", A, ["10.96.0.10"]),
        (f"WEB.Default.svc.{D.upper()}", A, ["10.96.0.10"]),
        (f"web.default.svc.{D}", AAAA, "NODATA"),
        (f"web.default.svc.{D}", TXT, "NODATA"),
        (f"dual.default.svc.{D}", AAAA, ["fd00:96::b"]),
        (f"nothing.default.svc.{D}", A, "NXDOMAIN"),
        (f"x.web.default.svc.{D}", A, "NXDOMAIN"),
        (f"web.other.svc.{D}", A, "NXDOMAIN"),
        (f"_http._tcp.web.default.svc.{D}", SRV, [f"0 100 80 web.default.svc.{D}"]),
        (f"_tcp.web.default.svc.{D}", SRV, "NODATA"),  # exists, since something is below it
        (f"_http._udp.web.default.svc.{D}", SRV, "NXDOMAIN"),
        (f"db.default.svc.{D}", A, ["10.88.0.5", "10.88.0.6"]),
        (f"db.default.svc.{D}", AAAA, ["fd00:88::9"]),
        (f"db-0.db.default.svc.{D}", A, ["10.88.0.5"]),
        (f"10-88-0-6.db.default.svc.{D}", A, ["10.88.0.6"]),
        (f"10-88-0-5.db.default.svc.{D}", A, "NXDOMAIN"),  # it has a hostname instead
        (f"10-88-0-7.db.default.svc.{D}", A, "NXDOMAIN"),  # not ready
        (
            f"_http._tcp.db.default.svc.{D}",
            SRV,
            [f"0 33 8080 10-88-0-6.db.default.svc.{D}", f"0 33 8080 db-0.db.default.svc.{D}"],
        ),
        (f"early.default.svc.{D}", A, ["10.88.0.8"]),
        (f"early-0.early.default.svc.{D}", A, ["10.88.0.8"]),
        (f"empty.default.svc.{D}", A, "NXDOMAIN"),
        (f"ext.default.svc.{D}", CNAME, ["example.com"]),
        (f"ext.default.svc.{D}", A, ["example.com"]),
        (f"alias.default.svc.{D}", A, ["10.96.0.10", f"web.default.svc.{D}"]),
        (f"10-88-0-5.default.pod.{D}", A, ["10.88.0.5"]),
        (f"10-88-0-5.default.pod.{D}", AAAA, "NODATA"),
        (f"fd00-88--9.default.pod.{D}", AAAA, ["fd00:88::9"]),
        (f"10-88-0-5.other.pod.{D}", A, "NXDOMAIN"),
        (f"web.default.pod.{D}", A, "NXDOMAIN"),
        (f"10-88-0-256.default.pod.{D}", A, "NXDOMAIN"),
        (f"dns-version.{D}", TXT, ["1.1.0"]),
        (D, NS, [f"ns.dns.{D}"]),
        (D, A, "NODATA"),
        (f"default.svc.{D}", A, "NODATA"),
        (f"svc.{D}", A, "NODATA"),
        ("10.0.96.10.in-addr.arpa", PTR, [f"web.default.svc.{D}"]),
        ("10.0.96.10.in-addr.arpa", A, "NODATA"),
        ("9.9.96.10.in-addr.arpa", PTR, None),
        ("5.0.88.10.in-addr.arpa", PTR, [f"db-0.db.default.svc.{D}"]),
        ("6.0.88.10.in-addr.arpa", PTR, [f"10-88-0-6.db.default.svc.{D}"]),
        ("example.com", A, None),
        (f"not{D}", A, None),
    ],
)
def test_answers(name: str, kind: int, expected: Any) -> None:
    assert said(feed(*EVERYTHING).zone, name, kind) == expected


def test_service_records_carry_the_targets_addresses_along() -> None:
    zone = feed(*EVERYTHING).zone
    answer = zone.answer(query(f"_http._tcp.db.default.svc.{D}", SRV))
    assert answer is not None
    assert sorted(shown(r) for r in answer.additional) == ["10.88.0.5", "10.88.0.6"]


def test_alias_to_the_outside_must_be_chased() -> None:
    zone = feed(EXTERNAL).zone
    answer = zone.answer(query(f"ext.default.svc.{D}", A))
    assert answer is not None and answer.chase == wire.encode_name("example.com")
    answer = zone.answer(query(f"ext.default.svc.{D}", CNAME))
    assert answer is not None and not answer.chase


def test_aliases_in_a_circle_end() -> None:
    one = objects.service("one", type="ExternalName", externalName=f"two.default.svc.{D}", clusterIP="")
    two = objects.service("two", type="ExternalName", externalName=f"one.default.svc.{D}", clusterIP="")
    answer = feed(one, two).zone.answer(query(f"one.default.svc.{D}", A))
    assert answer is not None and answer.rcode == wire.SERVFAIL


def test_the_start_of_authority_bounds_how_long_a_no_is_kept() -> None:
    answer = Zone(D, ttl_s=7).answer(query(f"no.{D}", A))
    assert answer is not None
    (soa,) = answer.authority
    assert (soa.ttl_s, int.from_bytes(soa.data[-4:], "big")) == (7, 7)


def test_other_classes_are_refused() -> None:
    answer = feed(WEB).zone.answer(query(f"web.default.svc.{D}", A, klass=3))
    assert answer is not None and answer.rcode == wire.REFUSED


def test_changes_show_and_leave_nothing_behind() -> None:
    made = feed(WEB, DB, DB_SLICE)
    zone = made.zone
    generation = zone.generation
    made.put(SERVICES, view(WEB, Service))
    assert zone.generation == generation  # the same again is no change
    made.remove(ENDPOINT_SLICES, ("default", DB_SLICE.metadata.name or ""))
    assert said(zone, f"db.default.svc.{D}", A) == "NXDOMAIN"
    made.put(ENDPOINT_SLICES, view(DB_SLICE, EndpointSlice))
    assert said(zone, f"db.default.svc.{D}", A) == ["10.88.0.5", "10.88.0.6"]
    made.replace(SERVICES, [])
    made.replace(ENDPOINT_SLICES, [])
    assert said(zone, f"web.default.svc.{D}", A) == "NXDOMAIN"
    assert said(zone, "5.0.88.10.in-addr.arpa", PTR) is None
    assert said(zone, f"default.svc.{D}", A) == "NODATA"
    made.remove(NAMESPACES, ("", "default"))
    assert said(zone, f"default.svc.{D}", A) == "NXDOMAIN"
    assert zone._names.keys() == Zone(D)._names.keys() and zone._inner == Zone(D)._inner


def test_two_services_may_share_a_pod() -> None:
    second = objects.service("db2", clusterIP="None")
    pods = objects.endpoint_slice({"addresses": ["10.88.0.5"], "hostname": "db-0"}, service="db2")
    made = feed(DB, DB_SLICE, second, pods)
    both = [f"db-0.db.default.svc.{D}", f"db-0.db2.default.svc.{D}"]
    assert said(made.zone, "5.0.88.10.in-addr.arpa", PTR) == both
    made.remove(SERVICES, ("default", "db"))
    assert said(made.zone, "5.0.88.10.in-addr.arpa", PTR) == both[1:]


def test_the_name_server_has_the_address_of_its_service() -> None:
    own = objects.service("kube-dns", "kube-system", clusterIP="10.96.0.2", clusterIPs=["10.96.0.2"])
    assert said(feed(own).zone, f"ns.dns.{D}", A) == ["10.96.0.2"]
    assert said(feed().zone, f"ns.dns.{D}", A) == "NODATA"


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


@given(st.lists(LABEL, min_size=1, max_size=3))
def test_names_survive_the_wire(parts: list[str]) -> None:
    name = ".".join(parts)
    assert wire.decode_name(wire.encode_name(name)) == name


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_otherwise_than_it_says(packet: bytes) -> None:
    for parse in (wire.parse_query, wire.parse_reply):
        try:
            parse(packet)
        except wire.Malformed:
            continue


@pytest.mark.parametrize("bad", ["a..b", "a" * 64, ".".join(["a" * 60] * 5)])
def test_bad_names_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="is no DNS name"):
        wire.encode_name(bad)
