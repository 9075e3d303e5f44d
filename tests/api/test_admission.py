"""The admission plugins that ship with Kubernetes, over a live server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import DEPLOYMENTS, PODS, Api, deployment, pod, served, user

NAMESPACES = "/api/v1/namespaces"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ENFORCE = "pod-security.kubernetes.io/enforce"


async def _namespace(api: Api, name: str, **labels: str) -> str:
    metadata = {"name": name, "labels": {f"pod-security.kubernetes.io/{k}": v for k, v in labels.items()}}
    (await api.post(NAMESPACES, {"metadata": metadata})).ok(201)
    await api.account(name)
    return f"{NAMESPACES}/{name}/pods"


# -- namespaces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
@served
async def test_namespaces_that_a_cluster_needs_stay(api: Api, name: str) -> None:
    message = (await api.delete(f"{NAMESPACES}/{name}")).refused(403, "Forbidden")
    assert message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


@served
async def test_nothing_new_in_a_namespace_that_goes(api: Api) -> None:
    pods = await _namespace(api, "going")
    (await api.delete(f"{NAMESPACES}/going")).ok()
    answer = await api.post(pods, pod())
    assert "because it is being terminated" in answer.refused(403, "Forbidden")
    assert answer.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    (await api.post(f"{NAMESPACES}/nowhere/pods", pod())).refused(404, "NotFound")


# -- pod security ------------------------------------------------------------------------------------------


@served
async def test_a_label_of_the_namespace_is_enforced(api: Api) -> None:
    pods = await _namespace(api, "strict", enforce="baseline")
    (await api.post(pods, pod())).ok(201)
    message = (await api.post(pods, pod("root", hostNetwork=True))).refused(403, "Forbidden")
    assert message == (
        'pods "root" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    (await api.get(f"{pods}/root")).refused(404, "NotFound")


@served
async def test_ephemeral_containers_are_judged_too(api: Api) -> None:
    pods = await _namespace(api, "strict", enforce="baseline")
    (await api.post(pods, pod())).ok(201)
    debugger = {"name": "d", "image": "busybox", "securityContext": {"privileged": True}}
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    answer = await api.patch(
        f"{pods}/web/ephemeralcontainers", patch, "application/strategic-merge-patch+json"
    )
    assert 'privileged (container "d"' in answer.refused(403, "Forbidden")


@served
async def test_warnings_tell_of_pods_and_of_templates(api: Api) -> None:
    pods = await _namespace(api, "soft", warn="baseline")
    made = await api.post(pods, pod("root", hostPID=True))
    made.ok(201)
    said = 'would violate PodSecurity \\"baseline:latest\\": host namespaces (hostPID=true)'
    assert made.headers["Warning"] == f'299 - "{said}"'
    whole = deployment()
    whole["spec"]["template"]["spec"]["hostPID"] = True
    made = await api.post("/apis/apps/v1/namespaces/soft/deployments", whole)
    made.ok(201)
    assert said in made.headers["Warning"]


@served
async def test_stricter_labels_tell_of_the_pods_that_are_there(api: Api) -> None:
    pods = await _namespace(api, "old")
    for name in ("a", "b"):
        (await api.post(pods, pod(name, hostPID=True))).ok(201)
    (await api.post(pods, pod("fine"))).ok(201)
    answer = await api.patch(f"{NAMESPACES}/old", {"metadata": {"labels": {ENFORCE: "baseline"}}})
    answer.ok()
    assert (
        'existing pods in namespace \\"old\\" violate the new PodSecurity enforce level'
        in answer.headers["Warning"]
    )
    assert "a (and 1 other pod): host namespaces" in answer.headers["Warning"]
    # What is there may still change in ways of which the standard does not speak.
    (await api.patch(f"{pods}/a", {"metadata": {"labels": {"x": "y"}}})).ok()


@served
async def test_unknown_levels_are_refused(api: Api) -> None:
    body = {"metadata": {"name": "x", "labels": {ENFORCE: "paranoid"}}}
    message = (await api.post(NAMESPACES, body)).refused(422, "Invalid")
    assert message == (
        f'Namespace "x" is invalid: metadata.labels[{ENFORCE}]: Invalid value: "paranoid": must be one of '
        "privileged, baseline, restricted"
    )


# -- limit ranges ------------------------------------------------------------------------------------------


async def _limits(api: Api, *limits: dict[str, Any]) -> None:
    body = {"metadata": {"name": "limits"}, "spec": {"limits": list(limits)}}
    (await api.post("/api/v1/namespaces/default/limitranges", body)).ok(201)


def _pod(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    resources = {"requests": requests or {}, "limits": limits or {}}
    return pod(containers=[{"name": "main", "image": "busybox", "resources": resources}])


@served
async def test_limit_ranges_give_defaults_and_the_class_goes_by_them(api: Api) -> None:
    await api.account()
    same = {"cpu": "100m", "memory": "64Mi"}
    await _limits(api, {"type": "Container", "default": same, "defaultRequest": same})
    made = (await api.post(PODS, pod(initContainers=[{"name": "init", "image": "busybox"}]))).ok(201)
    for container in (*made["spec"]["containers"], *made["spec"]["initContainers"]):
        assert container["resources"] == {"limits": same, "requests": same}
    assert made["status"]["qosClass"] == "Guaranteed"
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container main; cpu, memory limit for "
        "container main; "
        "cpu, memory request for init container init; cpu, memory limit for init container init"
    )


@pytest.mark.parametrize(
    ("limit", "requests", "limits", "said"),
    [
        ({"type": "Container", "min": {"cpu": "100m"}}, {"cpu": "50m"}, {"cpu": "1"},
         "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"type": "Pod", "min": {"memory": "1Mi"}}, {}, {},
         "minimum memory usage per Pod is 1Mi.  No request is specified"),
        ({"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}}, {}, {"cpu": "3"},
         "maximum cpu usage per Container is 2, but limit is 3"),
        ({"type": "Pod", "max": {"cpu": "2"}}, {"cpu": "1"}, {},
         "maximum cpu usage per Pod is 2.  No limit is specified"),
        ({"type": "Pod", "max": {"memory": "1Gi"}}, {}, {"memory": "2Gi"},
         "maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
        ({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}, {"cpu": "1"}, {"cpu": "3"},
         "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
    ],
)  # fmt: skip
@served
async def test_limit_ranges_set_bounds(api: Api, limit: Any, requests: Any, limits: Any, said: str) -> None:
    await api.account()
    await _limits(api, limit)
    answer = await api.post(PODS, _pod(requests, limits))
    assert answer.refused(403, "Forbidden") == f'pods "web" is forbidden: {said}'


@served
async def test_limit_ranges_bound_claims(api: Api) -> None:
    await _limits(
        api, {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    )
    for size, said in (
        ("500Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"),
        ("3Gi", "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"),
    ):
        assert said in (await api.post(CLAIMS, _claim(size))).refused(403, "Forbidden")
    (await api.post(CLAIMS, _claim("2Gi"))).ok(201)


# -- claims and classes ------------------------------------------------------------------------------------


def _claim(size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    whole = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": "data"}, "spec": whole}


async def _class(api: Api, name: str, *, is_default: bool = True, **fields: Any) -> None:
    marks = {"storageclass.kubernetes.io/is-default-class": "true"} if is_default else {}
    body = {"metadata": {"name": name, "annotations": marks}, "provisioner": "example.com/disk", **fields}
    (await api.post(CLASSES, body)).ok(201)


@served
async def test_claims_get_the_newest_default_class(api: Api) -> None:
    await _class(api, "first")
    await api.clock.advance(10)
    await _class(api, "second")
    await _class(api, "plain", is_default=False)
    assert (await api.post(CLAIMS, _claim())).ok(201)["spec"]["storageClassName"] == "second"
    named = _claim(storageClassName="")
    named["metadata"]["name"] = "none"
    assert (await api.post(CLAIMS, named)).ok(201)["spec"]["storageClassName"] == ""


@served
async def test_claims_grow_where_their_class_allows_it(api: Api) -> None:
    await _class(api, "rigid")
    (await api.post(CLAIMS, _claim())).ok(201)
    grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    (await api.patch(f"{CLAIMS}/data", grown)).refused(422, "Invalid")
    (await api.patch(f"{CLAIMS}/data/status", {"status": {"phase": "Bound"}})).ok()
    (await api.patch(f"{CLAIMS}/data", {"spec": {"volumeName": "disk"}})).ok()
    assert "must support resize" in (await api.patch(f"{CLAIMS}/data", grown)).refused(403, "Forbidden")
    (await api.patch(f"{CLASSES}/rigid", {"allowVolumeExpansion": True})).ok()
    (await api.patch(f"{CLAIMS}/data", grown)).ok()


@served
async def test_ingresses_get_the_default_class(api: Api) -> None:
    marks = {"ingressclass.kubernetes.io/is-default-class": "true"}
    body = {"metadata": {"name": "web", "annotations": marks}, "spec": {"controller": "example.com/web"}}
    (await api.post("/apis/networking.k8s.io/v1/ingressclasses", body)).ok(201)
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    ingress = {"metadata": {"name": "web"}, "spec": {"defaultBackend": backend}}
    made = await api.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", ingress)
    assert made.ok(201)["spec"]["ingressClassName"] == "web"


# -- pods --------------------------------------------------------------------------------------------------


@served
async def test_runtime_classes_add_overhead_and_placement(api: Api) -> None:
    await api.account()
    sandbox = {
        "metadata": {"name": "sandbox"},
        "handler": "runsc",
        "overhead": {"podFixed": {"memory": "100Mi"}},
        "scheduling": {
            "nodeSelector": {"sandbox": "yes"},
            "tolerations": [{"key": "sandbox", "operator": "Exists"}],
        },
    }
    (await api.post("/apis/node.k8s.io/v1/runtimeclasses", sandbox)).ok(201)
    spec = (await api.post(PODS, pod(runtimeClassName="sandbox"))).ok(201)["spec"]
    assert (spec["overhead"], spec["nodeSelector"]) == ({"memory": "100Mi"}, {"sandbox": "yes"})
    assert {"key": "sandbox", "operator": "Exists"} in spec["tolerations"]
    for wrong in (
        pod("a", runtimeClassName="none"),
        pod("b", overhead={"memory": "1Mi"}),
        pod("c", runtimeClassName="sandbox", overhead={"memory": "1Mi"}),
        pod("d", runtimeClassName="sandbox", nodeSelector={"sandbox": "no"}),
    ):
        (await api.post(PODS, wrong)).refused(403, "Forbidden")


@served
async def test_the_priority_class_says_the_number(api: Api) -> None:
    await api.account()
    body = {"metadata": {"name": "usual"}, "value": 7, "globalDefault": True, "preemptionPolicy": "Never"}
    (await api.post("/apis/scheduling.k8s.io/v1/priorityclasses", body)).ok(201)
    spec = (await api.post(PODS, pod())).ok(201)["spec"]
    assert (spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]) == ("usual", 7, "Never")
    refused = (await api.post(PODS, pod("a", priority=8))).refused(403, "Forbidden")
    assert "the integer value of priority (8) must not be provided in pod spec" in refused


@served
async def test_accounts_may_limit_the_secrets_of_their_pods(api: Api) -> None:
    account = {
        "metadata": {"name": "tight", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "own"}],
        "imagePullSecrets": [{"name": "pull"}],
    }
    (await api.post("/api/v1/namespaces/default/serviceaccounts", account)).ok(201)

    def using(name: str) -> dict[str, Any]:
        return pod(
            serviceAccountName="tight",
            volumes=[{"name": "v", "secret": {"secretName": name}}],
            containers=[{"name": "main", "image": "busybox"}],
        )

    message = (await api.post(PODS, using("other"))).refused(403, "Forbidden")
    assert 'volume with secret.secretName="other" is not allowed' in message
    made = (await api.post(PODS, using("own"))).ok(201)
    assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]


# -- certificate requests ----------------------------------------------------------------------------------


@served
async def test_approving_and_signing_need_rights_on_the_signer(api: Api) -> None:
    from tests.api.server import certificate_request

    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": certificate_request(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    (await api.post(requests, {"metadata": {"name": "jane"}, "spec": spec})).ok(201)
    group = "certificates.k8s.io"
    rules = [
        {
            "apiGroups": [group],
            "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"],
            "verbs": ["get", "update", "patch"],
        }
    ]
    (await api.post(f"{RBAC}/clusterroles", {"metadata": {"name": "approver"}, "rules": rules})).ok(201)
    binding = {
        "metadata": {"name": "approver"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approver"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    (await api.post(f"{RBAC}/clusterrolebindings", binding)).ok(201)
    approved = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
    answer = await api.patch(f"{requests}/jane/approval", approved, user=user("ann"))
    assert answer.refused(403, "Forbidden") == (
        'certificatesigningrequests.certificates.k8s.io "jane" is forbidden: user not permitted to '
        "approve requests "
        'with signerName "kubernetes.io/kube-apiserver-client"'
    )
    rules.append(
        {
            "apiGroups": [group],
            "resources": ["signers"],
            "resourceNames": ["kubernetes.io/*"],
            "verbs": ["approve"],
        }
    )
    (await api.patch(f"{RBAC}/clusterroles/approver", {"rules": rules})).ok()
    (await api.patch(f"{requests}/jane/approval", approved, user=user("ann"))).ok()
    failed = {
        "status": {"conditions": [{"type": "Failed", "status": "True"}, *approved["status"]["conditions"]]}
    }
    answer = await api.patch(f"{requests}/jane/status", failed, user=user("ann"))
    assert "not permitted to sign requests" in answer.refused(403, "Forbidden")


@served
async def test_deployments_are_not_looked_at_where_no_label_says_so(api: Api) -> None:
    assert "Warning" not in (await api.post(DEPLOYMENTS, deployment())).headers
