"""Service-account tokens that are kept in Secrets."""

from __future__ import annotations

import pytest

from sampan.apiserver.core.status import StatusError
from sampan.kinds.core.secret import LAST_USED
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


async def _show(cluster: Cluster, token: str) -> str:
    return cluster.server.authenticator.token_user(token).name


def _user(cluster: Cluster, token: str) -> str:
    """Who shows the token, once it is written down that somebody did."""
    cluster.server.authenticator.forget()
    try:
        return cluster.call(_show(cluster, token))
    finally:
        cluster.settle()


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
        secret = cluster.client.get(api.Secret, "key", "default")
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
        cluster.client.update(marked)
        with pytest.raises(StatusError):
            _user(cluster, fresh)
        marked = cluster.client.get(api.Secret, "key", "default")
        assert LAST_USED in marked.metadata.labels  # refused, and written down all the same
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


def test_the_day_of_the_last_use_is_a_label_of_the_secret() -> None:
    with Cluster(nodes=0) as cluster:
        _account(cluster)
        _secret(cluster)
        cluster.settle()
        token = _token(cluster)

        def last_used() -> str | None:
            return cluster.client.get(api.Secret, "key", "default").metadata.labels.get(LAST_USED)

        assert last_used() is None
        for days in (0, 1, 2):
            cluster.advance(days * 86_400)
            today = cluster.clock.now().date().isoformat()
            assert _user(cluster, token) == "system:serviceaccount:default:robot"
            assert last_used() == today
            revision = cluster.client.get(api.Secret, "key", "default").metadata.resourceVersion
            _user(cluster, token)
            assert cluster.client.get(api.Secret, "key", "default").metadata.resourceVersion == revision


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
