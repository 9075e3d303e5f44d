"""Environment variables that tell containers of services, as kubelet and Docker links name them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.schema import api

MASTER = ("default", "kubernetes")


def service_env(
    services: Iterable[api.Service], namespace: str, enable_service_links: bool = True
) -> dict[str, str]:
    """The variables for a container in `namespace`.

    KUBERNETES_SERVICE_HOST and its like are always there; those of the namespace's services only where the
    pod's enableServiceLinks allows. Services without a cluster IP have none.
    """
    chosen: dict[str, api.Service] = {}
    for service in services:
        meta = service.metadata
        where = (meta.namespace or "", meta.name or "")
        own = where[0] == namespace and enable_service_links
        if service.spec.clusterIP in (None, "", "None") or not service.spec.ports:
            continue
        if own or (where == MASTER and MASTER[1] not in chosen):
            chosen[where[1]] = service
    env: dict[str, str] = {}
    for name in sorted(chosen):
        env.update(_one(name, chosen[name]))
    return env


def _one(name: str, service: api.Service) -> dict[str, str]:
    prefix = name.upper().replace("-", "_")
    ip = service.spec.clusterIP or ""
    ports = service.spec.ports
    env = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    for port in ports:
        if port.name:
            env[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    for index, port in enumerate(ports):
        protocol = (port.protocol or "TCP").lower()
        url = f"{protocol}://{_host_port(ip, port.port)}"
        if index == 0:
            env[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        env[link] = url
        env[f"{link}_PROTO"] = protocol
        env[f"{link}_PORT"] = str(port.port)
        env[f"{link}_ADDR"] = ip
    return env


def _host_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
