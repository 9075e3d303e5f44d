"""Liveness, readiness and startup probes against real containers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster, condition_of, ended, last_ended, status_of

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

WEB = "mkdir /www; cd /www; echo ok > healthz; httpd -p 8080; {0}; while :; do sleep 0.05; done"


def probe(**how: Any) -> dict[str, Any]:
    return {"periodSeconds": 1, "failureThreshold": 1, **how}


EXEC = {"exec": {"command": ["cat", "/www/healthz"]}}
HTTP = {"httpGet": {"path": "/healthz", "port": "web"}}
TCP = {"tcpSocket": {"port": 8080}}


@pytest.mark.conformance("Probing container should be restarted with a /healthz http liveness probe")
@pytest.mark.conformance('Probing container should be restarted with a exec "cat /tmp/health" liveness probe')
@pytest.mark.conformance("Probing container should *not* be restarted with a /healthz http liveness probe")
@pytest.mark.conformance(
    'Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe'
)
@pytest.mark.conformance("Probing container should *not* be restarted with a tcp:8080 liveness probe")
@pytest.mark.parametrize(
    ("how", "harm", "complaint"),
    [
        (EXEC, "rm /www/healthz", "No such file or directory"),
        (HTTP, "rm /www/healthz", "HTTP probe failed with statuscode: 404"),
        (TCP, "killall httpd", "refused"),
    ],
    ids=["exec", "http", "tcp"],
)
def test_a_container_that_is_not_alive_is_restarted(
    cluster: Cluster, how: dict[str, Any], harm: str, complaint: str
) -> None:
    container = {
        "livenessProbe": probe(**how, initialDelaySeconds=1),
        "ports": [{"name": "web", "containerPort": 8080}],
    }
    pod = cluster.pod(WEB.format(f"sleep 0.5; {harm}"), container=container, restartPolicy="Always")
    healthy = cluster.pod(WEB.format("true"), container=container, restartPolicy="Always")
    restarted = pod.restarted()
    assert last_ended(restarted).exitCode == 137
    assert complaint in pod.told("Unhealthy", "Liveness probe failed: ")
    assert pod.told("Killing") == "Container main failed liveness probe, will be restarted"
    assert status_of(healthy.get()).restartCount == 0


@pytest.mark.conformance("Probing container should be restarted with a GRPC liveness probe")
@pytest.mark.conformance("Probing container should *not* be restarted with a GRPC liveness probe")
@pytest.mark.parametrize("falls", [True, False])
def test_grpc(cluster: Cluster, falls: bool) -> None:
    """The pod is on the host's network, so that its health can be answered from here."""
    # SERVING twice, and from then on NOT_SERVING where it falls ill.
    answers = iter([b"\x08\x01", b"\x08\x01"])
    after = b"\x08\x02" if falls else b"\x08\x01"
    asked: list[bytes] = []

    def check(request: bytes, context: Any) -> bytes:
        asked.append(request)
        return next(answers, after)

    handler = grpc.unary_unary_rpc_method_handler(check)
    service = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[service])
    port = server.add_insecure_port("0.0.0.0:0")
    server.start()
    try:
        how = probe(grpc={"port": port, "service": "front"})
        pod = cluster.pod(
            container={"livenessProbe": how, "readinessProbe": TCP | {"tcpSocket": {"port": port}}},
            hostNetwork=True,
            restartPolicy="Always",
        )
        pod.ready()
        if not falls:
            cluster.until(lambda: len(asked) > 4, "it was asked again and again")
            assert status_of(pod.get()).restartCount == 0
            return
        pod.restarted()
        assert "NOT_SERVING" in pod.told("Unhealthy", "Liveness probe failed")
        assert asked[0] == b"\x0a\x05front"
    finally:
        server.stop(None).wait()


def test_readiness_decides_who_gets_traffic(cluster: Cluster) -> None:
    cluster.make(
        api.Service,
        {"metadata": {"name": "gated"}, "spec": {"selector": {"app": "gated"}, "ports": [{"port": 80}]}},
    )
    pod = cluster.pod(
        "sleep 1.2; touch /tmp/ready; sleep 2; rm /tmp/ready; sleep 1000",
        labels={"app": "gated"},
        container={"readinessProbe": probe(exec={"command": ["test", "-e", "/tmp/ready"]})},
    )

    def endpoint_ready() -> list[bool | None]:
        labels = "kubernetes.io/service-name=gated"
        found = cluster.run(cluster.client.list(api.EndpointSlice, NAMESPACE, labels=labels))
        return [e.conditions.ready for s in found.items for e in s.endpoints if e.conditions is not None]

    pod.until(lambda p: status_of(p).started, "started")
    cluster.until(lambda: endpoint_ready() == [False], "the pod is an endpoint that is not ready")
    assert not status_of(pod.get()).ready
    pod.ready()
    cluster.until(lambda: endpoint_ready() == [True], "the endpoint is ready")
    pod.until(lambda p: condition_of(p, "Ready").status == "False" and p.status.phase == "Running", "unready")
    cluster.until(lambda: endpoint_ready() == [False], "the endpoint is not ready again")
    assert status_of(pod.get()).restartCount == 0


def test_a_startup_probe_holds_the_others_back(cluster: Cluster) -> None:
    started = {"exec": {"command": ["test", "-e", "/tmp/started"]}}
    pod = cluster.pod(
        "sleep 1.3; touch /tmp/started; sleep 1000",
        container={
            "startupProbe": probe(**started, failureThreshold=20),
            "livenessProbe": probe(**started),
            "readinessProbe": probe(exec={"command": ["true"]}),
        },
        restartPolicy="Always",
    )
    early = pod.until(lambda p: (s := status_of(p).state) is not None and s.running, "running")
    assert (status_of(early).started, status_of(early).ready) == (False, False)
    ready = pod.ready()
    assert (status_of(ready).started, status_of(ready).restartCount) == (True, 0)


def test_a_container_that_does_not_get_up_is_restarted(cluster: Cluster) -> None:
    pod = cluster.pod(
        container={"startupProbe": probe(exec={"command": ["false"]}, failureThreshold=2)},
        restartPolicy="Never",
    )
    over = pod.over()
    assert over.status.phase == "Failed"
    assert ended(over).exitCode == 137
    assert pod.told("Killing") == "Container main failed startup probe, will be restarted"


def test_a_probe_that_takes_too_long_fails(cluster: Cluster) -> None:
    how = probe(exec={"command": ["sleep", "10"]}, timeoutSeconds=1)
    pod = cluster.pod(container={"livenessProbe": how}, restartPolicy="Always")
    pod.restarted()
    assert "timed out" in pod.told("Unhealthy", "Liveness probe failed")


def test_the_probes_own_grace_wins(cluster: Cluster) -> None:
    how = probe(exec={"command": ["false"]}, terminationGracePeriodSeconds=1)
    pod = cluster.pod(
        container={"livenessProbe": how}, restartPolicy="Always", terminationGracePeriodSeconds=600
    )
    assert last_ended(pod.restarted()).exitCode == 137
