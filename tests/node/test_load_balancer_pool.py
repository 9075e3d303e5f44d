"""Services of type LoadBalancer with addresses of a pool, on a machine without a default route."""

from __future__ import annotations

import pytest

from tests.node.sampans import eventually, own_network, sampan_in

pytestmark = [pytest.mark.containers, pytest.mark.timeout(240)]

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: sampan.local/busybox:1
    command: [sh, -c, "mkdir /w; echo from-pod > /w/index.html; exec httpd -f -p 8080 -h /w"]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: late}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


def test_each_service_gets_an_address_until_there_are_none() -> None:
    with own_network() as machine, sampan_in(machine) as sampan:
        sampan.up("--load-balancer-pool", "192.0.2.10-192.0.2.10")
        assert sampan.kubectl("apply", "-f", "-", text=MANIFEST).status == 0

        def given(name: str) -> str:
            path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
            return sampan.kubectl("get", "service", name, "-o", path).out

        def answer() -> str:
            return machine.run("curl", "-s", "-m", "2", "--noproxy", "*", "http://192.0.2.10/").stdout.strip()

        first = eventually(lambda: next((n for n in ("web", "late") if given(n) == "192.0.2.10"), ""))
        assert eventually(answer) == "from-pod"
        other = "late" if first == "web" else "web"
        assert given(other) == ""
        sampan.kubectl("delete", "service", first)
        eventually(lambda: given(other) == "192.0.2.10")
        assert eventually(answer) == "from-pod"
