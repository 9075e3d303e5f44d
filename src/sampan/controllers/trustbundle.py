"""The certificates that vouch for the API server, as a ClusterTrustBundle that pods can project.

Follows kube-controller-manager's publisher for the signer `kubernetes.io/kube-apiserver-serving`: one bundle,
named by a hash of what it holds; those of earlier certificates go when the new one is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Effect, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, mapped
from sampan.schema import api

SIGNER: Final = "kubernetes.io/kube-apiserver-serving"
HASH_BYTES: Final = 12
# There is one key for them all.
KEY: Final = SIGNER


class View(msgspec.Struct, frozen=True):
    """All bundles of the signer."""

    bundles: tuple[api.ClusterTrustBundle, ...]


def name_of(certificates: str) -> str:
    """The bundle's name."""
    return f"{SIGNER.replace('/', ':')}:{hashlib.sha256(certificates.encode()).hexdigest()[: 2 * HASH_BYTES]}"


def gather(caches: Caches, _key: str) -> View:
    bundles = caches.of(api.ClusterTrustBundle).items()
    return View(tuple(one for one in bundles if one.spec.signerName == SIGNER))


def plan(view: View, now: datetime, certificates: str) -> Plan:
    """Publish the bundle, then remove what it replaces."""
    effects: list[Effect] = []
    name = name_of(certificates)
    if all(one.metadata.name != name for one in view.bundles):
        spec = api.ClusterTrustBundleSpec(signerName=SIGNER, trustBundle=certificates)
        bundle = api.ClusterTrustBundle(metadata=api.ObjectMeta(name=name), spec=spec)
        effects.append(Create(bundle, expect_exists=True))
    effects += [Remove(ref_of(one)) for one in view.bundles if one.metadata.name != name]
    return Plan(tuple(effects))


def _ours(_caches: Caches, bundle: Any) -> Iterable[str]:
    return (KEY,) if bundle.spec.signerName == SIGNER else ()


def _first(_caches: Caches, namespace: Any) -> Iterable[str]:
    # Something that every cluster has from the start: there need not be any bundle yet.
    return (KEY,) if namespace.metadata.name == "kube-system" else ()


def controller(certificates: str) -> Controller:
    """The controller that publishes these certificates (PEM)."""
    return Controller(
        name="kube-apiserver-serving-clustertrustbundle-publisher",
        watches=(mapped(api.ClusterTrustBundle, _ours), mapped(api.Namespace, _first, lambda _o, _n: False)),
        gather=gather,
        plan=lambda view, now: plan(view, now, certificates),
        workers=1,
    )
