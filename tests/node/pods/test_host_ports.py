"""hostPort: a pod behind a port of the node."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest

from sampan.schema import api
from tests.node.pods.cluster import Cluster
from tests.ports import free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

SERVER = "nc -ll -p 8080 -e echo ahoy"


def answer(host: str, port: int) -> str:
    """What a server there says at once; empty where nobody listens."""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            return connection.recv(100).decode().strip()
    except OSError:
        return ""


def other_rules() -> str:
    """The NAT rules that are not the proxy's: those of iptables."""
    if shutil.which("iptables") is None:
        return ""
    return subprocess.run(("iptables", "-t", "nat", "-S"), capture_output=True, text=True, check=True).stdout


def test_it_leads_to_the_pod_as_long_as_there_is_one(cluster: Cluster) -> None:
    port = free_port()
    node = cluster.run(cluster.client.get(api.Node, "node-1"))
    node_ip = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    pod = cluster.pod(SERVER, container={"ports": [{"containerPort": 8080, "hostPort": port}]})
    pod.running()
    for host in ("127.0.0.1", node_ip):
        cluster.until(lambda host=host: answer(host, port) == "ahoy", f"{host} answers")  # type: ignore[misc]
    assert pod.exec(f"nc -w 5 {node_ip} {port} < /dev/null") == "ahoy"  # itself, by the way of the node
    assert cluster.pod(f"nc -w 5 {node_ip} {port} < /dev/null").over().status.phase == "Succeeded"
    assert f"--dport {port} " not in other_rules()
    pod.delete(grace_s=0)
    cluster.until(lambda: answer("127.0.0.1", port) == "", "nobody answers any more")


def test_it_is_limited_to_the_host_ip(cluster: Cluster) -> None:
    port = free_port()
    ports = [{"containerPort": 8080, "hostPort": port, "hostIP": "127.0.0.1"}]
    node = cluster.run(cluster.client.get(api.Node, "node-1"))
    cluster.pod(SERVER, container={"ports": ports}).running()
    cluster.until(lambda: answer("127.0.0.1", port) == "ahoy", "127.0.0.1 answers")
    assert answer(next(a.address for a in node.status.addresses if a.type == "InternalIP"), port) == ""
