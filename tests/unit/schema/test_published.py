"""Every object that kubernetes/api publishes: decoded and written back, it has lost nothing.

The files hold each kind of each version with every field filled. Those that are not served are listed here,
each with the reason.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sampan.apiserver.core.resource import Resources
from sampan.kinds import registry
from sampan.schema import api, codec
from sampan.schema.definitions import GroupVersionKind
from sampan.store.memory import MemoryStore
from sampan.store.watchcache import WatchCache
from tests.shared import ABSENT, SHARED

FIXTURES = SHARED / "corpus" / "api-fixtures"
FILES = sorted(path.name for path in FIXTURES.glob("*.json"))

# Versions that Kubernetes took out before 1.37, and the release that no longer had them.
REMOVED = {
    "admissionregistration.k8s.io/v1alpha1 ValidatingAdmissionPolicy": "1.34",
    "admissionregistration.k8s.io/v1alpha1 ValidatingAdmissionPolicyBinding": "1.34",
    "admissionregistration.k8s.io/v1beta1 MutatingWebhookConfiguration": "1.22",
    "admissionregistration.k8s.io/v1beta1 ValidatingAdmissionPolicy": "1.34",
    "admissionregistration.k8s.io/v1beta1 ValidatingAdmissionPolicyBinding": "1.34",
    "admissionregistration.k8s.io/v1beta1 ValidatingWebhookConfiguration": "1.22",
    "apps/v1beta1": "1.16",
    "apps/v1beta2": "1.16",
    "authentication.k8s.io/v1beta1": "1.22",
    "authorization.k8s.io/v1beta1": "1.22",
    "batch/v1beta1": "1.25",
    "certificates.k8s.io/v1alpha1 ClusterTrustBundle": "1.37",
    "certificates.k8s.io/v1beta1 CertificateSigningRequest": "1.22",
    "coordination.k8s.io/v1beta1 Lease": "1.22",
    "discovery.k8s.io/v1beta1": "1.25",
    "events.k8s.io/v1beta1": "1.25",
    "extensions/v1beta1": "1.22",
    "flowcontrol.apiserver.k8s.io/v1beta1": "1.26",
    "flowcontrol.apiserver.k8s.io/v1beta2": "1.29",
    "flowcontrol.apiserver.k8s.io/v1beta3": "1.32",
    "networking.k8s.io/v1beta1": "1.37",
    "node.k8s.io/v1alpha1": "1.22",
    "node.k8s.io/v1beta1": "1.25",
    "policy/v1beta1": "1.25",
    "rbac.authorization.k8s.io/v1alpha1": "1.22",
    "rbac.authorization.k8s.io/v1beta1": "1.22",
    "scheduling.k8s.io/v1beta1 PriorityClass": "1.22",
    "storage.k8s.io/v1alpha1": "1.37",
    "storage.k8s.io/v1beta1": "1.37",
}
# What travels in a query, an envelope or a call to others, and is no resource of the API.
NO_RESOURCES = {
    "admission.k8s.io/v1 AdmissionReview": "what a webhook is sent",
    "admission.k8s.io/v1beta1 AdmissionReview": "what old webhooks were sent",
    "apidiscovery.k8s.io/v2 APIGroupDiscovery": "an answer of discovery",
    "apidiscovery.k8s.io/v2beta1 APIGroupDiscovery": "an answer of discovery",
    "imagepolicy.k8s.io/v1alpha1 ImageReview": "what an image policy webhook is sent",
    "v1 CreateOptions": "a query",
    "v1 GetOptions": "a query",
    "v1 ListOptions": "a query",
    "v1 NodeProxyOptions": "a query",
    "v1 PatchOptions": "a query",
    "v1 PodAttachOptions": "a query",
    "v1 PodExecOptions": "a query",
    "v1 PodLogOptions": "a query",
    "v1 PodPortForwardOptions": "a query",
    "v1 PodProxyOptions": "a query",
    "v1 RangeAllocation": "kube-apiserver's own note of addresses",
    "v1 SerializedReference": "an old annotation",
    "v1 ServiceProxyOptions": "a query",
    "v1 UpdateOptions": "a query",
    "v1 WatchEvent": "a line of a watch",
}
# Known to 1.37, but off where no --runtime-config asks for them, as all alpha and beta versions are.
OFF_BY_DEFAULT = ("alpha", "beta")
# Known, and served as a part of something else.
PARTS = {
    "authentication.k8s.io/v1 TokenRequest": "serviceaccounts/token",
    "autoscaling/v1 Scale": "deployments/scale and others",
    "policy/v1 Eviction": "pods/eviction",
    "v1 APIGroup": "discovery",
    "v1 APIVersions": "discovery",
    "v1 Status": "the answer to what fails",
}


def gvk_of(name: str) -> GroupVersionKind:
    parts = name.removesuffix(".json").split(".")
    group = ".".join(parts[:-2])
    return GroupVersionKind("" if group == "core" else group, parts[-2], parts[-1])


def served() -> set[GroupVersionKind]:
    return {kind.gvk for kind in Resources(registry.ALL, WatchCache(MemoryStore())).kinds}


def missing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """The paths of what is in `wanted` and not, or not alike, in `found`."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        lost: list[str] = []
        for key, value in wanted.items():
            lost += missing(value, found[key], f"{path}.{key}") if key in found else [f"{path}.{key}"]
        return lost
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = zip(wanted, found, strict=True)
        return [at for i, (a, b) in enumerate(pairs) for at in missing(a, b, f"{path}[{i}]")]
    return [] if wanted == found else [path]


