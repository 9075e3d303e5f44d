"""A pod's place in the network: addresses, names, ports, resolver."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster
from tests.ports import free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

DOMAIN = "cluster.local"


def node_ip(cluster: Cluster) -> str:
    node = cluster.run(cluster.client.get(api.Node, "node-1"))
    return next(a.address for a in node.status.addresses if a.type == "InternalIP")


def dns_ip(cluster: Cluster) -> str:
    return cluster.run(cluster.client.get(api.Service, "kube-dns", "kube-system")).spec.clusterIP or ""


def listening(port: int) -> dict[str, object]:
    return {"readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}}


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def resolver(text: str) -> dict[str, list[str]]:
    """resolv.conf: the words after each keyword."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, *rest = line.split()
        found.setdefault(word, []).extend(rest)
    return found


@pytest.mark.conformance("Networking Granular Checks: Pods should function for intra-pod communication: http")
def test_pods_reach_each_other(cluster: Cluster) -> None:
    server = cluster.pod(
        "mkdir /w; echo hello > /w/index.html; httpd -f -p 8080 -h /w", container=listening(8080)
    )
    ip = server.ready().status.podIP
    assert cluster.output(f"wget -q -O - http://{ip}:8080/") == "hello"


def test_the_hosts_network(cluster: Cluster) -> None:
    port = free_port()
    pod = cluster.pod(
        f"hostname; cat /etc/hosts; mkdir /w; echo host > /w/index.html; httpd -f -p {port} -h /w",
        container=listening(port) | {"ports": [{"containerPort": port}]},
        hostNetwork=True,
    )
    ready = pod.ready()
    assert ready.status.podIP == ready.status.hostIP == node_ip(cluster)
    assert pod.get().spec.containers[0].ports[0].hostPort == port
    assert fetch(f"http://127.0.0.1:{port}/") == "host\n"
    assert pod.log().splitlines()[0] == socket.gethostname()


def test_a_host_port(cluster: Cluster) -> None:
    port = free_port()
    pod = cluster.pod(
        "mkdir /w; echo mapped > /w/index.html; httpd -f -p 8080 -h /w",
        container=listening(8080) | {"ports": [{"containerPort": 8080, "hostPort": port}]},
    )
    pod.ready()
    assert fetch(f"http://{node_ip(cluster)}:{port}/") == "mapped\n"


@pytest.mark.conformance(
    "Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts"
)
@pytest.mark.conformance("DNS should provide /etc/hosts entries for the cluster")
@pytest.mark.conformance("KubeletManagedEtcHosts should test kubelet managed /etc/hosts file")
def test_names(cluster: Cluster) -> None:
    script = "hostname; hostname -f; cat /etc/hosts"
    plain = cluster.pod(script)
    named = cluster.pod(
        script,
        hostname="boat",
        subdomain="harbour",
        hostAliases=[{"ip": "192.0.2.7", "hostnames": ["pier", "quay"]}],
    )
    long = cluster.pod(script, hostname="boat", subdomain="harbour", setHostnameAsFQDN=True)
    for pod in (plain, named, long):
        assert pod.over().status.phase == "Succeeded", pod.log()
    ip = plain.get().status.podIP
    short, _, *hosts = plain.log().splitlines()
    assert short == plain.name
    assert hosts[0] == "# Kubernetes-managed hosts file."
    assert f"{ip}\t{plain.name}" in hosts
    assert "127.0.0.1\tlocalhost" in hosts
    full = f"boat.harbour.{NAMESPACE}.svc.{DOMAIN}"
    short, whole, *hosts = named.log().splitlines()
    assert (short, whole) == ("boat", full)
    assert f"{named.get().status.podIP}\t{full}\tboat" in hosts
    assert "192.0.2.7\tpier\tquay" in hosts
    assert long.log().splitlines()[0] == full


@pytest.mark.conformance("KubeletManagedEtcHosts should test kubelet managed /etc/hosts file")
def test_an_etc_hosts_of_its_own_stays(cluster: Cluster) -> None:
    cluster.config_map("own-hosts", hosts="192.0.2.9 mine\n")
    log = cluster.output(
        "cat /etc/hosts",
        container={"volumeMounts": [{"name": "h", "mountPath": "/etc/hosts", "subPath": "hosts"}]},
        volumes=[{"name": "h", "configMap": {"name": "own-hosts"}}],
    )
    assert log == "192.0.2.9 mine"


@pytest.mark.conformance("DNS should support configurable pod DNS nameservers")
def test_resolvers(cluster: Cluster) -> None:
    show = "cat /etc/resolv.conf"
    first = cluster.pod(show)
    own = {
        "nameservers": ["192.0.2.53"],
        "searches": ["a.example", "b.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    none = cluster.pod(show, dnsPolicy="None", dnsConfig=own)
    added = cluster.pod(
        show, dnsConfig={"searches": ["more.example"], "options": [{"name": "ndots", "value": "3"}]}
    )
    host = cluster.pod(show, dnsPolicy="Default")
    on_host = cluster.pod(show, hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    for pod in (first, none, added, host, on_host):
        pod.over()
    searches = [f"{NAMESPACE}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
    for pod in (first, on_host):
        found = resolver(pod.log())
        assert found["nameserver"] == [dns_ip(cluster)]
        assert found["search"][:3] == searches
        assert found["options"] == ["ndots:5"]
    assert resolver(none.log()) == {
        "nameserver": ["192.0.2.53"],
        "search": ["a.example", "b.example"],
        "options": ["ndots:2", "edns0"],
    }
    assert resolver(added.log())["search"][:3] == searches
    assert resolver(added.log())["search"][-1] == "more.example"
    assert resolver(added.log())["options"] == ["ndots:3"]
    assert dns_ip(cluster) not in resolver(host.log()).get("nameserver", [])


def test_services_and_pods_have_names(cluster: Cluster) -> None:
    spec = {"clusterIP": "None", "selector": {"app": "named"}, "ports": [{"port": 8080}]}
    cluster.make(api.Service, {"metadata": {"name": "harbour"}, "spec": spec})
    server = cluster.pod(
        "mkdir /w; echo found > /w/index.html; httpd -f -p 8080 -h /w",
        labels={"app": "named"},
        container=listening(8080),
        hostname="boat",
        subdomain="harbour",
    )
    server.ready()
    log = cluster.output(
        "for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://boat.harbour:8080/ && break; sleep 0.2; done; "
        f"nslookup kubernetes.default.svc.{DOMAIN} | tail -3"
    )
    assert log.splitlines()[0] == "found"
    kubernetes = cluster.run(cluster.client.get(api.Service, "kubernetes", "default"))
    assert str(kubernetes.spec.clusterIP) in log
