"""Services over real pods: ports, protocols, affinity, names, and the API server's proxy."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from typing import Any

import dnslib
import pytest

from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster, Pod

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

# Answers with its name, and on /cgi-bin/echo with how it was asked.
SERVER = (
    "mkdir -p /w/cgi-bin; hostname > /w/index.html; "
    "printf '#!/bin/sh\\nprintf \"Content-Type: text/plain\\\\n\\\\n\"; echo $REQUEST_METHOD $PATH_INFO\\n' "
    "> /w/cgi-bin/echo; chmod +x /w/cgi-bin/echo; httpd -p 8082 -h /w; exec httpd -f -p 8080 -h /w"
)
PROBE = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
CONTAINER = {"readinessProbe": PROBE, "ports": [{"name": "web", "containerPort": 8080}]}
# Where nothing answers, new rules may not have come to the node yet.
TRIES = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do {0} && break; sleep 0.2; done"


def servers(cluster: Cluster, app: str, count: int) -> list[Pod]:
    made = [cluster.pod(SERVER, labels={"app": app}, container=CONTAINER) for _ in range(count)]
    for pod in made:
        pod.ready()
    return made


def service(cluster: Cluster, name: str, **spec: Any) -> api.ServiceSpec:
    ports = [{"port": 80, "targetPort": 8080}]
    body = {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": ports, **spec}}
    made: api.Service = cluster.make(api.Service, body)
    return made.spec


def client(cluster: Cluster) -> Pod:
    pod = cluster.pod()
    pod.running()
    return pod


def get(pod: Pod, url: str) -> str:
    return pod.exec(TRIES.format(f"wget -q -O - {url}"))


def node_ip(cluster: Cluster) -> str:
    node = cluster.run(cluster.client.get(api.Node, "node-1"))
    return next(a.address for a in node.status.addresses if a.type == "InternalIP")


def fetch(host: str, port: int) -> str:
    """What a web server answers the host itself; empty where it does not."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
            text: str = answer.read().decode().strip()
    except OSError:
        return ""
    return text


def resolve(host: str, name: str, *, tcp: bool = False) -> str:
    """What a name server answers the host itself; empty where it does not."""
    try:
        answer = dnslib.DNSRecord.question(name).send(host, 53, tcp=tcp, timeout=3)
    except OSError:
        return ""
    return str(dnslib.DNSRecord.parse(answer).short())


@pytest.mark.conformance("Services should serve a basic endpoint from pods")
@pytest.mark.conformance("Services should serve multiport endpoints from pods")
@pytest.mark.conformance("Services should be able to create a functioning NodePort service")
def test_ports_and_protocols_and_endpoints_that_go(cluster: Cluster) -> None:
    ports = [
        {"name": "web", "port": 80, "targetPort": "web"},
        {"name": "more", "port": 81, "targetPort": 8082},
    ]
    spec = service(cluster, "ports", type="NodePort", ports=ports)
    one, two = servers(cluster, "ports", 2)
    asking = client(cluster)
    for port in (80, 81):
        seen: set[str] = set()
        cluster.until(
            lambda seen=seen, port=port: (  # type: ignore[misc]
                seen.add(get(asking, f"http://ports:{port}/")) or seen == {one.name, two.name}
            ),
            f"both answer on port {port}",
        )
    numbers = {p.name: p.nodePort or 0 for p in spec.ports}
    cluster.until(lambda: fetch(node_ip(cluster), numbers["web"]) != "", "the node's port answers")
    one.delete(grace_s=0)
    cluster.until(
        lambda: {fetch(node_ip(cluster), numbers["web"]) for _ in range(8)} == {two.name}, "one is left"
    )
    cluster.run(cluster.client.delete(api.Service, "ports", NAMESPACE))
    cluster.until(lambda: fetch(node_ip(cluster), numbers["web"]) == "", "nothing answers any more")


