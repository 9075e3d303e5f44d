"""`python -m sampan.network.dns`: the cluster's DNS server as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from sampan.base.clock import SystemClock
from sampan.base.errors import SampanError
from sampan.client.transport import Transport
from sampan.network.dns.access import SERVICE_ACCOUNT, in_pod
from sampan.network.dns.answer import DEFAULT_TTL_S, Zone
from sampan.network.dns.forward import Forwarder, Server, upstreams
from sampan.network.dns.resolver import Resolver
from sampan.network.dns.server import DnsServer, metrics
from sampan.network.dns.source import Source, ZoneFeed
from sampan.network.pages import METRICS, TEXT, Page, serve_pages

_log = logging.getLogger("sampan.network.dns")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="sampan-dns", description="DNS for services and pods.")
    made.add_argument("--kubeconfig", default="", help="the API server; without it, the pod's own account")
    made.add_argument("--account", default=str(SERVICE_ACCOUNT), help="folder of that account's files")
    made.add_argument("--domain", default="cluster.local")
    made.add_argument("--host", default="", help="where to listen; every address by default")
    made.add_argument("--port", type=int, default=53)
    made.add_argument("--health-port", type=int, default=8080, help="/health")
    made.add_argument("--ready-port", type=int, default=8181, help="/ready, once everything is listed")
    made.add_argument("--metrics-port", type=int, default=9153, help="/metrics")
    made.add_argument("--ttl", type=int, default=DEFAULT_TTL_S, help="of cluster names, in seconds")
    made.add_argument("--resolv-conf", default="/etc/resolv.conf", help="names the upstream servers")
    made.add_argument("--upstream", action="append", default=[], help="ADDRESS[:PORT] instead of those")
    made.add_argument("--service", default="kube-system/kube-dns", help="under which pods reach this server")
    return made


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Raises SampanError where something needed is missing."""
    clock = SystemClock()
    zone = Zone(options.domain, options.ttl)
    resolver = Resolver(zone, Forwarder(_servers(options), clock))
    server = DnsServer(resolver, options.host, options.port)
    namespace, _, name = options.service.partition("/")
    transport = _transport(options)
    source = Source(transport, ZoneFeed(zone, (namespace, name)), clock)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready() -> tuple[int, str, str]:
        return (200, "OK\n", TEXT) if source.is_synced else (503, "the names are not listed yet\n", TEXT)

    pages: dict[str, Page] = {
        "/health": lambda: (200, "OK\n", TEXT),
        "/ready": ready,
        "/metrics": lambda: (200, metrics(resolver, server), METRICS),
    }
    await server.start()
    ports = sorted({options.health_port, options.ready_port, options.metrics_port})
    listening = [await serve_pages(pages, options.host, port) for port in ports]
    tasks = [asyncio.create_task(source.run()), asyncio.create_task(resolver.forwarder.drop_loops())]
    _log.info("serving %s on port %d", zone.domain, server.port)
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for page_server in listening:
        page_server.close()
    await server.stop()
    await transport.close()


def _transport(options: argparse.Namespace) -> Transport:
    if options.kubeconfig:
        # Imported only here: it brings the whole client along, which a pod does not need.
        from sampan.client.kubeconfig import load_kubeconfig

        return load_kubeconfig(options.kubeconfig)
    return in_pod(Path(options.account))


def _servers(options: argparse.Namespace) -> tuple[Server, ...]:
    if options.upstream:
        return tuple(_server(text) for text in options.upstream)
    try:
        text = Path(options.resolv_conf).read_text()
    except OSError as error:
        _log.warning("%s cannot be read, so only cluster names are answered: %s", options.resolv_conf, error)
        return ()
    return upstreams(text, own=(options.host,) if options.host else ())


def _server(text: str) -> Server:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`."""
    host, _, port = text.rpartition(":")
    bare = text.count(":") != 1 and not (text.startswith("[") and "]:" in text)
    try:
        return (text.strip("[]"), 53) if bare else (host.strip("[]"), int(port))
    except ValueError as error:
        raise SampanError(f"--upstream {text} is no ADDRESS or ADDRESS:PORT.") from error


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(serve(parser().parse_args(arguments)))
    except SampanError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
