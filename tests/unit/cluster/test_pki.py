from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sampan.base.errors import SampanError
from sampan.cluster import credentials, pki
from sampan.cluster.config import Layout, Settings
from sampan.cluster.tls import client_context, server_context

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SETTINGS = Settings(id="ab12", nodes=2)


def parsed(pair: pki.KeyPair | None) -> x509.Certificate:
    assert pair is not None
    return x509.load_pem_x509_certificate(pair.certificate)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    credentials.ensure(made, SETTINGS, NOW)
    return made


def contents(layout: Layout) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in [*layout.pki.iterdir(), layout.kubeconfig]}


def test_every_certificate_is_signed_by_the_authority(layout: Layout) -> None:
    authority = parsed(pki.load(layout.pki, "ca"))
    names = sorted(p.stem for p in layout.pki.glob("*.crt"))
    assert names == [
        "admin", "apiserver", "apiserver-kubelet-client", "ca", "controller-manager",
        "front-proxy-ca", "front-proxy-client", "kube-proxy", "node-1", "node-1-server", "node-2",
        "node-2-server", "sampan-metrics", "scheduler",
    ]  # fmt: skip
    for name in names:
        certificate = parsed(pki.load(layout.pki, name))
        signer = parsed(pki.load(layout.pki, "front-proxy-ca")) if "front-proxy" in name else authority
        certificate.verify_directly_issued_by(signer)
        key = pki.load(layout.pki, name)
        assert key is not None
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("name", "user", "groups"),
    [
        ("admin", "kubernetes-admin", ["system:masters"]),
        ("scheduler", "system:kube-scheduler", []),
        ("node-2", "system:node:node-2", ["system:nodes"]),
    ],
)
def test_who_the_clients_are(layout: Layout, name: str, user: str, groups: list[str]) -> None:
    subject = parsed(pki.load(layout.pki, name)).subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups
    usages = (
        parsed(pki.load(layout.pki, name)).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    )
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_api_server_answers_to_all_its_names(layout: Layout) -> None:
    pair = pki.load(layout.pki, "apiserver")
    assert pair is not None
    assert pki.names_of(pair.certificate) == {
        "kubernetes", "kubernetes.default", "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "10.96.0.1", "10.244.0.1",
    }  # fmt: skip


def test_what_is_good_stays_and_what_ends_soon_is_made_anew(layout: Layout) -> None:
    first = contents(layout)
    credentials.ensure(layout, SETTINGS, NOW + timedelta(days=300))
    assert contents(layout) == first
    credentials.ensure(layout, SETTINGS, NOW + timedelta(days=340))
    renewed = contents(layout)
    for name in first:
        lasting = name.startswith(("ca.", "sa.", "front-proxy-ca.")) or name == "admin.token"
        assert (renewed[name] == first[name]) is lasting, name


def test_a_new_address_renews_the_servers_alone(layout: Layout) -> None:
    first = contents(layout)
    moved = Settings(id="ab12", nodes=2, service_range="10.97.0.0/16")
    credentials.ensure(layout, moved, NOW)
    changed = {name for name, data in contents(layout).items() if first[name] != data}
    assert changed == {"apiserver.crt", "apiserver.key"}


def test_keys_are_for_their_owner_alone(layout: Layout) -> None:
    for path in [*layout.pki.iterdir(), layout.kubeconfig]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert layout.pki.stat().st_mode & 0o777 == 0o700


def test_half_a_pair_is_named(layout: Layout) -> None:
    (layout.pki / "ca.key").unlink()
    with pytest.raises(SampanError, match=r"key pair ca .* is not complete"):
        credentials.ensure(layout, SETTINGS, NOW)


def test_both_sides_trust_each_other(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    credentials.ensure(layout, SETTINGS, datetime.now(UTC))
    server = server_context(layout.authority, layout.pki, "apiserver")
    client = client_context(layout.authority, layout.pki, "admin")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname="kubernetes.default.svc")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [here, there]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert waiting == []
    subject = dict(pair[0] for pair in there.getpeercert()["subject"])  # type: ignore[index]
    assert subject == {"organizationName": "system:masters", "commonName": "kubernetes-admin"}
