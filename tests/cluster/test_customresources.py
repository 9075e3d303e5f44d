"""Controllers see custom resources: owners on either side, and namespaces that go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sampan.schema import api
from sampan.testing import Cluster

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/stable.example.com/v1"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "ships.stable.example.com"},
    "spec": {
        "group": "stable.example.com",
        "scope": "Namespaced",
        "names": {"plural": "ships", "kind": "Ship"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


def ask(cluster: Cluster, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = b"" if body is None else msgspec.json.encode(body)
    reply = cluster.call(cluster.async_client.transport.request(method, path, None, data))
    # Where nobody serves a path of a custom group there is a page of text, as with kube-apiserver.
    return reply.status, msgspec.json.decode(reply.body) if reply.body.startswith(b"{") else reply.body


def ships(namespace: str = "default") -> str:
    return f"{GROUP}/namespaces/{namespace}/ships"


def is_there(cluster: Cluster, path: str) -> bool:
    return ask(cluster, "GET", path)[0] == 200


def ship(cluster: Cluster, name: str, namespace: str = "default", **metadata: Any) -> Any:
    body = {
        "apiVersion": "stable.example.com/v1",
        "kind": "Ship",
        "metadata": {"name": name, **metadata},
    }
    code, made = ask(cluster, "POST", ships(namespace), body)
    assert code == 201, made
    return made


def owner(obj: Any) -> dict[str, Any]:
    meta = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "blockOwnerDeletion": True,
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=0, scheduler=False) as made:
        assert ask(made, "POST", CRDS, DEFINITION)[0] == 201
        made.wait_until(lambda: is_there(made, ships()))
        yield made


def test_what_a_custom_resource_owns_goes_with_it(cluster: Cluster) -> None:
    parent = ship(cluster, "parent")
    child = ship(cluster, "child", ownerReferences=[owner(parent)])
    cargo = api.ConfigMap(metadata=api.ObjectMeta(name="cargo", namespace="default"))
    cargo.metadata.ownerReferences = [api.OwnerReference(**owner(child))]
    cluster.client.create(cargo)
    ask(cluster, "DELETE", f"{ships()}/parent")
    cluster.wait_until(lambda: not is_there(cluster, f"{ships()}/child"))
    cluster.wait_until(lambda: not is_there(cluster, "/api/v1/namespaces/default/configmaps/cargo"))


def test_a_custom_resource_goes_with_its_owner(cluster: Cluster) -> None:
    made = cluster.client.create(api.ConfigMap(metadata=api.ObjectMeta(name="dock", namespace="default")))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "dock", "uid": made.metadata.uid}
    ship(cluster, "moored", ownerReferences=[reference])
    ship(cluster, "free")
    cluster.client.delete(api.ConfigMap, "dock", "default")
    cluster.wait_until(lambda: not is_there(cluster, f"{ships()}/moored"))
    assert is_there(cluster, f"{ships()}/free")


def test_an_owner_waits_for_its_custom_dependents(cluster: Cluster) -> None:
    parent = ship(cluster, "convoy")
    ship(cluster, "escort", ownerReferences=[owner(parent)], finalizers=["example.com/hold"])
    ask(cluster, "DELETE", f"{ships()}/convoy", {"propagationPolicy": "Foreground"})
    cluster.wait_until(lambda: "deletionTimestamp" in ask(cluster, "GET", f"{ships()}/escort")[1]["metadata"])
    assert is_there(cluster, f"{ships()}/convoy")
    escort = ask(cluster, "GET", f"{ships()}/escort")[1]
    del escort["metadata"]["finalizers"]
    ask(cluster, "PUT", f"{ships()}/escort", escort)
    cluster.wait_until(lambda: not is_there(cluster, f"{ships()}/convoy"))


def test_orphans_forget_their_owner(cluster: Cluster) -> None:
    parent = ship(cluster, "flagship")
    ship(cluster, "orphan", ownerReferences=[owner(parent)])
    ask(cluster, "DELETE", f"{ships()}/flagship", {"propagationPolicy": "Orphan"})
    cluster.wait_until(lambda: not is_there(cluster, f"{ships()}/flagship"))
    assert "ownerReferences" not in ask(cluster, "GET", f"{ships()}/orphan")[1]["metadata"]


def test_a_namespace_takes_its_custom_resources_along(cluster: Cluster) -> None:
    cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name="harbour")))
    ship(cluster, "held", "harbour", finalizers=["example.com/hold"])
    ship(cluster, "ready", "harbour")
    cluster.client.delete(api.Namespace, "harbour")
    cluster.wait_until(lambda: not is_there(cluster, f"{ships('harbour')}/ready"))
    assert is_there(cluster, "/api/v1/namespaces/harbour")
    held = ask(cluster, "GET", f"{ships('harbour')}/held")[1]
    del held["metadata"]["finalizers"]
    ask(cluster, "PUT", f"{ships('harbour')}/held", held)
    cluster.wait_until(lambda: not is_there(cluster, "/api/v1/namespaces/harbour"))


def test_a_definition_goes_with_all_its_objects(cluster: Cluster) -> None:
    again = {**DEFINITION, "metadata": {"name": "rafts.stable.example.com"}}
    again["spec"] = {**DEFINITION["spec"], "names": {"plural": "rafts", "kind": "Raft"}}  # type: ignore[dict-item]
    assert ask(cluster, "POST", CRDS, again)[0] == 201
    rafts = ships().replace("ships", "rafts")
    cluster.wait_until(lambda: is_there(cluster, rafts))
    parent = ship(cluster, "tug")
    body = {
        "apiVersion": "stable.example.com/v1",
        "kind": "Raft",
        "metadata": {"name": "towed", "ownerReferences": [owner(parent)]},
    }
    assert ask(cluster, "POST", rafts, body)[0] == 201
    ask(cluster, "DELETE", f"{ships()}/tug")
    cluster.wait_until(lambda: not is_there(cluster, f"{rafts}/towed"))
    ask(cluster, "DELETE", f"{CRDS}/rafts.stable.example.com")
    cluster.wait_until(lambda: not is_there(cluster, f"{CRDS}/rafts.stable.example.com"))
    assert not is_there(cluster, rafts)
