"""Where the Service behind a webhook can be reached."""

from __future__ import annotations

from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.webhooks.client import WebhookFailed
from sampan.schema import api


class ServiceAddresses:
    """Finds a ready endpoint of a Service; the API server does not need the service proxy for it."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        # So that calls spread over the endpoints.
        self._turn = 0

    def find(self, namespace: str, name: str, port: int) -> str:
        """ "address:port" of a Service's port. Raises WebhookFailed."""
        resource = self._resources.of(api.Service)
        item = resource.cache.get(namespace, name)
        if item is None:
            raise WebhookFailed(f'service "{name}" not found')
        service: api.Service = resource.decode_stored(item.data)
        if service.spec.type == "ExternalName":
            return f"{service.spec.externalName}:{port}"
        named = next((each for each in service.spec.ports if each.port == port), None)
        if named is None:
            raise WebhookFailed(f'no service port {port} found for service "{name}"')
        ready = self._ready(namespace, name, named.name or "")
        if not ready:
            raise WebhookFailed(f'no endpoints available for service "{name}"')
        self._turn += 1
        return ready[self._turn % len(ready)]

    def _ready(self, namespace: str, name: str, port_name: str) -> list[str]:
        slices = self._resources.of(api.EndpointSlice)
        found: list[str] = []
        for item in slices.cache.items(namespace):
            if item.labels.get("kubernetes.io/service-name") != name:
                continue
            one: api.EndpointSlice = slices.decode_stored(item.data)
            number = next((p.port for p in one.ports if (p.name or "") == port_name), None)
            for endpoint in one.endpoints if number else ():
                if endpoint.conditions is None or endpoint.conditions.ready is not False:
                    address = endpoint.addresses[0]
                    found.append(f"[{address}]:{number}" if ":" in address else f"{address}:{number}")
        return found
