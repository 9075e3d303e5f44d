"""The official Python client: typed, dynamic, watching, streaming, electing leaders."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, UnprocessibleEntityError
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import stream

from sampan.testing.cluster import Cluster
from tests.clients.manifests import config_map, deployment, pod

pytestmark = [
    pytest.mark.clients,
    # The client leaves the sockets of ended watches to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 20


@pytest.fixture
def connection(live: Cluster) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(live.kubeconfig)) as made:
        yield made


@pytest.fixture
def core(connection: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(connection)


def test_typed_objects_there_and_back(core: client.CoreV1Api, own: str) -> None:
    labels = {"app": "web"}
    made = core.create_namespaced_config_map(
        own,
        client.V1ConfigMap(
            metadata=client.V1ObjectMeta(generate_name="web-", labels=labels), data={"a": "1"}
        ),
    )
    name = made.metadata.name
    assert (name.startswith("web-"), made.metadata.creation_timestamp is not None) == (True, True)
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map(name, own, made)
    assert replaced.data == {"a": "1", "b": "2"}
    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_config_map(name, own, made)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    patched = core.patch_namespaced_config_map(name, own, {"data": {"a": None}})
    assert patched.data == {"b": "2"}
    listed = core.list_namespaced_config_map(own, label_selector="app=web")
    assert [item.metadata.name for item in listed.items] == [name]
    core.delete_namespaced_config_map(name, own)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map(name, own)
    assert gone.value.status == 404


def test_pages_of_a_list(core: client.CoreV1Api, own: str) -> None:
    for number in range(5):
        core.create_namespaced_config_map(own, config_map(f"c{number}"))
    names, remaining, token = [], [], None
    while True:
        page = core.list_namespaced_config_map(own, limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        remaining.append(page.metadata.remaining_item_count)
        token = page.metadata._continue
        if not token:
            break
    assert names == [*(f"c{number}" for number in range(5)), "kube-root-ca.crt"]
    assert remaining == [4, 2, None]


def test_a_deployment_from_a_document(connection: client.ApiClient, core: client.CoreV1Api, own: str) -> None:
    utils.create_from_dict(connection, deployment("web"), namespace=own)
    apps = client.AppsV1Api(connection)
    for event in watch.Watch().stream(apps.list_namespaced_deployment, own, timeout_seconds=WAIT_S):
        if event["object"].status.ready_replicas == 2:
            break
    scale = apps.read_namespaced_deployment_scale("web", own)
    scale.spec.replicas = 1
    assert apps.replace_namespaced_deployment_scale("web", own, scale).spec.replicas == 1
    applied = apps.patch_namespaced_deployment(
        "web",
        own,
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"tier": "front"}}},
        field_manager="tester",
        force=True,
        _content_type="application/apply-patch+yaml",
    )
    assert applied.metadata.labels == {"app": "web", "tier": "front"}
    managers = {entry.manager: entry.operation for entry in applied.metadata.managed_fields}
    assert managers["tester"] == "Apply"
    apps.delete_namespaced_deployment("web", own, propagation_policy="Foreground")


def test_a_watch_from_a_revision_and_after_its_end(core: client.CoreV1Api, own: str) -> None:
    start = core.list_namespaced_config_map(own).metadata.resource_version
    core.create_namespaced_config_map(own, config_map("seen", a="1"))
    core.patch_namespaced_config_map("seen", own, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("seen", own)
    watcher = watch.Watch()
    seen = []
    for event in watcher.stream(
        core.list_namespaced_config_map, own, resource_version=start, timeout_seconds=WAIT_S
    ):
        seen.append((event["type"], event["object"].metadata.name, event["object"].data))
        if event["type"] == "DELETED":
            break
    assert seen == [
        ("ADDED", "seen", {"a": "1"}),
        ("MODIFIED", "seen", {"a": "2"}),
        ("DELETED", "seen", {"a": "2"}),
    ]


def test_exec_and_log_of_a_pod(core: client.CoreV1Api, own: str) -> None:
    core.create_namespaced_pod(own, pod("one"))
    for event in watch.Watch().stream(
        core.list_namespaced_pod, own, field_selector="metadata.name=one", timeout_seconds=WAIT_S
    ):
        if event["object"].status.phase == "Running":
            break
    assert isinstance(core.read_namespaced_pod_log("one", own), str)
    said = stream(
        core.connect_get_namespaced_pod_exec, "one", own, command=["echo", "hello"], stdout=True, stderr=True
    )
    assert isinstance(said, str)
    core.create_namespaced_pod_eviction(
        "one", own, client.V1Eviction(metadata=client.V1ObjectMeta(name="one", namespace=own))
    )


def test_the_dynamic_client(connection: client.ApiClient, own: str) -> None:
    found = dynamic.DynamicClient(connection)
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    made = maps.create(body=config_map("a", x="1"), namespace=own)
    assert made.metadata.uid
    with pytest.raises(ConflictError):
        maps.create(body=config_map("a"), namespace=own)
    patched = maps.patch(
        body={"data": {"y": "2"}}, name="a", namespace=own, content_type="application/merge-patch+json"
    )
    assert patched.data.to_dict() == {"x": "1", "y": "2"}
    applied = maps.server_side_apply(
        body=config_map("a", z="3"), name="a", namespace=own, field_manager="tester"
    )
    assert applied.data.z == "3"
    with pytest.raises(ConflictError):
        maps.server_side_apply(body=config_map("a", z="4"), name="a", namespace=own, field_manager="other")
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    assert "scale" in deployments.subresources
    with pytest.raises(UnprocessibleEntityError) as refused:
        wrong = deployment("web")
        wrong["spec"]["selector"] = {"matchLabels": {"app": "other"}}
        deployments.create(body=wrong, namespace=own)
    assert "`selector` does not match template `labels`" in str(refused.value.body)
    deployments.create(body=deployment("web", replicas=0), namespace=own)
    scaled = deployments.scale.patch(
        body={"spec": {"replicas": 1}}, name="web", namespace=own, content_type="application/merge-patch+json"
    )
    assert scaled.spec.replicas == 1
    for event in deployments.watch(namespace=own, timeout=WAIT_S):
        if event["object"].status.readyReplicas == 1:
            break
    maps.delete(name="a", namespace=own)
    with pytest.raises(NotFoundError):
        maps.get(name="a", namespace=own)


def test_the_dynamic_client_reads_whole_discovery(connection: client.ApiClient) -> None:
    found = dynamic.DynamicClient(connection)
    plurals = {resource.name for resource in found.resources.search() if type(resource) is dynamic.Resource}
    assert {"pods", "deployments", "networkpolicies", "leases", "customresourcedefinitions"} <= plurals


def test_version_and_groups(connection: client.ApiClient) -> None:
    assert client.VersionApi(connection).get_code().major == "1"
    names = {group.name for group in client.ApisApi(connection).get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= names


def test_leaders_are_elected(live: Cluster, own: str) -> None:
    """Two candidates, one lease: the second leads once the first has gone."""
    config.load_kube_config(str(live.kubeconfig))
    led: list[str] = []
    first, second = _Candidate("one", own, led), _Candidate("two", own, led)
    first.start()
    live.wait_until(lambda: led == ["one"])
    second.start()
    lease = client.CoordinationV1Api().read_namespaced_lease("leader", own)
    assert lease.spec.holder_identity == "one"
    first.steps_down()
    live.wait_until(lambda: led == ["one", "two"])
    lease = client.CoordinationV1Api().read_namespaced_lease("leader", own)
    assert lease.spec.holder_identity == "two"
    second.steps_down()


class _Candidate(threading.Thread):
    """Waits to lead, then leads until told otherwise."""

    def __init__(self, name: str, namespace: str, led: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._namespace, self._led = namespace, led
        self._over = threading.Event()

    def run(self) -> None:
        settings = electionconfig.Config(
            LeaseLock("leader", self._namespace, self.name),
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=self._lead,
            onstopped_leading=lambda: None,
        )
        leaderelection.LeaderElection(settings).run()

    def steps_down(self) -> None:
        self._over.set()
        self.join(WAIT_S)
        assert not self.is_alive()

    def _lead(self) -> None:
        self._led.append(self.name)
        assert self._over.wait(WAIT_S)
        raise _Over  # the only way in which this client lets go of a lease that it could renew


class _Over(Exception):
    """The leader steps down."""
