"""What every namespace has from the start: the `default` ServiceAccount and the cluster's CA certificates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Effect, Plan, Update
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api

DEFAULT: Final = "default"
ROOT_CA: Final = "kube-root-ca.crt"
_DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. "
    "No other usage is guaranteed across distributions of Kubernetes clusters."
)


class AccountView(msgspec.Struct, frozen=True):
    """A namespace that stays, and whether it has its default account."""

    namespace: str
    exists: bool


class RootCaView(msgspec.Struct, frozen=True):
    """A namespace that stays, and its CA certificates."""

    namespace: str
    found: api.ConfigMap | None


def _stays(caches: Caches, name: str) -> bool:
    namespace = caches.of(api.Namespace).get("", name)
    return namespace is not None and namespace.metadata.deletionTimestamp is None


def gather_account(caches: Caches, key: Key) -> AccountView | None:
    if not _stays(caches, key.name):
        return None
    return AccountView(key.name, caches.of(api.ServiceAccount).get(key.name, DEFAULT) is not None)


def plan_account(view: AccountView, now: datetime) -> Plan:
    """Make the default account where it is missing."""
    if view.exists:
        return Plan()
    account = api.ServiceAccount(
        apiVersion="v1",
        kind="ServiceAccount",
        metadata=api.ObjectMeta(name=DEFAULT, namespace=view.namespace),
    )
    return Plan((Create(account, expect_exists=True),))


def gather_root_ca(caches: Caches, key: Key) -> RootCaView | None:
    if not _stays(caches, key.name):
        return None
    return RootCaView(key.name, caches.of(api.ConfigMap).get(key.name, ROOT_CA))


def plan_root_ca(view: RootCaView, now: datetime, ca_bundle: str) -> Plan:
    """Publish the certificates, and put them right where somebody changed them."""
    data = {"ca.crt": ca_bundle}
    found = view.found
    effects: tuple[Effect, ...] = ()
    if found is None:
        meta = api.ObjectMeta(
            name=ROOT_CA, namespace=view.namespace, annotations={"kubernetes.io/description": _DESCRIPTION}
        )
        made = api.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta, data=data)
        effects = (Create(made, expect_exists=True),)
    elif found.data != data or found.binaryData:
        effects = (Update(msgspec.structs.replace(found, data=data, binaryData={})),)
    return Plan(effects)


def _named(name: str) -> Any:
    def keys(_caches: Caches, obj: Any) -> Iterable[Key]:
        return (Key("", obj.metadata.namespace),) if obj.metadata.name == name else ()

    return keys


ACCOUNTS: Final = Controller(
    name="serviceaccount",
    kind=api.Namespace,
    watches=(mapped(api.ServiceAccount, _named(DEFAULT)),),
    gather=gather_account,
    plan=plan_account,
)


def root_ca(ca_bundle: str) -> Controller:
    """The controller that publishes these certificates (PEM) to every namespace."""
    return Controller(
        name="root-ca-certificate-publisher",
        kind=api.Namespace,
        watches=(mapped(api.ConfigMap, _named(ROOT_CA)),),
        gather=gather_root_ca,
        plan=lambda view, now: plan_root_ca(view, now, ca_bundle),
    )
