"""Service addresses: cluster IPs and node ports, taken and given back in the commit of the Service itself.

A cluster IP is taken by creating its IPAddress object, a node port by a key of its own; both are guarded by
"must not exist", so that two API servers on one store can never give the same one twice.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes, Context, own_manager
from sampan.apiserver.core.resource import Resources
from sampan.kinds.core.service_validation import needs_health_check
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.machinery.patch.apply import writers
from sampan.schema import api
from sampan.store.backend import Delete, Guard, Put
from sampan.store.watchcache import KindCache

NODE_PORTS: Final = range(30000, 32768)
PORTS_PREFIX: Final = "/registry/ranges/servicenodeports/"
_WITH_NODE_PORTS: Final = frozenset({"NodePort", "LoadBalancer"})
# Tries before the range counts as full: what is taken is known, so a miss is rare.
_ATTEMPTS: Final = 64
_SEARCHED_MOST: Final = 65536
# The object that stands for the server's own range.
DEFAULT_CIDR: Final = "kubernetes"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SPEC: Final = Path("spec")


class ServiceAddresses:
    """Allocates for new Services, keeps for updated ones, frees for deleted ones."""

    kinds = frozenset({"Service"})
    reads: tuple[type[Any], ...] = (api.IPAddress, api.ServiceCIDR)

    def __init__(self, resources: Resources, ports: KindCache, cidr: str, chance: random.Random) -> None:
        self._addresses = resources.of(api.IPAddress)
        self._ports = ports
        self._ranges = resources.of(api.ServiceCIDR)
        self._network = ipaddress.ip_network(cidr)
        self._chance = chance

    def mutate(self, attributes: Attributes) -> None:
        """On the mutating pass, so that validation sees the addresses."""
        new, old, context = attributes.obj, attributes.old, attributes.context
        if attributes.subresource:
            return
        errors: list[FieldError] = []
        self._take_addresses(context, new, old, errors)
        self._take_ports(context, new, old, errors)
        if errors:
            raise status.invalid(context.resource.kind, new.metadata.name or "", errors)

    def validate(self, attributes: Attributes) -> None:
        return None

    def erase(self, attributes: Attributes) -> None:
        self._free(attributes.context, _addresses(attributes.old), node_ports(attributes.old))

    def _take_addresses(self, context: Context, new: Any, old: Any, errors: list[FieldError]) -> None:
        spec = new.spec
        held = _addresses(old) if old is not None else set()
        if spec.type != "ExternalName":
            wanted = spec.clusterIP or (spec.clusterIPs[0] if spec.clusterIPs else "")
            if held and wanted not in held:
                return  # addresses do not change, which validation says
            if wanted and wanted != "None" and wanted not in held:
                errors += self._address_errors(wanted)
            address = wanted or self._free_address()
            spec.clusterIP = spec.clusterIP or address
            spec.clusterIPs = spec.clusterIPs or [address]
            if address != "None" and address not in held and not errors:
                self._take_address(context, new, address)
        self._free(context, held - _addresses(new), set())

    def _take_address(self, context: Context, service: Any, address: str) -> None:
        ref = api.ParentReference(
            resource="services", namespace=service.metadata.namespace, name=service.metadata.name
        )
        taken = api.IPAddress(
            metadata=api.ObjectMeta(
                name=address,
                uid=service.metadata.uid,
                creationTimestamp=context.now,
                labels={
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            ),
            spec=api.IPAddressSpec(parentRef=ref),
        )
        kind, key = self._addresses.kind, self._addresses.key("", address)
        owners = writers.created(own_manager(kind.group), kind.api_version)
        context.guards.append(Guard(key, 0))
        context.ops.append(Put(key, self._addresses.encode(taken, owners)))

    def _address_errors(self, wanted: str) -> Iterator[FieldError]:
        path = _SPEC["clusterIPs"]
        try:
            parsed = ipaddress.ip_address(wanted)
        except ValueError:
            return  # the kind's own validation says so
        networks = self._networks()
        if not any(parsed in network for network in networks):
            valid = ", ".join(map(str, networks))
            why = (
                "failed to allocate IP "
                f"{wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {valid}"
            )
            yield field.invalid(path, [wanted], why)
        elif self._addresses.cache.get("", wanted) is not None:
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
            yield field.invalid(path, [wanted], why)

    def _networks(self) -> list[Network]:
        """The server's own range, then those of the ServiceCIDRs that are ready."""
        found = [self._network]
        for item in self._ranges.cache:
            if item.name == DEFAULT_CIDR:
                continue
            cidr: api.ServiceCIDR = self._ranges.decode_stored(item.data)
            ready = any(c.type == "Ready" and c.status == "True" for c in cidr.status.conditions)
            if ready and cidr.metadata.deletionTimestamp is None:
                parsed = map(ipaddress.ip_network, cidr.spec.cidrs)
                found += [network for network in parsed if network.version == self._network.version]
        return found

    def _free_address(self) -> str:
        for network in self._networks():
            found = self._free_in(network)
            if found:
                return found
        raise status.internal("failed to allocate a serviceIP: range is full")

    def _free_in(self, network: Network) -> str:
        # The lower part of the range is for addresses that people ask for by hand, as upstream has it.
        size = network.num_addresses
        reserved = min(max(16, size // 16), 256) if size > 32 else 1
        for attempt in range(_ATTEMPTS * 4):
            low = reserved if attempt < _ATTEMPTS * 2 else 1
            address = str(network[self._chance.randrange(low, size - 1)])
            if self._addresses.cache.get("", address) is None:
                return address
        # So full that chance finds nothing: look at every address of a range of ordinary size.
        for number in range(1, min(size - 1, _SEARCHED_MOST)):
            address = str(network[number])
            if self._addresses.cache.get("", address) is None:
                return address
        return ""

    def _take_ports(self, context: Context, new: Any, old: Any, errors: list[FieldError]) -> None:
        spec = new.spec
        held = node_ports(old) if old is not None else set()
        allocate = spec.type == "NodePort" or (
            spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is not False
        )
        taken: set[int] = set()
        for position, port in enumerate(spec.ports):
            if spec.type not in _WITH_NODE_PORTS:
                continue
            if not port.nodePort and allocate:
                port.nodePort = self._free_port(taken | held)
            if not port.nodePort:
                continue
            if port.nodePort not in held and port.nodePort not in taken:
                path = _SPEC["ports"][position]["nodePort"]
                errors += self._port_errors(path, port.nodePort)
                taken.add(port.nodePort)
                self._take_port(context, new, port.nodePort)
        if needs_health_check(spec) and not spec.healthCheckNodePort:
            spec.healthCheckNodePort = self._free_port(taken | held)
        check = spec.healthCheckNodePort
        if check and needs_health_check(spec) and check not in held and check not in taken:
            errors += self._port_errors(_SPEC["healthCheckNodePort"], check)
            self._take_port(context, new, check)
        self._free(context, set(), held - node_ports(new))

    def _take_port(self, context: Context, service: Any, port: int) -> None:
        key = f"{PORTS_PREFIX}{port}"
        context.guards.append(Guard(key, 0))
        context.ops.append(Put(key, owner_of_ports(service.metadata)))

    def _port_errors(self, path: Path, port: int) -> Iterator[FieldError]:
        if port not in NODE_PORTS:
            valid = f"{NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            why = f"provided port is not in the valid range. The range of valid ports is {valid}"
            yield field.invalid(path, port, why)
        elif self._ports.get("", str(port)) is not None:
            yield field.invalid(path, port, "provided port is already allocated")

    def _free_port(self, unavailable: Iterable[int]) -> int:
        avoid = set(unavailable)
        for _ in range(_ATTEMPTS):
            port = self._chance.choice(NODE_PORTS)
            if port not in avoid and self._ports.get("", str(port)) is None:
                return port
        for port in NODE_PORTS:
            if port not in avoid and self._ports.get("", str(port)) is None:
                return port
        raise status.internal("failed to allocate a nodePort: range is full")

    def _free(self, context: Context, addresses: set[str], ports: set[int]) -> None:
        context.ops.extend(Delete(self._addresses.key("", address)) for address in addresses)
        context.ops.extend(Delete(f"{PORTS_PREFIX}{port}") for port in ports)


def owner_of_ports(metadata: Any) -> bytes:
    """The value of a port's key: whose it is."""
    # The shape of an object, because everything in the registry has its revision put in.
    holder = {"metadata": {"resourceVersion": ""}, "service": f"{metadata.namespace}/{metadata.name}"}
    return msgspec.json.encode(holder)


def _addresses(service: Any) -> set[str]:
    if service.spec.type == "ExternalName":
        return set()
    return {ip for ip in (service.spec.clusterIPs or [service.spec.clusterIP]) if ip and ip != "None"}


def node_ports(service: Any) -> set[int]:
    """The node ports that the Service holds, that of its health check included."""
    ports = {port.nodePort for port in service.spec.ports if port.nodePort}
    if service.spec.healthCheckNodePort:
        ports.add(service.spec.healthCheckNodePort)
    return ports
