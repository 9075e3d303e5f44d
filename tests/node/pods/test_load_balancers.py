"""A Service of type LoadBalancer answers at the address that it was given."""

from __future__ import annotations

import urllib.request

import pytest

from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster
from tests.ports import free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]


def test_the_address_it_was_given_leads_to_its_pod(cluster: Cluster) -> None:
    server = cluster.pod(
        "mkdir /w; echo balanced > /w/index.html; httpd -f -p 8080 -h /w",
        labels={"app": "balanced"},
        container={"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
    )
    server.ready()
    port = free_port()
    spec = {
        "type": "LoadBalancer",
        "selector": {"app": "balanced"},
        "ports": [{"port": port, "targetPort": 8080}],
    }
    cluster.make(api.Service, {"metadata": {"name": "balanced"}, "spec": spec})

    def given() -> str:
        found = cluster.run(cluster.client.get(api.Service, "balanced", NAMESPACE)).status.loadBalancer
        return (found.ingress[0].ip or "") if found is not None and found.ingress else ""

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://{given()}:{port}/", timeout=5) as found:
                text: str = found.read().decode()
                return text
        except OSError:
            return ""

    cluster.until(lambda: bool(given()), "the Service has an address")
    cluster.until(lambda: answer() == "balanced\n", "the address answers")
    cluster.run(cluster.client.delete(api.Service, "balanced", NAMESPACE))
    cluster.until(lambda: not cluster.has(api.Service, "balanced"), "the Service is gone")
