"""The resource metrics of a cluster: collects them, and serves metrics.k8s.io as an aggregated API.

The same server answers what the cluster tells of itself in further groups (explanations.py).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_already_exists
from sampan.client.informer import SharedInformers
from sampan.cluster import credentials
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts.explanations import GROUP as EXPLAINED
from sampan.cluster.parts.explanations import VERSION as EXPLAINED_VERSION
from sampan.cluster.parts.explanations import Explanations
from sampan.cluster.parts.ports import free_port
from sampan.cluster.tls import server_context
from sampan.observe.metrics.answers import GROUP, VERSION
from sampan.observe.metrics.collector import Collector, through_api_server
from sampan.observe.metrics.server import MetricsServer
from sampan.schema import api

NAMESPACE: Final = "kube-system"
NAME: Final = credentials.METRICS
PORT: Final = 4443
_SERVED: Final = ((GROUP, VERSION), (EXPLAINED, EXPLAINED_VERSION))
_MANAGER: Final = "sampan"
_RETRY_S: Final = 1.0

_log = logging.getLogger(__name__)


async def serve(
    layout: Layout,
    settings: Settings,
    client: Client,
    informers: SharedInformers,
    clock: Clock,
    explanations: Explanations,
) -> None:
    """Collect and serve until cancelled. An APIService of that name that is there stays as it is."""
    collector = Collector(
        informers.of(api.Node),
        informers.of(api.Pod),
        clock,
        through_api_server(client),
        one_for_all=settings.runtime == "simulated",
    )
    # Whoever the API server vouches for; nobody else can connect.
    tls = server_context(layout.pki / "front-proxy-ca.crt", layout.pki, NAME)
    tls.verify_mode = ssl.CERT_REQUIRED
    server = MetricsServer(collector, tls, {EXPLAINED: explanations.answer})
    address = settings.node_ip(0)
    port = await server.start(address, free_port(address, PORT))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(collector.run())
            tasks.create_task(_register(client, clock, objects(address, port, layout.authority.read_bytes())))
    finally:
        await server.close()


def objects(address: str, port: int, authority: bytes) -> tuple[Any, ...]:
    """What leads to the server: a Service without a selector, its endpoint, and the APIServices."""
    service = api.Service(
        metadata=api.ObjectMeta(name=NAME, namespace=NAMESPACE),
        spec=api.ServiceSpec(ports=[api.ServicePort(name="https", port=443, targetPort=port)]),
    )
    endpoint = api.EndpointSlice(
        metadata=api.ObjectMeta(name=NAME, namespace=NAMESPACE, labels={"kubernetes.io/service-name": NAME}),
        addressType="IPv4",
        endpoints=[api.Endpoint(addresses=[address], conditions=api.EndpointConditions(ready=True))],
        ports=[api.DiscoveryEndpointPort(name="https", port=port, protocol="TCP")],
    )
    return service, endpoint, *(_aggregated(*served, authority) for served in _SERVED)


def _aggregated(group: str, version: str, authority: bytes) -> api.APIService:
    return api.APIService(
        metadata=api.ObjectMeta(name=f"{version}.{group}"),
        spec=api.APIServiceSpec(
            group=group,
            version=version,
            groupPriorityMinimum=100,
            versionPriority=100,
            service=api.ApiregistrationServiceReference(name=NAME, namespace=NAMESPACE, port=443),
            caBundle=authority,
        ),
    )


async def _register(client: Client, clock: Clock, wanted: tuple[Any, ...]) -> None:
    """Make them, trying again until the API server takes them."""
    while True:
        try:
            for obj in wanted:
                if isinstance(obj, api.APIService):
                    await _make(client, obj)
                else:
                    await client.apply(obj, _MANAGER)
            return
        except ApiError as error:
            _log.warning("the metrics API is not registered yet: %s", error)
        except (ConnectionError, TimeoutError) as error:
            _log.warning("the metrics API is not registered yet: %s", error)
        await clock.sleep(_RETRY_S)


async def _make(client: Client, obj: Any) -> None:
    try:
        await client.create(obj)
    except ApiError as error:
        if not is_already_exists(error):
            raise
