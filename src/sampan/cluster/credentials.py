"""What parts and users prove who they are with: made on the first start, renewed before it ends."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

from sampan.cluster import pki
from sampan.cluster.config import DOMAIN, Layout, Settings

MASTERS: Final = "system:masters"
# The name of what all simulated nodes have in common.
SIMULATED: Final = "nodes"
# The Service of the metrics API, and its server's certificate.
METRICS: Final = "sampan-metrics"
# Clients that parts run as: file name, user, groups.
_CLIENTS: Final = (
    ("admin", "kubernetes-admin", (MASTERS,)),
    ("controller-manager", "system:kube-controller-manager", ()),
    ("scheduler", "system:kube-scheduler", ()),
    ("kube-proxy", "system:kube-proxy", ()),
    ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", (MASTERS,)),
)


def ensure(layout: Layout, settings: Settings, now: datetime) -> None:
    """Make what is missing and renew what runs out soon; what is good stays as it is."""
    authority = pki.load(layout.pki, "ca")
    if authority is None:
        authority = pki.make_authority("sampan", now)
        pki.save(layout.pki, "ca", authority)
    if pki.load(layout.pki, "sa", "pub") is None:
        pki.save(layout.pki, "sa", pki.make_signing_key(), "pub")
    # Extension servers trust this authority alone to say who asks: it signs nothing else.
    front = pki.load(layout.pki, "front-proxy-ca")
    if front is None:
        front = pki.make_authority("front-proxy-ca", now)
        pki.save(layout.pki, "front-proxy-ca", front)
    _client(layout, front, "front-proxy-client", "front-proxy-client", (), now)
    _server(layout, authority, "apiserver", "kube-apiserver", server_hosts(settings), now)
    names = (METRICS, f"{METRICS}.kube-system", f"{METRICS}.kube-system.svc")
    _server(layout, authority, METRICS, METRICS, names, now)
    for name, user, groups in _CLIENTS:
        _client(layout, authority, name, user, groups, now)
    _nodes(layout, settings, authority, now)
    token = layout.pki / "admin.token"
    if not token.exists():
        pki.write_private(token, secrets.token_urlsafe(32).encode())
    _kubeconfig(layout, settings)


def _nodes(layout: Layout, settings: Settings, authority: pki.KeyPair, now: datetime) -> None:
    if settings.runtime == "simulated":  # thousands, perhaps, behind one server
        _server(layout, authority, f"{SIMULATED}-server", SIMULATED, ("localhost", "127.0.0.1"), now)
        return
    for number, node in enumerate(settings.node_names()):
        _client(layout, authority, node, f"system:node:{node}", ("system:nodes",), now)
        hosts = (node, "localhost", "127.0.0.1", settings.node_ip(number))
        _server(layout, authority, f"{node}-server", f"system:node:{node}", hosts, now)


def server_hosts(settings: Settings) -> tuple[str, ...]:
    """The names and addresses that the API server answers to."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    full = f"kubernetes.default.svc.{DOMAIN}"
    return (*names, full, "localhost", "127.0.0.1", settings.service_ip, settings.node_ip(0))


def _client(
    layout: Layout, authority: pki.KeyPair, name: str, user: str, groups: tuple[str, ...], now: datetime
) -> None:
    pair = pki.load(layout.pki, name)
    if pair is None or not _good(authority, pair, now):
        pki.save(layout.pki, name, pki.issue(authority, user, now, organizations=groups))


def _server(
    layout: Layout, authority: pki.KeyPair, name: str, user: str, hosts: tuple[str, ...], now: datetime
) -> None:
    pair = pki.load(layout.pki, name)
    fits = pair is not None and pki.names_of(pair.certificate) >= set(hosts)
    if pair is None or not fits or not _good(authority, pair, now):
        pki.save(layout.pki, name, pki.issue(authority, user, now, hosts=hosts))


def _good(authority: pki.KeyPair, pair: pki.KeyPair, now: datetime) -> bool:
    # An authority that was removed and made anew has signed none of the old certificates.
    return pki.issued_by(authority, pair.certificate) and not pki.expires_soon(pair.certificate, now)


def _kubeconfig(layout: Layout, settings: Settings) -> None:
    from sampan.cluster.kubeconfig import admin_config

    text = admin_config(layout, settings)
    if _read(layout.kubeconfig) != text:
        pki.write_private(layout.kubeconfig, text)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