@pytest.mark.skipif(not FILES, reason=f"{FIXTURES} {ABSENT}")
@pytest.mark.parametrize("name", FILES)
def test_no_field_is_lost(name: str) -> None:
    types, gvk = codec.types(), gvk_of(name)
    full = types.definitions.by_gvk.get(gvk)
    struct = types.of(full) if full is not None else {"DeleteOptions": api.DeleteOptions}.get(gvk.kind)
    if struct is None:
        named = f"{gvk.api_version} {gvk.kind}"
        assert named in NO_RESOURCES or named in REMOVED or gvk.api_version in REMOVED, named
        assert gvk not in served()
        return
    data = (FIXTURES / name).read_bytes()
    wanted = msgspec.json.decode(data)
    again = msgspec.json.decode(codec.encode(codec.decode(data, struct)))
    assert missing(wanted, again) == []
    assert missing(again, wanted) == []


def test_what_is_known_is_served() -> None:
    """All kinds of the definitions of 1.37, but for lists, parts, and alpha and beta versions."""
    on = served()
    off = {gvk for gvk in codec.types().definitions.by_gvk if gvk not in on and not gvk.kind.endswith("List")}
    unexplained = [
        gvk
        for gvk in off
        if f"{gvk.api_version} {gvk.kind}" not in PARTS
        and not any(word in gvk.version for word in OFF_BY_DEFAULT)
    ]
    assert unexplained == []
    assert len(on) > 70


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(30, 38)])
def test_each_version_serves_its_own(version: str) -> None:
    """A kind that is served is in the definitions of the version; every stable kind of those is served."""
    kinds = {k.gvk for k in Resources(registry.ALL, WatchCache(MemoryStore()), version).kinds}
    published = codec.types(version).definitions.by_gvk
    assert kinds <= set(published)
    stable = {
        gvk
        for gvk in published
        if not any(word in gvk.version for word in OFF_BY_DEFAULT)
        and not gvk.kind.endswith("List")
        and f"{gvk.api_version} {gvk.kind}" not in PARTS
    }
    # Options, answers and envelopes are of many versions of the meta group at once.
    stable = {gvk for gvk in stable if gvk.kind not in ("DeleteOptions", "WatchEvent", "APIResourceList")}
    assert stable - kinds == set()
