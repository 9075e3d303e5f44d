"""How the parts reach their own API server. Apart from the parts, so that none loads what another needs."""

from __future__ import annotations

from sampan.client.client import Client
from sampan.client.http import HttpTransport
from sampan.cluster.config import Layout, Settings
from sampan.cluster.kubeconfig import server_url
from sampan.cluster.tls import client_context


def client_of(layout: Layout, settings: Settings, name: str) -> Client:
    """A client that shows the certificate `name`."""
    tls = client_context(layout.authority, layout.pki, name)
    return Client(HttpTransport(server_url(settings), tls=tls, user_agent=f"sampan-{name}"))
