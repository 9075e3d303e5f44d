"""Projected sources that somebody else signs: trust bundles, and certificates of pods."""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sampan.node.errors import VolumeError
from sampan.node.volumes.certificates import make_key
from sampan.node.volumes.plan import trust_anchors
from sampan.schema import api, codec
from tests.unit.node.bench import NODE
from tests.unit.node.test_volumes import Disk, meta, pod_with, run

BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"
REQUESTS = "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests"


def certificate(number: int) -> str:
    return ssl.DER_cert_to_PEM_cert(bytes([number]) * 60)


def bundle(name: str, *numbers: int, signer: str = "", **labels: str) -> api.ClusterTrustBundle:
    text = "in between\n".join(certificate(number) for number in numbers)
    return api.ClusterTrustBundle(
        metadata=api.ObjectMeta(name=name, labels=labels),
        spec=api.ClusterTrustBundleSpec(signerName=signer or None, trustBundle=text),
    )


@pytest.mark.parametrize(
    ("projection", "holds"),
    [
        ({"name": "plain"}, [1, 2]),
        ({"signerName": "ca.example.com/x", "labelSelector": {"matchLabels": {"live": "y"}}}, [3, 4]),
        ({"signerName": "ca.example.com/x", "labelSelector": {}}, [3, 4, 5]),
        ({"name": "none", "optional": True}, []),
        ({"signerName": "ca.example.com/x", "optional": True}, []),  # no selector chooses nothing
    ],
)
def test_trust_anchors_are_chosen_and_each_is_there_once(
    projection: dict[str, Any], holds: list[int]
) -> None:
    bundles = [
        bundle("plain", 1, 2, 1),
        bundle("ca.example.com:x:1", 3, 4, signer="ca.example.com/x", live="y"),
        bundle("ca.example.com:x:2", 4, 5, signer="ca.example.com/x"),
    ]
    wanted = codec.from_builtins({"path": "ca.pem", **projection}, api.ClusterTrustBundleProjection)
    assert trust_anchors(wanted, bundles).decode() == "".join(certificate(number) for number in holds)


def test_a_trust_bundle_that_is_not_there_is_named() -> None:
    wanted = api.ClusterTrustBundleProjection(name="none", path="ca.pem")
    with pytest.raises(VolumeError, match=r'clustertrustbundles.certificates.k8s.io "none" not found'):
        trust_anchors(wanted, [])


def test_a_projected_trust_bundle_follows_its_bundle(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        disk.api.put(f"{BUNDLES}/plain", bundle("plain", 1))
        pod = pod_with(
            {"projected": {"sources": [{"clusterTrustBundle": {"name": "plain", "path": "ca.pem"}}]}}
        )
        await disk.manager.prepare(pod, NODE)
        file = disk.volume("projected") / "ca.pem"
        assert file.read_text() == certificate(1)
        disk.api.put(f"{BUNDLES}/plain", bundle("plain", 2))
        async with asyncio.timeout(30):
            while file.read_text() != certificate(2):  # noqa: ASYNC110 - nobody tells of files
                await asyncio.sleep(0.01)

    run(tmp_path, scenario)


class Signer:
    """Answers each request of the node as it is told to."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.asked: list[dict[str, Any]] = []
        disk.api.put("/api/v1/nodes/node-1", api.Node(metadata=api.ObjectMeta(name="node-1", uid="node-uid")))
        account = api.ServiceAccount(metadata=meta("default"))
        disk.api.put("/api/v1/namespaces/default/serviceaccounts/default", account)

    async def answer(self, kind: str, **status: Any) -> None:
        """Answer the next request."""
        path = f"{REQUESTS}/req-{len(self.asked)}"
        async with asyncio.timeout(30):
            while path not in self.disk.api.objects:  # noqa: ASYNC110 - the fake tells nobody
                await asyncio.sleep(0.01)
        request = self.disk.api.objects[path]
        self.asked.append(request["spec"])
        condition = {"type": kind, "status": "True", "reason": "Because", "message": "so it is"}
        self.disk.api._put(path, {**request, "status": {"conditions": [condition], **status}}, "MODIFIED")


def certified(**projection: Any) -> api.Pod:
    source = {
        "signerName": "ca.example.com/x",
        "keyType": "ED25519",
        "credentialBundlePath": "all.pem",
        **projection,
    }
    return pod_with({"projected": {"sources": [{"podCertificate": source}]}}, serviceAccountName="default")


async def prepared(disk: Disk, pod: api.Pod) -> None:
    """Prepare, with time going on."""
    preparing = asyncio.create_task(disk.manager.prepare(pod, NODE))
    async with asyncio.timeout(30):
        while not preparing.done():
            await asyncio.sleep(0.01)
            await disk.clock.advance(0.1)
    await preparing


def test_a_pod_gets_a_certificate_for_a_key_of_its_own_and_a_new_one_in_time(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        signer = Signer(disk)
        pod = certified(
            keyPath="key.pem", certificateChainPath="chain.pem", userAnnotations={"a.example/b": "c"}
        )
        later = (disk.clock.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        answering = asyncio.create_task(
            signer.answer("Issued", certificateChain=certificate(1) + "junk\n", beginRefreshAt=later)
        )
        await prepared(disk, pod)
        await answering
        (spec,) = signer.asked
        assert (spec["podName"], spec["podUID"], spec["nodeUID"]) == ("web", "web-uid", "node-uid")
        assert (spec["serviceAccountName"], spec["serviceAccountUID"]) == ("default", "default-uid")
        assert spec["unverifiedUserAnnotations"] == {"a.example/b": "c"}
        proof = x509.load_der_x509_csr(base64.b64decode(spec["stubPKCS10Request"]))
        home = disk.volume("projected")
        key = (home / "key.pem").read_bytes()
        private = serialization.load_pem_private_key(key, None)
        assert isinstance(private, Ed25519PrivateKey)
        assert proof.is_signature_valid and proof.public_key() == private.public_key()
        assert (home / "chain.pem").read_text() == certificate(1)
        assert (home / "all.pem").read_bytes() == key + certificate(1).encode()
        await disk.clock.advance(3700)
        answering = asyncio.create_task(
            signer.answer("Issued", certificateChain=certificate(2), beginRefreshAt=None)
        )
        async with asyncio.timeout(30):
            while (home / "chain.pem").read_text() != certificate(2):
                await asyncio.sleep(0.01)
                await disk.clock.advance(5)
        await answering
        assert (home / "key.pem").read_bytes() != key

    run(tmp_path, scenario)


def test_a_pod_waits_for_its_certificate_and_is_told_of_a_refusal(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        signer = Signer(disk)
        with pytest.raises(VolumeError, match="credential bundle is not issued yet"):
            await prepared(disk, certified())
        await signer.answer("Denied")
        for _ in range(2):
            with pytest.raises(VolumeError, match='permanently denied: reason="Because" message="so it is"'):
                await prepared(disk, certified())
        assert len([path for path in disk.api.objects if path.startswith(REQUESTS)]) == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"])
def test_keys_of_every_type_prove_themselves(kind: str) -> None:
    key, proof = make_key(kind)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert x509.load_der_x509_csr(proof).is_signature_valid
    with pytest.raises(VolumeError, match='unknown key type "X"'):
        make_key("X")
