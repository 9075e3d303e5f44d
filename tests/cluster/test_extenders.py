"""HTTP extenders on loopback: what they say is heeded, and what they do wrong is contained."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sampan.base.errors import SampanError
from sampan.cluster import pki
from sampan.schema import api
from sampan.testing import Cluster
from tests.cluster.test_sig_scheduling import made
from tests.unit.scheduler.test_shell import events, web

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
Answer = Callable[[dict[str, Any]], Any]


class Extending:
    """An extender that answers each verb by a function, and keeps what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None, **verbs: Answer) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        extending = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                verb = self.path.rpartition("/")[2]
                with extending._lock:
                    extending.asked.append((verb, body))
                answer = verbs[verb](body)
                status, data = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls is not None else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/scheduler"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def config(self, *verbs: str, **rest: Any) -> dict[str, Any]:
        return {**HEAD, "extenders": [{"urlPrefix": self.url, **{f"{v}Verb": v for v in verbs}, **rest}]}

    def bodies(self, verb: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == verb]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def extending() -> Iterator[Callable[..., Extending]]:
    made: list[Extending] = []

    def make(**rest: Any) -> Extending:
        made.append(Extending(**rest))
        return made[-1]

    yield make
    for each in made:
        each.close()


Make = Callable[..., Extending]


def names_of(body: dict[str, Any]) -> list[str]:
    if body["NodeNames"] is not None:
        return list(body["NodeNames"])
    return [node["metadata"]["name"] for node in body["Nodes"]["items"]]


def only(*wanted: str, why: str = "the extender said no") -> Answer:
    """A filter that leaves these nodes, in the form in which it was asked."""

    def answer(body: dict[str, Any]) -> Any:
        failed = {name: why for name in names_of(body) if name not in wanted}
        if body["NodeNames"] is not None:
            return {"NodeNames": [n for n in body["NodeNames"] if n in wanted], "FailedNodes": failed}
        items = [n for n in body["Nodes"]["items"] if n["metadata"]["name"] in wanted]
        return {"nodes": {"items": items}, "failedNodes": failed}

    return answer


def favour(name: str) -> Answer:
    return lambda body: [{"Host": n, "Score": 10 if n == name else 0} for n in names_of(body)]


def get(cluster: Cluster, name: str = "web") -> api.Pod:
    return cluster.client.get(api.Pod, name, "default")


def node_of(cluster: Cluster, name: str = "web") -> str:
    cluster.wait_until(lambda: bool(get(cluster, name).spec.nodeName))
    return get(cluster, name).spec.nodeName or ""


def says(cluster: Cluster, text: str, name: str = "web", reason: str = "Unschedulable") -> None:
    def said() -> bool:
        found = next((c for c in get(cluster, name).status.conditions if c.type == "PodScheduled"), None)
        return found is not None and found.reason == reason and text in (found.message or "")

    cluster.wait_until(said)


def test_the_pods_of_a_gang_are_asked_about_too(extending: Make) -> None:
    extender = extending(filter=only("node-2"))
    served = ["scheduling.k8s.io/v1beta1=true"]
    with Cluster(nodes=2, scheduler_config=extender.config("filter"), runtime_config=served) as cluster:
        policy = {"schedulingPolicy": {"gang": {"minCount": 2}}}
        cluster.client.create(made(api.PodGroupV1beta1, "g", "default", spec=policy))
        for name in ("a", "b"):
            cluster.client.create(web(name, schedulingGroup={"podGroupName": "g"}))
        assert [node_of(cluster, name) for name in ("a", "b")] == ["node-2", "node-2"]
        assert len(extender.bodies("filter")) >= 2


@pytest.mark.parametrize("capable", [False, True])
def test_filtering_and_scoring(extending: Make, capable: bool) -> None:
    there = extending(filter=only("node-1", "node-3"), prioritize=favour("node-3"))
    config = there.config("filter", "prioritize", weight=20, nodeCacheCapable=capable)
    with Cluster(nodes=3, scheduler_config=config) as cluster:
        cluster.client.patch(api.Node, "node-2", "", {"spec": {"unschedulable": True}})
        cluster.wait_until(lambda: bool(cluster.scheduler.world.table.unschedulable.any()))
        for number in range(4):
            cluster.client.create(web(f"p{number}"))
            assert node_of(cluster, f"p{number}") == "node-3"
    asked = there.bodies("filter")[0]
    assert asked["Pod"]["metadata"]["name"] == "p0"
    assert names_of(asked) == ["node-1", "node-3"]  # what the plugins refuse is not asked about
    assert (asked["Nodes"] is None) == capable
    assert names_of(there.bodies("prioritize")[0]) == ["node-1", "node-3"]


