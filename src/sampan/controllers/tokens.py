"""Secrets of type kubernetes.io/service-account-token: filled for their account, and gone with it.

Follows pkg/controller/serviceaccount/tokens_controller.go. Such tokens do not expire; the API server honours
them for as long as their Secret holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.client import Client
from sampan.client.effects import NOTHING, Plan, Remove, Update
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.kinds.core.secret import (
    LEGACY_CLAIMS,
    LEGACY_ISSUER,
    SERVICE_ACCOUNT_NAME,
    SERVICE_ACCOUNT_TOKEN,
    SERVICE_ACCOUNT_UID,
)
from sampan.schema import api

OF_ACCOUNT: Final = "token-secrets-of-account"
# Namespace, Secret, account and the account's uid to a token.
Issue = Callable[[str, str, str, str], str]


class View(msgspec.Struct, frozen=True):
    """A Secret for a token, and the account that it names; None where there is none such."""

    secret: api.Secret
    account: api.ServiceAccount | None


def gather(caches: Caches, key: Key) -> View | None:
    secret = caches.of(api.Secret).get(*key)
    if (
        secret is None
        or secret.type != SERVICE_ACCOUNT_TOKEN
        or secret.metadata.deletionTimestamp is not None
    ):
        return None
    name = secret.metadata.annotations.get(SERVICE_ACCOUNT_NAME, "")
    return View(secret, _same(secret, caches.of(api.ServiceAccount).get(key.namespace, name)))


async def survey(client: Client, view: View) -> View:
    """An account that the cache has not may have been made a moment ago: nothing is removed unasked."""
    if view.account is not None:
        return view
    meta = view.secret.metadata
    try:
        found = await client.get(
            api.ServiceAccount, meta.annotations.get(SERVICE_ACCOUNT_NAME, ""), meta.namespace or ""
        )
    except ApiError as problem:
        if not is_not_found(problem):
            raise
        return view
    return View(view.secret, _same(view.secret, found))


def _same(secret: api.Secret, account: api.ServiceAccount | None) -> api.ServiceAccount | None:
    """The account, if it is the one that the Secret was made for and not a later one of its name."""
    wanted = secret.metadata.annotations.get(SERVICE_ACCOUNT_UID)
    if account is None or (wanted and account.metadata.uid != wanted):
        return None
    return account


def plan(view: View, now: datetime, ca_bundle: bytes, issue: Issue) -> Plan:
    """Fill in what the Secret lacks; remove it where its account is gone."""
    secret, account = view.secret, view.account
    if account is None:
        return Plan((Remove(ref_of(secret)),))
    meta, data = secret.metadata, dict(secret.data)
    namespace, name, uid = meta.namespace or "", account.metadata.name or "", account.metadata.uid or ""
    if ca_bundle and data.get("ca.crt") != ca_bundle:
        data["ca.crt"] = ca_bundle
    if not data.get("namespace"):
        data["namespace"] = namespace.encode()
    if not data.get("token"):
        data["token"] = issue(namespace, meta.name or "", name, uid).encode()
    marks = {**meta.annotations, SERVICE_ACCOUNT_NAME: name, SERVICE_ACCOUNT_UID: uid}
    if (data, marks) == (secret.data, meta.annotations):
        return NOTHING
    filled = msgspec.structs.replace(
        secret, data=data, metadata=msgspec.structs.replace(meta, annotations=marks)
    )
    return Plan((Update(filled),))


def issuer(key_pem: bytes) -> Issue:
    """What makes tokens with this key (PEM, EC P-256)."""

    def issue(namespace: str, secret: str, account: str, uid: str) -> str:
        import jwt  # late: it brings all of cryptography

        claims = {
            "iss": LEGACY_ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            f"{LEGACY_CLAIMS}namespace": namespace,
            f"{LEGACY_CLAIMS}secret.name": secret,
            f"{LEGACY_CLAIMS}service-account.name": account,
            f"{LEGACY_CLAIMS}service-account.uid": uid,
        }
        return jwt.encode(claims, key_pem, "ES256")

    return issue


def _of_account(secret: Any) -> Iterable[str]:
    if secret.type == SERVICE_ACCOUNT_TOKEN:
        name = secret.metadata.annotations.get(SERVICE_ACCOUNT_NAME, "")
        yield f"{secret.metadata.namespace}/{name}"


def _secrets(caches: Caches, account: Any) -> Iterable[Key]:
    meta = account.metadata
    for secret in caches.of(api.Secret).by_index(OF_ACCOUNT, f"{meta.namespace}/{meta.name}"):
        yield Key(meta.namespace, secret.metadata.name or "")


def controller(key_pem: bytes, ca_bundle: str) -> Controller:
    """The controller that signs with this key and publishes these authorities."""
    issue = issuer(key_pem)
    return Controller(
        name="tokens",
        kind=api.Secret,
        watches=(
            mapped(api.ServiceAccount, _secrets, lambda old, new: old.metadata.uid != new.metadata.uid),
        ),
        indexes={api.Secret: {OF_ACCOUNT: _of_account}},
        matters=lambda old, new: new.type == SERVICE_ACCOUNT_TOKEN,
        gather=gather,
        survey=survey,
        plan=lambda view, now: plan(view, now, ca_bundle.encode(), issue),
    )
