"""The API server process: store, core and HTTPS."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.apiserver.core.aggregation.authentication import FRONT_PROXY_USER
from sampan.apiserver.core.authn import TokenKeys
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.requestheader import FrontProxy
from sampan.apiserver.core.server import ApiServer
from sampan.apiserver.core.server import Settings as ServerSettings
from sampan.apiserver.core.users import ADMIN, User
from sampan.apiserver.http.relay import Relay
from sampan.apiserver.http.serve import HttpServer
from sampan.base.clock import Clock, SystemClock
from sampan.base.ids import RandomIds
from sampan.cluster.config import DOMAIN, Layout, Settings
from sampan.cluster.parts import renewal
from sampan.cluster.parts.process import run_until_told_to_stop, set_up_logging
from sampan.cluster.tls import client_context, server_context, subject_of
from sampan.kinds import registry
from sampan.kinds.groups import switched_on
from sampan.kinds.loopback import LoopbackEndpoints
from sampan.store.backend import Store
from sampan.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from sampan.apiserver.core.audit.auditor import Auditor

FRONT_PROXY_CA = "front-proxy-ca.crt"
SWITCH_S = 0.0005
ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"


async def run(layout: Layout, settings: Settings) -> None:
    """Serve until cancelled."""
    # The store's writer thread waits for the interpreter after each sync, by default up to 5 ms.
    sys.setswitchinterval(SWITCH_S)
    clock = SystemClock()
    # Neither host processes nor what simulates nodes has an address beside this machine's own.
    LoopbackEndpoints.allowed = settings.runtime != "containerd"
    store, upkeep = open_store(layout, settings, clock)
    address = settings.node_ip(0)
    server = ApiServer(
        store,
        clock,
        RandomIds(),
        ServerSettings(
            keys=token_keys(layout),
            service_cidr=settings.service_range,
            service_ip=settings.service_ip,
            anonymous=False,
            anonymous_paths=("/healthz", "/livez", "/readyz"),
            address=address,
            port=settings.port,
            hostname=socket.gethostname(),
            version=settings.kubernetes_version,
            kubelet_ca=str(layout.authority),
            loopback_pods=settings.runtime == "process",
            static_tokens=static_tokens(layout),
            client_ca=layout.authority.read_text(),
            front_proxy_ca=(layout.pki / FRONT_PROXY_CA).read_text(),
        ),
        registry.ALL + switched_on(settings.runtime_config, settings.version),
    )
    simulated = settings.runtime == "simulated"
    to_nodes = client_context(layout.authority, layout.pki, "apiserver-kubelet-client")
    front = layout.pki / "front-proxy-client.crt", layout.pki / "front-proxy-client.key"
    relay = Relay(to_nodes, nodes_at=address if simulated else "", front=front)
    server.aggregator.fetch = relay.fetch
    if settings.audit_policy:
        server.audit = auditor(settings, layout, clock)
        upkeep.append(server.audit.run())
    if settings.authentication_config:
        from sampan.apiserver.core.oidc.issuers import Issuers
        from sampan.cluster import authentication

        issuers = Issuers(authentication.load(Path(settings.authentication_config)), clock)
        server.authenticator.external = issuers
        upkeep.append(issuers.load())
    http = HttpServer(server, relay, _log_error)
    http.front_proxy = front_proxy(layout)
    trusted = (layout.pki / FRONT_PROXY_CA,) if http.front_proxy is not None else ()
    tls = server_context(layout.authority, layout.pki, "apiserver", *trusted)
    upkeep.append(renewal.keep(layout, settings, clock))
    await server.start()
    tasks = [asyncio.ensure_future(work) for work in upkeep]
    for host in dict.fromkeys(("127.0.0.1", address)):
        await http.start(host, settings.port, tls)
    try:
        await asyncio.Event().wait()
    finally:
        # The core first: it ends the watches, for which HTTP would wait.
        await server.close()
        await http.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if server.audit is not None:
            await server.audit.flush()
        await store.close()


Upkeep = list[Coroutine[Any, Any, None]]


def open_store(layout: Layout, settings: Settings, clock: Clock) -> tuple[Store, Upkeep]:
    """The store, and what has to run beside it. Raises SampanError."""
    store = SqliteStore(layout.store)
    if not settings.encryption_config:
        return store, []
    from sampan.cluster import encryption
    from sampan.store.sealed import SealedStore

    path = Path(settings.encryption_config)
    sealed = SealedStore(store, encryption.load(path))
    return sealed, [encryption.follow(path, sealed, clock)]


def auditor(settings: Settings, layout: Layout, clock: Clock) -> Auditor:
    """The auditor by the policy file of the settings. Raises SampanError."""
    from sampan.apiserver.core.audit.auditor import Auditor, LogFile
    from sampan.cluster import audit

    log = Path(settings.audit_log) if settings.audit_log else layout.logs / "audit.log"
    return Auditor(
        audit.load(Path(settings.audit_policy)), LogFile(path=log, max_backups=10), clock, RandomIds()
    )


def front_proxy(layout: Layout) -> FrontProxy | None:
    """Whose headers are believed; nobody's where its authority is called as that of clients is."""
    subject = subject_of(layout.pki / FRONT_PROXY_CA)
    if subject == subject_of(layout.authority):
        logging.getLogger(__name__).warning(
            "%s has the same subject as %s, so that no front proxy can be told from a client; "
            "make it anew under another name",
            layout.pki / FRONT_PROXY_CA,
            layout.authority,
        )
        return None
    return FrontProxy(subject, frozenset({FRONT_PROXY_USER}))


def token_keys(layout: Layout) -> TokenKeys:
    """The keys that sign service-account tokens; whoever made this start's credentials has checked them."""
    key, public = (layout.pki / "sa.key").read_bytes(), (layout.pki / "sa.pub").read_bytes()
    return TokenKeys(key, (public,), ISSUER, (ISSUER,))


def static_tokens(layout: Layout) -> dict[str, User]:
    """The administrator's token, for clients that can show no certificate."""
    return {(layout.pki / "admin.token").read_text().strip(): ADMIN}


def _log_error(request: Request, problem: Exception) -> None:
    sys.stderr.write(f"{request.method} {request.path} failed\n")
    traceback.print_exception(problem)


def main(layout: Layout, settings: Settings) -> None:
    import uvloop

    set_up_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_told_to_stop(run(layout, settings)))
