"""How the parts reach their own API server. Apart from the parts, so that none loads what another needs."""

from __future__ import annotations

from typing import Final

from sampan.client.client import Client
from sampan.client.http import HttpTransport
from sampan.cluster.config import Layout, Settings
from sampan.cluster.kubeconfig import server_url
from sampan.cluster.tls import client_context

# Who manages the fields that these write, as tools know them that leave such fields alone.
_AGENTS: Final = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}


def client_of(layout: Layout, settings: Settings, name: str, *, agent: str = "") -> Client:
    """A client that shows the certificate `name`, and calls itself as that part is called in Kubernetes."""
    tls = client_context(layout.authority, layout.pki, name)
    return Client(
        HttpTransport(server_url(settings), tls=tls, user_agent=agent or _AGENTS.get(name, f"sampan-{name}"))
    )
