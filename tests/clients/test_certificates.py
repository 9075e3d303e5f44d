"""Certificates for users and nodes, asked for and approved as kubectl's users do it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.schema import api
from sampan.testing.cluster import Cluster
from tests import kubectl

CLIENT = ("digital signature", "client auth")


def _made(common_name: str, *groups: str, dns: str = "") -> tuple[bytes, bytes]:
    """A request and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, private


def _asked(name: str, signer: str, pem: bytes, *usages: str, **spec: Any) -> api.CertificateSigningRequest:
    return api.CertificateSigningRequest(
        metadata=api.ObjectMeta(name=name),
        spec=api.CertificateSigningRequestSpec(
            signerName=f"kubernetes.io/{signer}", request=pem, usages=list(usages), **spec
        ),
    )


def _get(cluster: Cluster, name: str) -> api.CertificateSigningRequest:
    return cluster.client.get(api.CertificateSigningRequest, name)


def test_a_certificate_that_kubectl_approved_says_who_asks(live: Cluster, tmp_path: Path) -> None:
    pem, key = _made("ann", "painters")
    live.client.create(_asked("ann", "kube-apiserver-client", pem, "client auth", expirationSeconds=3600))
    ask = kubectl.Kubectl(live.kubeconfig)
    assert "Pending" in ask("get", "csr", "ann")
    assert "approved" in ask("certificate", "approve", "ann")
    live.wait_until(lambda: bool(_get(live, "ann").status.certificate))
    assert "Approved,Issued" in ask("get", "csr", "ann")
    made = _get(live, "ann").status.certificate
    assert made is not None
    certificate = x509.load_pem_x509_certificate(made)
    lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lasts.total_seconds() == 3600 + 300
    document = live.kubeconfig.read_text().splitlines()
    users = {
        "client-certificate-data": base64.b64encode(made).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    line = "users: " + msgspec.json.encode([{"name": "sampan", "user": users}]).decode()
    own = tmp_path / "ann"
    own.write_text("\n".join([*(text for text in document if not text.startswith("users:")), line]))
    who = kubectl.Kubectl(own).json("auth", "whoami")
    info = who["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("ann", ["painters", "system:authenticated"])


def _bind(cluster: Cluster, role: str, group: str) -> None:
    rbac = "rbac.authorization.k8s.io"
    cluster.client.create(
        api.ClusterRoleBinding(
            metadata=api.ObjectMeta(name=f"for-{group.replace(':', '-')}"),
            roleRef=api.RoleRef(apiGroup=rbac, kind="ClusterRole", name=role),
            subjects=[api.RbacSubject(kind="Group", name=group, apiGroup=rbac)],
        )
    )


def test_nodes_that_ask_for_themselves_are_approved(live: Cluster) -> None:
    pem, _key = _made("system:node:mine", "system:nodes")
    own = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
    _bind(live, own, "system:nodes")
    _bind(live, "system:node-bootstrapper", "joiners")
    node = live.client_as("system:node:mine", "system:nodes")
    node.create(_asked("mine", "kube-apiserver-client-kubelet", pem, *CLIENT))
    live.wait_until(lambda: bool(_get(live, "mine").status.certificate))
    [condition] = _get(live, "mine").status.conditions
    assert (condition.type, condition.reason) == ("Approved", "AutoApproved")
    # Whoever asks for another needs the other right, which joiners were not given.
    pem, _key = _made("system:node:other", "system:nodes")
    joiner = live.client_as("joiner", "joiners")
    joiner.create(_asked("other", "kube-apiserver-client-kubelet", pem, *CLIENT))
    assert live.manager is not None
    manager = live.manager
    live.wait_until(
        lambda: (
            "was not approved" in manager.waiting_for("certificatesigningrequest-approving", ("", "other"))
        )
    )
    assert _get(live, "other").status.conditions == []


def test_what_a_signer_does_not_sign_has_failed_and_goes() -> None:
    with Cluster(nodes=0) as cluster:
        client = cluster.client
        for name, dns, usages in (("bad", "a", CLIENT), ("good", "a", ("digital signature", "server auth"))):
            pem, _key = _made("system:node:a", "system:nodes", dns=dns)
            asked = client.create(_asked(name, "kubelet-serving", pem, *usages))
            now = cluster.now()
            asked.status.conditions = [
                api.CertificateSigningRequestCondition(
                    type="Approved", status="True", reason="Test", lastUpdateTime=now
                )
            ]
            client.update(asked, subresource="approval")
        cluster.settle()
        [_approved, failed] = _get(cluster, "bad").status.conditions
        assert (failed.type, failed.reason) == ("Failed", "SignerValidationFailure")
        made = _get(cluster, "good").status.certificate
        assert made is not None
        names = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        assert names.value.get_values_for_type(x509.DNSName) == ["a"]
        undecided = client.create(
            _asked("undecided", "kube-apiserver-client", _made("ann")[0], "client auth")
        )
        cluster.advance(3599)
        assert len(client.list(api.CertificateSigningRequest)) == 3
        cluster.advance(2)
        cluster.settle()
        left = [request.metadata.name for request in client.list(api.CertificateSigningRequest)]
        assert left == [undecided.metadata.name]
        cluster.advance(24 * 3600)
        cluster.settle()
        assert not client.list(api.CertificateSigningRequest)