def test_why_no_node_will_do_and_that_any_event_may_help(extending: Make) -> None:
    allowed: list[str] = []
    there = extending(filter=lambda body: only(*allowed)(body))
    with Cluster(nodes=3, scheduler_config=there.config("filter")) as cluster:
        cluster.client.patch(api.Node, "node-2", "", {"spec": {"unschedulable": True}})
        cluster.wait_until(lambda: bool(cluster.scheduler.world.table.unschedulable.any()))
        cluster.client.create(web())
        says(cluster, "0/3 nodes are available: 1 node(s) were unschedulable, 2 the extender said no.")
        allowed.append("node-1")
        cluster.client.patch(api.Node, "node-3", "", {"metadata": {"labels": {"any": "thing"}}})
        assert node_of(cluster) == "node-1"


def test_pods_without_the_managed_resource_are_not_its_business(extending: Make) -> None:
    there = extending(filter=only())
    managed = [{"name": "example.com/gpu", "ignoredByScheduler": True}]
    with Cluster(scheduler_config=there.config("filter", managedResources=managed)) as cluster:
        cluster.client.create(web("plain"))
        assert node_of(cluster, "plain") == "node-1"
        assert there.asked == []
        ask = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
        cluster.client.create(web(containers=[{"name": "c", "image": "i", "resources": ask}]))
        says(cluster, "0/1 nodes are available: 1 the extender said no.")  # and not: Insufficient


BAD_ANSWERS: list[tuple[Answer, str]] = [
    (lambda body: (500, b""), "/filter answered with status 500"),
    (lambda body: (200, b"not JSON"), "JSON is malformed"),
    (lambda body: [], "its answer is no JSON object"),
    (lambda body: {"Error": "out of ideas"}, "out of ideas"),
]


@pytest.mark.parametrize(("answer", "text"), BAD_ANSWERS)
@pytest.mark.parametrize("ignorable", [False, True])
def test_one_that_fails(extending: Make, answer: Answer, text: str, ignorable: bool) -> None:
    there = extending(filter=answer)
    with Cluster(scheduler_config=there.config("filter", ignorable=ignorable)) as cluster:
        cluster.client.create(web())
        if ignorable:
            assert node_of(cluster) == "node-1"
        else:
            says(cluster, text, reason="SchedulerError")
            assert any(text in message for message in events(cluster, "FailedScheduling"))
            assert get(cluster).spec.nodeName is None


def test_one_that_is_not_there_or_does_not_answer(extending: Make) -> None:
    done = threading.Event()
    there = extending(filter=lambda body: done.wait(10) and {})
    config = there.config("filter", httpTimeout="50ms")
    gone = extending()
    gone.close()
    with Cluster(scheduler_config=config) as cluster:
        cluster.client.create(web())
        says(cluster, f"extender {there.url} failed: no answer in time", reason="SchedulerError")
        done.set()
    with Cluster(scheduler_config=gone.config("filter", ignorable=True)) as cluster:
        cluster.client.create(web())
        assert node_of(cluster) == "node-1"


def test_scores_that_fail_or_make_no_sense_add_nothing(extending: Make) -> None:
    answers = iter([(500, b""), [{"Host": "node-1", "Score": "much"}], {"a": 1}, None])
    there = extending(prioritize=lambda body: next(answers))
    with Cluster(nodes=2, scheduler_config=there.config("prioritize", weight=1)) as cluster:
        for number in range(4):
            cluster.client.create(web(f"p{number}"))
            assert node_of(cluster, f"p{number}")


def test_one_that_binds(extending: Make) -> None:
    refusals = ["not yet"]
    bound: list[dict[str, Any]] = []

    def bind(body: dict[str, Any]) -> Any:
        if refusals:
            return {"Error": refusals.pop()}
        bound.append(body)
        meta = api.ObjectMeta(name=body["PodName"], namespace=body["PodNamespace"], uid=body["PodUID"])
        target = api.ObjectReference(kind="Node", name=body["Node"])
        path = f"/api/v1/namespaces/{body['PodNamespace']}/pods/{body['PodName']}/binding"
        cluster.call(cluster.async_client.post(path, api.Binding(metadata=meta, target=target), api.Status))
        return {}

    there = extending(bind=bind)
    with Cluster(nodes=2, scheduler_config=there.config("bind")) as cluster:
        cluster.client.create(web())
        node = node_of(cluster)
        assert [(b["PodName"], b["PodNamespace"], b["Node"]) for b in bound] == [("web", "default", node)]
        assert len(there.bodies("bind")) == 2  # the one that was refused gave its room back and came again
        cluster.wait_until(lambda: bool(events(cluster, "Scheduled")))


def crowded(cluster: Cluster) -> api.Pod:
    """A node full with a pod of no importance on each of two nodes, and an important pod."""
    whole = {"requests": {"cpu": "5"}}
    for number in (1, 2):
        cluster.client.create(
            web(
                f"low-{number}",
                priority=0,
                nodeSelector={"kubernetes.io/hostname": f"node-{number}"},
                containers=[{"name": "c", "image": "i", "resources": whole}],
            )
        )
        node_of(cluster, f"low-{number}")
    meta = api.ObjectMeta(name="high")
    cluster.client.create(api.PriorityClass(metadata=meta, value=1000))
    containers = [{"name": "c", "image": "i", "resources": whole}]
    return web(priorityClassName="high", containers=containers)


