"""How the parts reach their own API server. Apart from the parts, so that none loads what another needs."""

from __future__ import annotations

from sampan.client.client import Client
from sampan.client.http import HttpTransport, tls_context
from sampan.cluster.config import Layout, Settings
from sampan.cluster.kubeconfig import server_url


def client_of(layout: Layout, settings: Settings, name: str) -> Client:
    """A client that shows the certificate `name`."""
    tls = tls_context(layout.authority, layout.pki / f"{name}.crt", layout.pki / f"{name}.key")
    return Client(HttpTransport(server_url(settings), tls=tls, user_agent=f"sampan-{name}"))
