"""The node authorizer and NodeRestriction: what a node may see and write follows from its pods."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from sampan.apiserver.core.users import User
from tests.api.server import CONFIG_MAPS, MERGE, PODS, Api, config_map, pod, served

SECRETS = "/api/v1/namespaces/default/secrets"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"


def _node(name: str) -> User:
    return User(f"system:node:{name}", ("system:nodes", "system:authenticated"))


N1, N2 = _node("n1"), _node("n2")


async def _cluster(api: Api) -> Any:
    for name in ("n1", "n2"):
        (await api.post(NODES, {"metadata": {"name": name}}, user=_node(name))).ok(201)
    for name in ("env", "env-from", "volume", "projected", "pull", "other"):
        (await api.post(SECRETS, {"metadata": {"name": name}})).ok(201)
        (await api.post(CONFIG_MAPS, config_map(name))).ok(201)
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1"}},
        "volumeName": "disk",
    }
    (await api.post(CLAIMS, {"metadata": {"name": "data"}, "spec": claim})).ok(201)
    secret = {"name": "volume-key", "namespace": "default"}
    (await api.post(SECRETS, {"metadata": {"name": "volume-key"}})).ok(201)
    volume = {
        "capacity": {"storage": "1"},
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "example.com", "volumeHandle": "x", "nodePublishSecretRef": secret},
        "claimRef": {"namespace": "default", "name": "data"},
    }
    (await api.post(VOLUMES, {"metadata": {"name": "disk"}, "spec": volume})).ok(201)
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "a"}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "a"}}},
    ]
    env_from = [{"secretRef": {"name": "env-from"}}, {"configMapRef": {"name": "env-from"}}]
    sources = [{"secret": {"name": "projected"}}, {"configMap": {"name": "projected"}}]
    return await api.pod(
        node="n1",
        imagePullSecrets=[{"name": "pull"}],
        containers=[{"name": "main", "image": "busybox", "env": env, "envFrom": env_from}],
        volumes=[
            {"name": "a", "secret": {"secretName": "volume"}},
            {"name": "b", "configMap": {"name": "volume"}},
            {"name": "c", "projected": {"sources": sources}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
        ],
    )


@served
async def test_a_node_reads_what_its_pods_refer_to_and_another_does_not(api: Api) -> None:
    await _cluster(api)
    paths = [f"{SECRETS}/{name}" for name in ("env", "env-from", "volume", "projected", "pull", "volume-key")]
    paths += [f"{CONFIG_MAPS}/{name}" for name in ("env", "env-from", "volume", "projected")]
    paths += [f"{CLAIMS}/data", f"{VOLUMES}/disk", f"{PODS}/web", f"{NODES}/n1"]
    for path in paths:
        (await api.get(path, user=N1)).ok()
        if path != f"{VOLUMES}/disk":  # of which local ones are for every node
            (await api.get(path, user=N2)).refused(403, "Forbidden")
    for path in (f"{SECRETS}/other", f"{CONFIG_MAPS}/other", SECRETS, CONFIG_MAPS, PODS, "/api/v1/pods"):
        (await api.get(path, user=N1)).refused(403, "Forbidden")


@served
async def test_a_node_lists_and_watches_by_selectors_that_name_it(api: Api) -> None:
    await _cluster(api)
    (await api.get("/api/v1/pods", user=N1, fieldSelector="spec.nodeName=n1")).ok()
    (await api.get("/api/v1/pods", user=N1, fieldSelector="spec.nodeName=n2")).refused(403, "Forbidden")
    (await api.get(NODES, user=N1, fieldSelector="metadata.name=n1")).ok()
    (await api.get(NODES, user=N1)).refused(403, "Forbidden")
    await (await api.watch(SECRETS, user=N1, fieldSelector="metadata.name=volume")).close()
    (await api.get(SECRETS, user=N1, fieldSelector="metadata.name=other")).refused(403, "Forbidden")


@served
async def test_what_a_node_may_see_goes_with_its_pods(api: Api) -> None:
    await _cluster(api)
    (await api.get(f"{SECRETS}/volume", user=N1)).ok()
    (await api.delete(f"{PODS}/web", {"gracePeriodSeconds": 0})).ok()
    (await api.get(f"{SECRETS}/volume", user=N1)).refused(403, "Forbidden")
    volumes = [{"name": "a", "secret": {"secretName": "volume"}}]
    (await api.post(PODS, pod("late", volumes=volumes))).ok(201)
    (await api.get(f"{SECRETS}/volume", user=N2)).refused(403, "Forbidden")
    binding = {"metadata": {"name": "late"}, "target": {"kind": "Node", "name": "n2"}}
    (await api.post(f"{PODS}/late/binding", binding)).ok(201)
    (await api.get(f"{SECRETS}/volume", user=N2)).ok()


@served
async def test_mirror_pods_open_nothing(api: Api) -> None:
    await _cluster(api)
    node = (await api.get(f"{NODES}/n2", user=N2)).ok()
    mirror = pod("mirror", node="n2", volumes=[{"name": "a", "configMap": {"name": "other"}}])
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": node["metadata"]["uid"]}
    mirror["metadata"]["ownerReferences"] = [owner]
    (await api.post(PODS, mirror, user=N2)).ok(201)
    (await api.get(f"{CONFIG_MAPS}/other", user=N2)).refused(403, "Forbidden")
    (await api.post(PODS, pod("plain", node="n2"), user=N2)).refused(403, "Forbidden")


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("PATCH", f"{NODES}/n1", {"metadata": {"labels": {"a": "b"}}}),
        ("PATCH", f"{NODES}/n1/status", {"status": {"phase": "x"}}),
        ("PATCH", f"{NODES}/n2", {"spec": {"taints": []}}),
        ("PATCH", f"{NODES}/n2", {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}),
        ("PATCH", f"{NODES}/n2", {"metadata": {"labels": {"node-role.kubernetes.io/master": ""}}}),
        ("DELETE", f"{NODES}/n2", None),
        ("DELETE", f"{PODS}/web", None),
        ("PATCH", f"{PODS}/web/status", {"status": {"phase": "Failed"}}),
        ("PATCH", f"{PODS}/web", {"metadata": {"labels": {"a": "b"}}}),
        ("POST", f"{PODS}/web/eviction", {"metadata": {"name": "web"}}),
        ("POST", LEASES, {"metadata": {"name": "n1"}}),
        ("POST", TOKEN, {"spec": {}}),
    ],
)
@served
async def test_a_node_writes_nothing_of_others(api: Api, verb: str, path: str, body: Any) -> None:
    made = await _cluster(api)
    if path == TOKEN:
        body = {"spec": {"boundObjectRef": {"kind": "Pod", "name": "web", "uid": made["metadata"]["uid"]}}}
    media = MERGE if verb == "PATCH" else "application/json"
    (await api.call(verb, path, body, user=N2, media=media)).refused(403, "Forbidden")


@served
async def test_a_node_does_its_own_work(api: Api) -> None:
    await _cluster(api)
    (await api.patch(f"{PODS}/web/status", {"status": {"phase": "Running"}}, user=N1)).ok()
    answer = await api.patch(f"{PODS}/web/status", {"metadata": {"labels": {"a": "b"}}}, user=N1)
    assert "cannot update labels through pod status" in answer.refused(403, "Forbidden")
    (await api.post(LEASES, {"metadata": {"name": "n1"}}, user=N1)).ok(201)
    (
        await api.patch(
            f"{NODES}/n1", {"metadata": {"labels": {"topology.kubernetes.io/zone": "z"}}}, user=N1
        )
    ).ok()
    (await api.post(f"{PODS}/web/eviction", {"metadata": {"name": "web"}}, user=N1)).ok(201)


def _proof() -> str:
    """A signing request of a new key, as nodes make it for a pod."""
    key = ed25519.Ed25519PrivateKey.generate()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    return base64.b64encode(csr.public_bytes(serialization.Encoding.DER)).decode()


REQUESTS = "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests"
SIGNER = "ca.example.com/pods"


@served
async def test_a_node_asks_for_certificates_of_its_own_pods_as_they_are(api: Api) -> None:
    for name in ("n1", "n2"):
        (await api.post(NODES, {"metadata": {"name": name}}, user=_node(name))).ok(201)
    source = {"signerName": SIGNER, "keyType": "ED25519", "credentialBundlePath": "all.pem"}
    volume = {"name": "own", "projected": {"sources": [{"podCertificate": source}]}}
    made = await api.pod(node="n1", volumes=[volume])
    uids = {
        "podUID": made["metadata"]["uid"],
        "nodeUID": (await api.get(f"{NODES}/n1")).ok()["metadata"]["uid"],
        "serviceAccountUID": (await api.get(TOKEN.removesuffix("/token"))).ok()["metadata"]["uid"],
    }
    asked = {
        "signerName": SIGNER,
        "podName": "web",
        "serviceAccountName": "default",
        "nodeName": "n1",
        "stubPKCS10Request": _proof(),
        **uids,
    }

    async def ask(who: User, **changes: str) -> Any:
        return await api.post(
            REQUESTS, {"metadata": {"generateName": "req-"}, "spec": {**asked, **changes}}, user=who
        )

    (await ask(N1)).ok(201)
    (await ask(N2)).refused(403, "Forbidden")
    (await ask(N2, nodeName="n2")).refused(403, "Forbidden")
    for changed in (
        *({name: "another"} for name in uids),
        {"podName": "db"},
        {"signerName": "ca.example.com/x"},
    ):
        (await ask(N1, **changed)).refused(403, "Forbidden")
    (await ask(N1, serviceAccountName="builder")).refused(403, "Forbidden")