@pytest.mark.parametrize("capable", [False, True])
def test_one_that_chooses_whose_pods_may_go(extending: Make, capable: bool) -> None:
    def preempt(body: dict[str, Any]) -> Any:
        if capable:
            return {"NodeNameToMetaVictims": {"node-2": body["NodeNameToMetaVictims"]["node-2"]}}
        pods = body["NodeNameToVictims"]["node-2"]["Pods"]
        uids = [{"UID": pod["metadata"]["uid"]} for pod in pods]
        return {"nodeNameToMetaVictims": {"node-2": {"pods": uids, "numPDBViolations": 0}}}

    there = extending(preempt=preempt)
    with Cluster(nodes=2, scheduler_config=there.config("preempt", nodeCacheCapable=capable)) as cluster:
        cluster.client.create(crowded(cluster))
        assert node_of(cluster) == "node-2"
        names = {pod.metadata.name for pod in cluster.client.list(api.Pod, "default")}
        assert names == {"web", "low-1"}
    field = "NodeNameToMetaVictims" if capable else "NodeNameToVictims"
    assert there.bodies("preempt")[0][field].keys() == {"node-1", "node-2"}


def test_one_that_names_victims_that_were_not_offered(extending: Make) -> None:
    answer = {"NodeNameToMetaVictims": {"node-1": {"Pods": [{"UID": "nobody"}]}}}
    there = extending(preempt=lambda body: answer)
    with Cluster(nodes=2, scheduler_config=there.config("preempt")) as cluster:
        cluster.client.create(crowded(cluster))
        says(cluster, "it names the pod 'nobody' on 'node-1'", reason="SchedulerError")
        assert len(cluster.client.list(api.Pod, "default")) == 3


def test_nobody_is_evicted_where_an_extender_refuses_for_good(extending: Make) -> None:
    def refuse(body: dict[str, Any]) -> Any:
        nodes = dict.fromkeys(names_of(body), "no such device")
        return {"NodeNames": [], "FailedAndUnresolvableNodes": nodes}

    there = extending(filter=refuse)
    with Cluster(nodes=2, scheduler_config=there.config("filter", nodeCacheCapable=True)) as cluster:
        cluster.client.create(web())
        helpless = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        says(cluster, f"0/2 nodes are available: 2 no such device. {helpless}")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A server's and a client's certificate of one authority, as files."""
    now = datetime.now(UTC)
    authority = pki.make_authority("extenders", now)
    pki.save(tmp_path, "ca", authority)
    pki.save(tmp_path, "server", pki.issue(authority, "extender", now, hosts=("127.0.0.1", "ext.example")))
    pki.save(tmp_path, "client", pki.issue(authority, "scheduler", now))
    return tmp_path


def server_side(pair: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pair / "ca.crt"))
    context.load_cert_chain(pair / "server.crt", pair / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls_with_certificates_on_both_sides(extending: Make, pair: Path) -> None:
    def inline(name: str) -> str:
        return base64.b64encode((pair / name).read_bytes()).decode()

    there = extending(tls=server_side(pair), filter=only("node-2"))
    files = {key: str(pair / name) for key, name in FILES.items()}
    data = {"caData": inline("ca.crt"), "certData": inline("client.crt"), "keyData": inline("client.key")}
    for tls in (files, data, {**files, "serverName": "ext.example"}):
        config = there.config("filter", enableHTTPS=True, tlsConfig=tls)
        with Cluster(nodes=2, scheduler_config=config) as cluster:
            cluster.client.create(web())
            assert node_of(cluster) == "node-2"
    stranger = {**files, "serverName": "other.example"}
    config = there.config("filter", enableHTTPS=True, tlsConfig=stranger)
    with Cluster(nodes=2, scheduler_config=config) as cluster:
        cluster.client.create(web())
        says(cluster, "failed: Cannot connect to host", reason="SchedulerError")


FILES = {"caFile": "ca.crt", "certFile": "client.crt", "keyFile": "client.key"}


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        ({"caFile": "/none/ca.crt"}, "cannot be used: No such file or directory"),
        ({"certFile": "/none/a.crt"}, "a certificate and its key are given together or not at all"),
        ({"caData": "???"}, "cannot be used: "),
    ],
)
def test_certificates_that_cannot_be_read(tls: dict[str, Any], text: str) -> None:
    extender = {"urlPrefix": "https://127.0.0.1:1", "filterVerb": "f", "tlsConfig": tls}
    with pytest.raises(SampanError) as raised:
        Cluster(scheduler_config={**HEAD, "extenders": [extender]})
    assert "the tlsConfig of the extender https://127.0.0.1:1" in str(raised.value)
    assert text in str(raised.value)
