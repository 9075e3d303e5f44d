"""Service-account tokens that are kept in Secrets."""

from __future__ import annotations

import pytest

from sampan.apiserver.core.status import StatusError
from sampan.schema import api
from sampan.testing.cluster import Cluster

META = {"kubernetes.io/service-account.name": "robot"}


def _account(cluster: Cluster) -> api.ServiceAccount:
    return cluster.client.create(
        api.ServiceAccount(metadata=api.ObjectMeta(name="robot", namespace="default"))
    )


def _secret(cluster: Cluster, name: str = "key", **marks: str) -> None:
    meta = api.ObjectMeta(name=name, namespace="default", annotations={**META, **marks})
    cluster.client.create(api.Secret(metadata=meta, type="kubernetes.io/service-account-token"))


def _token(cluster: Cluster) -> str:
    found = cluster.client.get(api.Secret, "key", "default")
    return bytes(found.data["token"]).decode()


def _user(cluster: Cluster, token: str) -> str:
    cluster.server.authenticator.forget()
    return cluster.server.authenticator.token_user(token).name


def _secrets(cluster: Cluster) -> list[str | None]:
    return [secret.metadata.name for secret in cluster.client.list(api.Secret, "default")]


def test_a_secret_is_filled_and_its_token_honoured_until_it_goes() -> None:
    with Cluster(nodes=0) as cluster:
        account = _account(cluster)
        _secret(cluster)
        cluster.settle()
        secret = cluster.client.get(api.Secret, "key", "default")
        assert bytes(secret.data["namespace"]) == b"default"
        root = cluster.client.get(api.ConfigMap, "kube-root-ca.crt", "default")
        assert bytes(secret.data["ca.crt"]).decode() == root.data["ca.crt"]
        assert secret.metadata.annotations["kubernetes.io/service-account.uid"] == account.metadata.uid
        token = _token(cluster)
        assert _user(cluster, token) == "system:serviceaccount:default:robot"
        review = api.TokenReview(spec=api.TokenReviewSpec(token=token))
        found = cluster.client.create(review).status
        assert found.user is not None
        assert (found.authenticated, found.user.username) == (True, "system:serviceaccount:default:robot")
        review = api.TokenReview(spec=api.TokenReviewSpec(token=token, audiences=["elsewhere"]))
        assert not cluster.client.create(review).status.authenticated
        # What is removed from the Secret is made anew, and the old token with the old Secret is nobody's.
        secret.data = {}
        cluster.client.update(secret)
        cluster.settle()
        fresh = _token(cluster)
        assert fresh != token
        with pytest.raises(StatusError):
            _user(cluster, token)
        assert _user(cluster, fresh) == "system:serviceaccount:default:robot"
        marked = cluster.client.get(api.Secret, "key", "default")
        marked.metadata.labels = {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}
        marked = cluster.client.update(marked)
        with pytest.raises(StatusError):
            _user(cluster, fresh)
        marked.metadata.labels = {}
        cluster.client.update(marked)
        assert _user(cluster, fresh)
        cluster.client.delete(api.Secret, "key", "default")
        with pytest.raises(StatusError):
            cluster.server.authenticator.token_user(fresh)


def test_secrets_go_with_their_account_and_without_one() -> None:
    with Cluster(nodes=0) as cluster:
        _secret(cluster, "early")
        cluster.settle()
        assert _secrets(cluster) == []
        _account(cluster)
        _secret(cluster)
        _secret(cluster, "another", **{"kubernetes.io/service-account.uid": "of-one-before"})
        cluster.settle()
        assert _secrets(cluster) == ["key"]
        token = _token(cluster)
        cluster.client.delete(api.ServiceAccount, "robot", "default")
        with pytest.raises(StatusError):
            cluster.server.authenticator.token_user(token)
        cluster.settle()
        assert _secrets(cluster) == []


def test_what_is_not_such_a_token() -> None:
    with Cluster(nodes=0) as cluster:
        _account(cluster)
        _secret(cluster)
        cluster.settle()
        header, claims, signature = _token(cluster).split(".")
        for token in (
            f"{header}.{claims}.{signature[::-1]}",
            f"{header}.{claims}.",
            f"{header}.!.x",
            "a.b.c",
        ):
            with pytest.raises(StatusError):
                _user(cluster, token)