@pytest.mark.conformance("Services should have session affinity work for service with type clusterIP")
@pytest.mark.conformance("Services should be able to switch session affinity for service with type clusterIP")
@pytest.mark.conformance("Services should have session affinity work for NodePort service")
@pytest.mark.conformance("Services should be able to switch session affinity for NodePort service")
def test_affinity_can_be_had_and_given_up(cluster: Cluster) -> None:
    spec = service(cluster, "sticky", type="NodePort", sessionAffinity="ClientIP")
    names = {pod.name for pod in servers(cluster, "sticky", 3)}
    asking = client(cluster)
    many = f"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do wget -q -O - http://{spec.clusterIP}/; done"
    port = spec.ports[0].nodePort or 0

    def inside() -> set[str]:
        return set(asking.exec(f"{many}; true").split())

    def outside() -> set[str]:
        return {fetch(node_ip(cluster), port) for _ in range(12)}

    for ask in (inside, outside):
        cluster.until(lambda ask=ask: len(ask()) == 1 and ask() <= names, "one answers each time")  # type: ignore[misc]
    for affinity, is_one in (("None", False), ("ClientIP", True)):
        cluster.patch(api.Service, "sticky", {"spec": {"sessionAffinity": affinity}})
        for ask in (inside, outside):
            cluster.until(
                lambda ask=ask, is_one=is_one: (len(found := ask()) == 1) is is_one and found <= names,  # type: ignore[misc]
                f"affinity is {affinity}",
            )


@pytest.mark.conformance("Networking Granular Checks: Pods should function for intra-pod communication: udp")
@pytest.mark.conformance("Networking Granular Checks: Pods should function for node-pod communication: http")
@pytest.mark.conformance("Networking Granular Checks: Pods should function for node-pod communication: udp")
def test_pods_are_reached_by_pods_and_by_their_node(cluster: Cluster) -> None:
    [server] = servers(cluster, "reached", 1)
    assert fetch(server.get().status.podIP or "", 8080) == server.name
    # What there is of UDP in each cluster are name servers.
    dns = cluster.run(cluster.client.list(api.Pod, "kube-system", labels="k8s-app=kube-dns")).items[0]
    name = "kubernetes.default.svc.cluster.local"
    known = cluster.run(cluster.client.get(api.Service, "kubernetes", "default")).spec.clusterIP or ""
    assert resolve(dns.status.podIP or "", name) == known
    asking = client(cluster)
    assert known in asking.exec(f"nslookup {name} {dns.status.podIP}")


@pytest.mark.conformance("Services should serve endpoints on same port and different protocols")
def test_one_port_for_two_protocols(cluster: Cluster) -> None:
    service = cluster.run(cluster.client.get(api.Service, "kube-dns", "kube-system")).spec
    assert {(p.port, p.protocol) for p in service.ports} == {(53, "UDP"), (53, "TCP")}
    name = "kube-dns.kube-system.svc.cluster.local"
    for tcp in (False, True):
        assert resolve(service.clusterIP or "", name, tcp=tcp) == service.clusterIP


