"""What DNS reads of the API's objects, and nothing else.

A cluster's Services and EndpointSlices in full are mostly metadata; these views leave it undecoded, which
keeps the server small, and they need no schema to be compiled, which makes it start quickly. The fields have
the API's own names and meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class Meta(msgspec.Struct, kw_only=True):
    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] | None = None
    resourceVersion: str = ""

    def label(self, name: str) -> str:
        return (self.labels or {}).get(name, "")


class Port(msgspec.Struct, kw_only=True):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class ServiceSpec(msgspec.Struct, kw_only=True):
    type: str | None = None
    clusterIP: str | None = None
    clusterIPs: list[str] | None = None
    externalName: str | None = None
    publishNotReadyAddresses: bool | None = None
    ports: list[Port] | None = None


class Service(msgspec.Struct, kw_only=True):
    metadata: Meta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class Conditions(msgspec.Struct, kw_only=True):
    ready: bool | None = None


class Endpoint(msgspec.Struct, kw_only=True):
    addresses: list[str] | None = None
    hostname: str | None = None
    conditions: Conditions | None = None


class EndpointSlice(msgspec.Struct, kw_only=True):
    metadata: Meta
    addressType: str = "IPv4"
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None


class Namespace(msgspec.Struct, kw_only=True):
    metadata: Meta


View = Service | EndpointSlice | Namespace

SERVICES: Final = "/api/v1/services"
ENDPOINT_SLICES: Final = "/apis/discovery.k8s.io/v1/endpointslices"
NAMESPACES: Final = "/api/v1/namespaces"
PATHS: Final[Mapping[str, Any]] = {
    SERVICES: Service,
    ENDPOINT_SLICES: EndpointSlice,
    NAMESPACES: Namespace,
}
