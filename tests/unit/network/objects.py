"""Services, EndpointSlices and pods for the network tests, and the informers that hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.client.cache import Cache
from sampan.network.proxy.rules import NodeFacts
from sampan.schema import api, codec

NODE = NodeFacts("node-a", "zone-1", ("10.88.0.0/24",), ("10.88.0.0/16",))


def service(name: str = "web", namespace: str = "default", **spec: Any) -> api.Service:
    labels = spec.pop("labels", {})
    status = spec.pop("status", {})
    spec.setdefault("clusterIP", "10.96.0.10")
    spec.setdefault("ports", [{"port": 80, "protocol": "TCP"}])
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return codec.from_builtins({"metadata": meta, "spec": spec, "status": status}, api.Service)


def endpoint_slice(
    *endpoints: dict[str, Any] | str,
    service: str = "web",
    namespace: str = "default",
    name: str = "",
    ports: list[dict[str, Any]] | None = None,
    family: str = "IPv4",
) -> api.EndpointSlice:
    """`endpoints` are addresses (ready, on node-a) or whole endpoints."""
    full = [{"addresses": [e], "nodeName": "node-a"} if isinstance(e, str) else e for e in endpoints]
    return codec.from_builtins(
        {
            "metadata": {
                "name": name or f"{service}-abcde",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": family,
            "endpoints": full,
            "ports": [{"port": 8080, "protocol": "TCP"}] if ports is None else ports,
        },
        api.EndpointSlice,
    )


def remote(ip: str, **more: Any) -> dict[str, Any]:
    """A ready endpoint on another node."""
    return {"addresses": [ip], "nodeName": "node-b", **more}


def pod(
    name: str,
    ip: str,
    *ports: tuple[int, int] | dict[str, Any],
    node_ip: str = "192.0.2.1",
    meta: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> api.Pod:
    """A running pod; `ports` are (host port, container port) or whole ports."""
    full = [{"hostPort": p[0], "containerPort": p[1]} if isinstance(p, tuple) else p for p in ports]
    addresses = {"podIP": ip, "podIPs": [{"ip": ip}], "hostIP": node_ip, "hostIPs": [{"ip": node_ip}]}
    return codec.from_builtins(
        {
            "metadata": {"name": name, "namespace": "default", **(meta or {})},
            "spec": {"containers": [{"name": "main", "ports": full}], **spec},
            "status": {"phase": "Running", **(addresses if ip else {}), **(status or {})},
        },
        api.Pod,
    )


class Held:
    """What an informer is to its readers: a cache, handlers, synced."""

    def __init__(self) -> None:
        self.cache: Cache[Any] = Cache()
        self._handlers: list[Callable[[Any, Any], None]] = []

    def on_change(self, handler: Callable[[Any, Any], None]) -> None:
        self._handlers.append(handler)
        for obj in self.cache.items():
            handler(None, obj)

    async def synced(self) -> None:
        return None

    def put(self, obj: Any) -> None:
        old = self.cache.put(obj)
        for handler in self._handlers:
            handler(old, obj)

    def remove(self, obj: Any) -> None:
        old = self.cache.remove((obj.metadata.namespace, obj.metadata.name))
        for handler in self._handlers:
            handler(old, None)