@pytest.mark.conformance("DNS should provide DNS for services")
@pytest.mark.conformance("DNS should provide DNS for the cluster")
@pytest.mark.conformance("DNS should resolve DNS of partial qualified names for services")
@pytest.mark.conformance("DNS should provide DNS for pods for Hostname")
@pytest.mark.conformance("DNS should provide DNS for pods for Subdomain")
@pytest.mark.conformance("DNS should provide DNS for ExternalName services")
def test_names_of_services_and_pods(cluster: Cluster) -> None:
    spec = service(cluster, "named")
    service(cluster, "headless", clusterIP="None", selector={"app": "named"})
    pod = cluster.pod(
        SERVER, labels={"app": "named"}, container=CONTAINER, hostname="querier", subdomain="headless"
    )
    ip = pod.ready().status.podIP or ""
    full = f"{NAMESPACE}.svc.cluster.local"
    asking = client(cluster)
    kubernetes = cluster.run(cluster.client.get(api.Service, "kubernetes", "default")).spec.clusterIP or ""

    def looked_up(name: str, kind: str = "a") -> str:
        return asking.exec(f"nslookup -type={kind} {name} 2>&1; true")

    for name in ("named", f"named.{NAMESPACE}", f"named.{NAMESPACE}.svc", f"named.{full}"):
        assert get(asking, f"http://{name}/") == "querier"
    assert f"Address: {spec.clusterIP}" in looked_up(f"named.{full}")
    for name in ("headless", "querier.headless", f"querier.headless.{full}"):
        assert get(asking, f"http://{name}:8080/") == "querier"
    for name in (f"headless.{full}", f"querier.headless.{full}"):
        assert f"Address: {ip}" in looked_up(name)
    assert f"Address: {kubernetes}" in looked_up("kubernetes.default.svc.cluster.local")
    assert pod.exec("hostname; hostname -f").split() == ["querier", f"querier.headless.{full}"]
    away = {"type": "ExternalName", "externalName": f"named.{full}"}
    cluster.make(api.Service, {"metadata": {"name": "away"}, "spec": away})
    other = f"away.{full}"
    cluster.until(lambda: f"named.{full}" in looked_up(other, "cname"), "the other name is known")
    assert get(asking, "http://away/") == "querier"
    cluster.patch(api.Service, "away", {"spec": {"externalName": f"headless.{full}"}})
    cluster.until(lambda: f"headless.{full}" in looked_up(other, "cname"), "the name has changed")
    back = {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80, "protocol": "TCP"}]}
    cluster.patch(api.Service, "away", {"spec": back})
    own = cluster.run(cluster.client.get(api.Service, "away", NAMESPACE)).spec.clusterIP
    cluster.until(lambda: f"Address: {own}" in looked_up(other), "it has an address of its own")


@pytest.mark.conformance(
    "Proxy version v1 A set of valid responses are returned for both pod and service Proxy"
)
@pytest.mark.conformance(
    "Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath"
)
@pytest.mark.conformance("Proxy version v1 should proxy through a service and a pod")
def test_the_api_server_reaches_pods_and_services(cluster: Cluster) -> None:
    ports = [
        {"name": "web", "port": 80, "targetPort": 8080},
        {"name": "more", "port": 81, "targetPort": 8082},
    ]
    service(cluster, "proxied", ports=ports)
    [pod] = servers(cluster, "proxied", 1)
    space = f"/api/v1/namespaces/{NAMESPACE}"

    def ask(method: str, path: str) -> tuple[int, str]:
        reply = cluster.run(cluster.client.transport.request(method, f"{space}/{path}"))
        return reply.status, reply.body.decode().strip()

    cluster.until(lambda: ask("GET", "services/proxied/proxy/")[0] == 200, "the service has an endpoint")
    for target in (
        *(f"pods/{name}" for name in (pod.name, f"{pod.name}:8080", f"http:{pod.name}:web")),
        *(
            f"services/{name}"
            for name in ("proxied:80", "proxied:web", "http:proxied:81", "http:proxied:more")
        ),
    ):
        assert ask("GET", f"{target}/proxy/") == (200, pod.name), target
    for target in (f"pods/{pod.name}", "services/proxied:web"):
        for method in ("GET", "POST"):
            assert ask(method, f"{target}/proxy/cgi-bin/echo/some/path") == (200, f"{method} /some/path")
        assert ask("GET", f"{target}/proxy/none")[0] == 404


