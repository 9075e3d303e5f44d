"""What the cluster's zone answers: an index of records, kept up service by service. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Final

import msgspec

from sampan.network.dns import wire
from sampan.network.dns.records import VERSION, Text, address_of_pod_name
from sampan.network.dns.wire import Answer, Query, Record

DEFAULT_TTL_S: Final = 5
# A chain of aliases within the zone is followed this far.
_MAX_ALIASES: Final = 8

# The data of the records of one name, by type.
Types = Mapping[int, tuple[bytes, ...]]
_REVERSE: Final = (wire.encode_name("in-addr.arpa"), wire.encode_name("ip6.arpa"))


class Zone:
    """All names of the cluster domain, and the reverse names of its services.

    Each record belongs to an owner (a service, a namespace) and is replaced with it. `generation` changes
    with every change of content, so that answers made from it can be kept until then.
    """

    def __init__(self, domain: str = "cluster.local", ttl_s: int = DEFAULT_TTL_S) -> None:
        self.domain = domain.strip(".").lower()
        self.ttl_s = ttl_s
        self.generation = 0
        self.apex = wire.encode_name(self.domain)
        self._names: dict[bytes, dict[Hashable, Types]] = {}
        self._owned: dict[Hashable, tuple[Text, ...]] = {}
        self._inner: dict[bytes, int] = {}  # names that exist because something is below them
        self._pods = wire.encode_name(f"pod.{self.domain}")
        self._services = wire.encode_name(f"svc.{self.domain}")
        self._primary = f"ns.dns.{self.domain}"
        self.put("zone", (Text(f"dns-version.{self.domain}", wire.TXT, VERSION),))
        for always in (self.apex, self._pods, self._services, wire.encode_name(self._primary)):
            self._names.setdefault(always, {})

    def put(self, owner: Hashable, records: Iterable[Text]) -> bool:
        """Replace everything that `owner` has. Tells whether that changed anything.

        Records whose names are no DNS names are left out: they could not be asked for.
        """
        records = tuple(sorted(records, key=lambda r: (r.name, r.type, r.data)))
        if self._owned.get(owner, ()) == records:
            return False
        self._forget(owner)
        if records:
            self._owned[owner] = records
            for name, types in _encoded(records).items():
                self._enter(name, owner, types)
        self.generation += 1
        return True

    def remove(self, owner: Hashable) -> bool:
        """Forget everything that `owner` has."""
        return self.put(owner, ())

    def put_namespace(self, namespace: str) -> None:
        """The namespace exists: its pods have names, and its (perhaps empty) part of the zone exists."""
        owner = ("namespace", namespace)
        if owner not in self._owned:
            self._owned[owner] = ()
            for parent in ("svc", "pod"):
                self._enter(wire.encode_name(f"{namespace}.{parent}.{self.domain}"), owner, {})
            self.generation += 1

    def remove_namespace(self, namespace: str) -> None:
        owner = ("namespace", namespace)
        if self._owned.pop(owner, None) is not None:
            for parent in ("svc", "pod"):
                self._leave(wire.encode_name(f"{namespace}.{parent}.{self.domain}"), owner)
            self.generation += 1

    def put_name_server(self, ips: Iterable[str]) -> None:
        """The address under which this server is known (its own service)."""
        kinds = ((ip, wire.AAAA if ":" in ip else wire.A) for ip in ips)
        self.put("name server", (Text(self._primary, kind, ip) for ip, kind in kinds))

    def owners(self) -> set[Hashable]:
        """Everything that has records or a name here."""
        return set(self._owned)

    def answer(self, query: Query) -> Answer | None:
        """The answer, or None where the name is not ours and upstream must be asked."""
        if query.klass != wire.IN:
            return Answer(wire.REFUSED, authoritative=False)
        if not self._ours(query.name):
            return self._reverse(query)
        return self._follow(query)

    def _ours(self, name: bytes) -> bool:
        # The apex begins with a length byte, so it must also stand where a label begins.
        return name.endswith(self.apex) and (name == self.apex or _is_suffix(name, self.apex))

    def _reverse(self, query: Query) -> Answer | None:
        if not query.name.endswith(_REVERSE) or query.name not in self._names:
            return None
        records = self._records(query.name, self._types(query.name), query.type)
        return Answer(answers=records) if records else self._no(wire.NOERROR)

    def _follow(self, query: Query) -> Answer:
        name = query.name
        answers: tuple[Record, ...] = ()
        for _ in range(_MAX_ALIASES):
            types = self._find(name)
            if types is None:
                # RFC 2308: the code is that of the last name of the chain
                return msgspec.structs.replace(self._no(wire.NXDOMAIN), answers=answers)
            if wire.CNAME not in types or query.type == wire.CNAME:
                found = self._records(name, types, query.type)
                if not found:
                    return msgspec.structs.replace(self._no(wire.NOERROR), answers=answers)
                return Answer(answers=answers + found, additional=self._targets(found))
            alias = self._records(name, types, wire.CNAME)
            answers, name = answers + alias, alias[0].data
            if not self._ours(name):
                return Answer(answers=answers, chase=name)
        return Answer(wire.SERVFAIL, authoritative=False, reason="too many aliases follow each other")

    def _find(self, name: bytes) -> Types | None:
        """The records of a name; empty where it exists without any; None where it does not exist."""
        if name == self.apex:
            return self._of_apex()
        if name in self._names:
            return self._types(name)
        if name in self._inner:
            return {}
        return self._of_pod(name)

    def _of_apex(self) -> Types:
        return {wire.SOA: (self._soa().data,), wire.NS: (wire.encode_name(self._primary),)}

    def _of_pod(self, name: bytes) -> Types | None:
        parent = name[1 + name[0] :] if name else b""
        if not parent.endswith(self._pods) or parent == self._pods or parent not in self._names:
            return None
        ip = address_of_pod_name(name[1 : 1 + name[0]].decode("ascii", "replace"))
        if ip is None:
            return None
        kind = wire.AAAA if ":" in ip else wire.A
        return {kind: (wire.encode_data(kind, ip),)}

    def _types(self, name: bytes) -> Types:
        owners = self._names[name]
        if len(owners) == 1:
            return next(iter(owners.values()))
        merged: dict[int, tuple[bytes, ...]] = {}
        for types in owners.values():
            for kind, data in types.items():
                merged[kind] = tuple(dict.fromkeys(merged.get(kind, ()) + data))
        return merged

    def _records(self, name: bytes, types: Types, kind: int) -> tuple[Record, ...]:
        kinds = list(types) if kind == wire.ANY else [kind]
        return tuple(Record(name, k, self.ttl_s, data) for k in kinds for data in types.get(k, ()))

    def _targets(self, records: Iterable[Record]) -> tuple[Record, ...]:
        targets = dict.fromkeys(r.data[6:] for r in records if r.type == wire.SRV)
        return tuple(
            record
            for target in targets
            for types in (self._find(target) or {},)
            for kind in (wire.A, wire.AAAA)
            for record in self._records(target, types, kind)
        )

    def _no(self, rcode: int) -> Answer:
        return Answer(rcode, authority=(self._soa(),))

    def _soa(self) -> Record:
        data = wire.soa_data(self._primary, f"hostmaster.{self.domain}", self.generation, self.ttl_s)
        return Record(self.apex, wire.SOA, self.ttl_s, data)

    def _forget(self, owner: Hashable) -> None:
        for name in {wire.encode_name(r.name) for r in _nameable(self._owned.pop(owner, ()))}:
            self._leave(name, owner)

    def _enter(self, name: bytes, owner: Hashable, types: Types) -> None:
        self._names.setdefault(name, {})[owner] = types
        for parent in self._parents(name):
            self._inner[parent] = self._inner.get(parent, 0) + 1

    def _leave(self, name: bytes, owner: Hashable) -> None:
        owners = self._names.get(name, {})
        if owner not in owners:
            return
        del owners[owner]
        if not owners and name not in (
            self.apex,
            self._pods,
            self._services,
            wire.encode_name(self._primary),
        ):
            del self._names[name]
        for parent in self._parents(name):
            self._inner[parent] -= 1
            if not self._inner[parent]:
                del self._inner[parent]

    def _parents(self, name: bytes) -> list[bytes]:
        found = []
        while len(name) > len(self.apex) and name.endswith(self.apex):
            name = name[1 + name[0] :]
            found.append(name)
        return found


def _is_suffix(name: bytes, suffix: bytes) -> bool:
    at = 0
    while len(name) - at > len(suffix):
        at += 1 + name[at]
    return len(name) - at == len(suffix)


def _encoded(records: Iterable[Text]) -> dict[bytes, Types]:
    found: dict[bytes, dict[int, list[bytes]]] = {}
    for record in _nameable(records):
        data = wire.encode_data(record.type, record.data)
        found.setdefault(wire.encode_name(record.name), {}).setdefault(record.type, []).append(data)
    return {name: {kind: tuple(data) for kind, data in types.items()} for name, types in found.items()}


def _nameable(records: Iterable[Text]) -> Iterable[Text]:
    for record in records:
        try:
            wire.encode_name(record.name)
            wire.encode_data(record.type, record.data)
        except ValueError:
            continue
        yield record