@pytest.mark.conformance("API Server should have Endpoints and EndpointSlices pointing to API Server")
@pytest.mark.conformance("API Server should provide secure master service")
def test_the_api_server_s_own_service(cluster: Cluster) -> None:
    found = cluster.run(cluster.client.get(api.Service, "kubernetes", "default"))
    assert [(p.name, p.port) for p in found.spec.ports] == [("https", 443)]
    endpoints = cluster.run(cluster.client.get(api.Endpoints, "kubernetes", "default"))
    classic = {(a.ip, p.port) for s in endpoints.subsets for a in s.addresses for p in s.ports}
    one = cluster.run(cluster.client.get(api.EndpointSlice, "kubernetes", "default"))
    assert {(a, p.port) for e in one.endpoints for a in e.addresses for p in one.ports} == classic != set()
    pki = cluster.root / "pki"
    tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    with (
        socket.create_connection((found.spec.clusterIP or "", 443), timeout=5) as plain,
        tls.wrap_socket(plain, server_hostname="kubernetes.default.svc") as secure,
    ):
        secure.sendall(b"GET /version HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: secure.recv(4096), b""))
    assert b'"gitVersion"' in answer


@pytest.mark.conformance(
    "EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices"
)
@pytest.mark.conformance(
    "EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices"
)
def test_slices_that_somebody_writes(cluster: Cluster) -> None:
    one, two = servers(cluster, "by-hand", 2)
    ports = [{"name": "web", "port": 80}, {"name": "more", "port": 81}]
    cluster.make(api.Service, {"metadata": {"name": "by-hand"}, "spec": {"ports": ports}})

    def write(name: str, pods: list[Pod], ports: dict[str, int]) -> None:
        cluster.make(
            api.EndpointSlice,
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "by-hand"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [pod.get().status.podIP]} for pod in pods],
                "ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports.items()],
            },
        )

    asking = client(cluster)

    def answers(port: int, names: set[str]) -> None:
        seen: set[str] = set()
        cluster.until(
            lambda: bool(seen.add(get(asking, f"http://by-hand:{port}/"))) or seen == names,
            f"{names} answer on port {port}",
        )

    write("addresses-1", [one], {"web": 8080})
    write("addresses-2", [two], {"web": 8080})
    answers(80, {one.name, two.name})
    write("ports", [one], {"more": 8082})
    answers(81, {one.name})


@pytest.mark.conformance("ReplicaSet should serve a basic image on each replica with a public image")
@pytest.mark.conformance(
    "ReplicationController should serve a basic image on each replica with a public image"
)
@pytest.mark.parametrize("kind", [api.ReplicaSet, api.ReplicationController])
def test_each_replica_serves(cluster: Cluster, kind: Any) -> None:
    name = f"serve-{kind is api.ReplicaSet}".lower()
    labels = {"app": name}
    main = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", SERVER], **CONTAINER}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [main], "terminationGracePeriodSeconds": 1},
    }
    selector: Any = {"matchLabels": labels} if kind is api.ReplicaSet else labels
    spec = {"replicas": 2, "selector": selector, "template": template}
    cluster.make(kind, {"metadata": {"name": name}, "spec": spec})

    def ready() -> int:
        return cluster.run(cluster.client.get(kind, name, NAMESPACE)).status.readyReplicas or 0

    cluster.until(lambda: ready() == 2, "both are ready")
    pods = cluster.run(cluster.client.list(api.Pod, NAMESPACE, labels=f"app={name}")).items
    for pod in pods:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.metadata.name}/proxy/"
        reply = cluster.run(cluster.client.transport.request("GET", path))
        assert reply.body.decode().strip() == pod.metadata.name
    cluster.run(cluster.client.delete(kind, name, NAMESPACE, propagation="Background"))
    cluster.until(
        lambda: not cluster.run(cluster.client.list(api.Pod, NAMESPACE, labels=f"app={name}")).items,
        "the pods go with their owner",
    )


@pytest.mark.conformance(
    "Job should run a job to completion when tasks sometimes fail and are locally restarted"
)
def test_tasks_that_fail_once_are_restarted_in_place(cluster: Cluster) -> None:
    main = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", "[ -e /d/once ] || { touch /d/once; exit 1; }"],
        "volumeMounts": [{"name": "d", "mountPath": "/d"}],
    }
    volumes = [{"name": "d", "emptyDir": {}}]
    pod = {"containers": [main], "restartPolicy": "OnFailure", "volumes": volumes}
    spec = {"completions": 4, "parallelism": 2, "template": {"spec": pod}}
    cluster.make(api.Job, {"metadata": {"name": "restarts"}, "spec": spec})

    def job() -> api.Job:
        return cluster.run(cluster.client.get(api.Job, "restarts", NAMESPACE))

    cluster.until(
        lambda: any(c.type == "Complete" and c.status == "True" for c in job().status.conditions), "done"
    )
    assert (job().status.succeeded, job().status.failed) == (4, None)
    pods = cluster.run(cluster.client.list(api.Pod, NAMESPACE, labels="job-name=restarts")).items
    assert [sum(c.restartCount or 0 for c in p.status.containerStatuses) for p in pods] == [1] * 4
