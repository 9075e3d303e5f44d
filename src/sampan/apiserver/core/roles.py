"""The roles that every cluster has, as data: what they allow, whom they are bound to.

One line for each rule: `groups: resources = verbs`, with `core` for the group without a name and a list of
names in brackets where the rule is about those alone. Lines that begin with `/` are paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sampan.schema import api

_READ: Final = "get list watch"
_OWN: Final = "get list update watch"
_WRITE: Final = "create delete deletecollection patch update"
_ALL: Final = f"{_READ} {_WRITE}"
_PODS: Final = "core: pods = create delete list patch watch"
_EVENTS: Final = "core,events.k8s.io: events = create patch update"
_LEADER: Final = (
    "coordination.k8s.io: leases = create get list update watch\n"
    "coordination.k8s.io: leasecandidates = create get list update watch"
)
_PUBLIC: Final = "/healthz /livez /readyz /version /version/ = get"

# Roles that are the sum of others, and the label by which those are found.
AGGREGATED: Final = {"admin": "admin", "edit": "edit", "view": "view"}
# Which roles go into which sums.
PARTS: Final = {
    "edit": "admin",
    "view": "edit",
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
}

CLUSTER_ROLES: Final = {
    "cluster-admin": "*: * = *\n/* = *",
    "system:aggregate-to-admin": f"""
        authorization.k8s.io: localsubjectaccessreviews = create
        rbac.authorization.k8s.io: rolebindings roles = {_ALL}
    """,
    "system:aggregate-to-edit": f"""
        core: pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy = {_READ}
        core: serviceaccounts = impersonate
        core: pods pods/attach pods/exec pods/portforward pods/proxy = {_WRITE}
        core: pods/eviction = create
        core: configmaps persistentvolumeclaims replicationcontrollers \
replicationcontrollers/scale secrets serviceaccounts services services/proxy = {_WRITE}
        core: serviceaccounts/token = create
        core,events.k8s.io: events = {_WRITE}
        apps: daemonsets deployments deployments/rollback deployments/scale replicasets \
replicasets/scale statefulsets statefulsets/scale = {_WRITE}
        autoscaling: horizontalpodautoscalers = {_WRITE}
        batch: cronjobs jobs = {_WRITE}
        extensions: daemonsets deployments deployments/rollback deployments/scale ingresses \
networkpolicies replicasets replicasets/scale replicationcontrollers/scale = {_WRITE}
        policy: poddisruptionbudgets = {_WRITE}
        networking.k8s.io: ingresses networkpolicies = {_WRITE}
        coordination.k8s.io: leases = {_ALL}
        resource.k8s.io: resourceclaims resourceclaimtemplates = {_WRITE}
    """,
    "system:aggregate-to-view": f"""
        core: configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods \
replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status = \
{_READ}
        core: bindings limitranges namespaces/status pods/log pods/status \
replicationcontrollers/status resourcequotas resourcequotas/status = {_READ}
        core: namespaces = {_READ}
        core,events.k8s.io: events = {_READ}
        discovery.k8s.io: endpointslices = {_READ}
        apps: controllerrevisions daemonsets daemonsets/status deployments deployments/scale \
deployments/status replicasets replicasets/scale replicasets/status statefulsets \
statefulsets/scale statefulsets/status = {_READ}
        autoscaling: horizontalpodautoscalers horizontalpodautoscalers/status = {_READ}
        batch: cronjobs cronjobs/status jobs jobs/status = {_READ}
        extensions: daemonsets daemonsets/status deployments deployments/scale deployments/status \
ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status \
replicationcontrollers/scale = {_READ}
        policy: poddisruptionbudgets poddisruptionbudgets/status = {_READ}
        networking.k8s.io: ingresses ingresses/status networkpolicies = {_READ}
        resource.k8s.io: resourceclaims resourceclaims/status resourceclaimtemplates = {_READ}
    """,
    "system:auth-delegator": """
        authentication.k8s.io: tokenreviews = create
        authorization.k8s.io: subjectaccessreviews = create
    """,
    "system:basic-user": """
        authorization.k8s.io: selfsubjectaccessreviews selfsubjectrulesreviews = create
        authentication.k8s.io: selfsubjectreviews = create
    """,
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        "certificates.k8s.io: certificatesigningrequests/nodeclient = create"
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        "certificates.k8s.io: certificatesigningrequests/selfnodeclient = create"
    ),
    **{
        f"system:certificates.k8s.io:{signer}-approver": (
            f"certificates.k8s.io: signers [kubernetes.io/{signer}] = approve"
        )
        for signer in (
            "kube-apiserver-client",
            "kube-apiserver-client-kubelet",
            "kubelet-serving",
            "legacy-unknown",
        )
    },
    "system:cluster-trust-bundle-discovery": f"certificates.k8s.io: clustertrustbundles = {_READ}",
    "system:discovery": (
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/ = get"
    ),
    "system:heapster": f"""
        core: events namespaces nodes pods = {_READ}
        extensions: deployments = {_READ}
    """,
    "system:kube-aggregator": f"core: endpoints services = {_READ}",
    # The garbage and namespace controllers delete whatever there is, and all run as this one user.
    "system:kube-controller-manager": "*: * = *\n/* = get",
    "system:kube-dns": """
        core: endpoints services = list watch
    """,
    "system:kube-scheduler": f"""
        {_EVENTS}
        coordination.k8s.io: leases = create
        coordination.k8s.io: leases [kube-scheduler] = {_OWN}
        coordination.k8s.io: leasecandidates = {_ALL}
        core: nodes = {_READ}
        core: pods = delete {_READ}
        core: bindings pods/binding = create
        core: pods/status = patch update
        core: replicationcontrollers services = {_READ}
        apps,extensions: replicasets = {_READ}
        apps: statefulsets = {_READ}
        policy: poddisruptionbudgets = {_READ}
        core: persistentvolumeclaims persistentvolumes = {_READ}
        authentication.k8s.io: tokenreviews = create
        authorization.k8s.io: subjectaccessreviews = create
        storage.k8s.io: csinodes = {_READ}
        storage.k8s.io: volumeattachments = {_READ}
        core: namespaces = {_READ}
        storage.k8s.io: csidrivers = {_READ}
        storage.k8s.io: csistoragecapacities = {_READ}
        resource.k8s.io: deviceclasses = {_READ}
        resource.k8s.io: resourceclaims = patch {_OWN}
        resource.k8s.io: resourceclaims/status = patch {_OWN}
        core: pods/finalizers = update
        resource.k8s.io: resourceslices = {_READ}
        resource.k8s.io: resourceclaims = create delete
        resource.k8s.io: devicetaintrules = {_READ}
        resource.k8s.io: resourceclaims/binding = patch update
    """,
    "system:kubelet-api-admin": f"""
        core: nodes = {_READ}
        core: nodes = proxy
        core: nodes/log nodes/metrics nodes/proxy nodes/stats = *
        core: nodes/configz nodes/healthz nodes/pods = *
    """,
    "system:monitoring": """
        /flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz = get
        core: nodes/metrics = get
    """,
    "system:node": f"""
        authentication.k8s.io: tokenreviews = create
        authorization.k8s.io: localsubjectaccessreviews subjectaccessreviews = create
        core: services = {_READ}
        core: nodes = create {_READ}
        core: nodes/status = patch update
        core: nodes = patch update
        {_EVENTS}
        core: pods = {_READ}
        core: pods = create delete
        core: pods/status = patch update
        core: pods/eviction = create
        core: configmaps secrets = {_READ}
        core: persistentvolumeclaims persistentvolumes = get
        core: endpoints = get
        certificates.k8s.io: certificatesigningrequests = create {_READ}
        coordination.k8s.io: leases = create delete get patch update
        storage.k8s.io: volumeattachments = get
        core: serviceaccounts/token = create
        core: persistentvolumeclaims/status = get patch update
        storage.k8s.io: csidrivers = {_READ}
        storage.k8s.io: csinodes = create delete get patch update
        node.k8s.io: runtimeclasses = {_READ}
        resource.k8s.io: resourceclaims = get
        resource.k8s.io: resourceslices = deletecollection
        certificates.k8s.io: clustertrustbundles = {_READ}
        core: serviceaccounts = get
        certificates.k8s.io: podcertificaterequests = create {_READ}
    """,
    "system:node-bootstrapper": f"certificates.k8s.io: certificatesigningrequests = create {_READ}",
    "system:node-problem-detector": f"""
        core: nodes = get
        core: nodes/status = patch
        {_EVENTS}
    """,
    "system:node-proxier": f"""
        core: endpoints services = list watch
        core: nodes = {_READ}
        {_EVENTS}
        networking.k8s.io: servicecidrs = list watch
        discovery.k8s.io: endpointslices = list watch
    """,
    "system:persistent-volume-provisioner": f"""
        core: persistentvolumes = create delete {_READ}
        core: persistentvolumeclaims = {_READ} update
        storage.k8s.io: storageclasses = {_READ}
        core: events = watch
        {_EVENTS}
    """,
    "system:public-info-viewer": _PUBLIC,
    "system:service-account-issuer-discovery": """
        /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks \
/openid/v1/jwks/ = get
    """,
    "system:volume-scheduler": f"""
        core: persistentvolumes = patch {_OWN}
        storage.k8s.io: storageclasses = {_READ}
        core: persistentvolumeclaims = patch {_OWN}
    """,
    # Sampan's own: a node finds its local-path volumes, and lets go of one once it has removed the data.
    "sampan:local-path": f"core: persistentvolumes = {_READ} patch",
    # Its proxy carries out the host ports of every node of its machine.
    "sampan:host-ports": "core: pods = list watch",
    # Its DNS server follows slices, and answers for pods.
    "sampan:dns": f"""
        core: endpoints services pods namespaces = {_READ}
        discovery.k8s.io: endpointslices = {_READ}
    """,
    # Its scheduler places groups of pods wherever the API has them.
    "sampan:pod-groups": f"""
        scheduling.k8s.io: podgroups = {_READ}
        scheduling.k8s.io: podgroups/status = patch update
    """,
}

# Each controller's role is bound to the service account of its name in kube-system.
CONTROLLERS: Final = {
    "attachdetach-controller": f"""
        core: persistentvolumeclaims persistentvolumes = list watch
        core: nodes = {_READ}
        core: nodes/status = patch update
        core: pods = list watch
        {_EVENTS}
        storage.k8s.io: volumeattachments = create delete {_READ}
        storage.k8s.io: csidrivers = {_READ}
        storage.k8s.io: csinodes = {_READ}
    """,
    "certificate-controller": f"""
        certificates.k8s.io: certificatesigningrequests = delete {_READ}
        certificates.k8s.io: certificatesigningrequests/approval certificatesigningrequests/status = update
        certificates.k8s.io: signers [kubernetes.io/kube-apiserver-client-kubelet] = approve
        certificates.k8s.io: signers [kubernetes.io/kube-apiserver-client \
kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown] = sign
        authorization.k8s.io: subjectaccessreviews = create
        {_EVENTS}
    """,
    "clusterrole-aggregation-controller": (
        "rbac.authorization.k8s.io: clusterroles = escalate get list patch update watch"
    ),
    "cronjob-controller": f"""
        batch: cronjobs = {_OWN}
        batch: jobs = create delete patch {_OWN}
        batch: cronjobs/status = update
        batch: cronjobs/finalizers = update
        core: pods = delete list watch
        {_EVENTS}
    """,
    "daemon-set-controller": f"""
        apps,extensions: daemonsets = {_READ}
        apps,extensions: daemonsets/status = update
        apps,extensions: daemonsets/finalizers = update
        core: nodes = list watch
        {_PODS}
        core: pods/binding = create
        apps: controllerrevisions = create delete patch {_OWN}
        {_EVENTS}
    """,
    "deployment-controller": f"""
        apps,extensions: deployments = {_OWN}
        apps,extensions: deployments/status = update
        apps,extensions: deployments/finalizers = update
        apps,extensions: replicasets = create delete patch {_OWN}
        core: pods = {_OWN}
        {_EVENTS}
    """,
    "device-taint-eviction-controller": f"""
        core: pods = delete {_READ}
        core: pods/status = patch update
        resource.k8s.io: resourceclaims = {_READ}
        resource.k8s.io: resourceslices = {_READ}
        resource.k8s.io: deviceclasses = {_READ}
        {_EVENTS}
        resource.k8s.io: devicetaintrules/status = patch update
        resource.k8s.io: devicetaintrules = {_READ}
    """,
    "disruption-controller": f"""
        apps,extensions: deployments = {_READ}
        apps,extensions: replicasets = {_READ}
        core: replicationcontrollers = {_READ}
        policy: poddisruptionbudgets = {_READ}
        apps: statefulsets = {_READ}
        policy: poddisruptionbudgets/status = update
        core: pods/status = patch update
        *: */scale = get
        {_EVENTS}
    """,
    "endpoint-controller": f"""
        core: pods services = {_READ}
        core: endpoints = create delete {_OWN}
        core: endpoints/restricted = create
        {_EVENTS}
    """,
    "endpointslice-controller": f"""
        core: nodes pods services = {_READ}
        core: services/finalizers = update
        discovery.k8s.io: endpointslices = create delete {_OWN}
        {_EVENTS}
    """,
    "endpointslicemirroring-controller": f"""
        core: endpoints services = {_READ}
        core: services/finalizers = update
        core: endpoints/finalizers = update
        discovery.k8s.io: endpointslices = create delete {_OWN}
        {_EVENTS}
    """,
    "ephemeral-volume-controller": f"""
        core: pods = {_READ}
        core: pods/finalizers = update
        core: persistentvolumeclaims = create {_READ}
        {_EVENTS}
    """,
    "expand-controller": f"""
        core: persistentvolumes = {_OWN} patch
        core: persistentvolumeclaims/status = patch update
        core: persistentvolumeclaims = {_READ}
        {_EVENTS}
    """,
    "kube-apiserver-serving-clustertrustbundle-publisher": f"""
        certificates.k8s.io: signers [kubernetes.io/kube-apiserver-serving] = attest
        certificates.k8s.io: clustertrustbundles = create delete list update watch
        {_EVENTS}
    """,
    "storage-version-migrator-controller": """
        *: * = list patch
        apiextensions.k8s.io: customresourcedefinitions = get
        apiextensions.k8s.io: customresourcedefinitions/status = patch
        storagemigration.k8s.io: storageversionmigrations/status = update
    """,
    "generic-garbage-collector": f"*: * = delete {_OWN} patch\n{_EVENTS}",
    "horizontal-pod-autoscaler": f"""
        autoscaling: horizontalpodautoscalers = {_READ}
        autoscaling: horizontalpodautoscalers/status = update
        *: */scale = get update
        core: pods = list watch
        metrics.k8s.io: pods = list watch
        custom.metrics.k8s.io: * = {_READ}
        external.metrics.k8s.io: * = {_READ}
        {_EVENTS}
    """,
    "job-controller": f"""
        batch: jobs = patch {_OWN}
        batch: jobs/status = update
        batch: jobs/finalizers = update
        {_PODS}
        {_EVENTS}
    """,
    "legacy-service-account-token-cleaner": """
        core: configmaps [kube-apiserver-legacy-service-account-token-tracking] = get
        core: secrets = delete patch
    """,
    "namespace-controller": f"""
        core: namespaces = delete {_READ}
        core: namespaces/finalize namespaces/status = update
        *: * = delete deletecollection {_READ}
    """,
    "node-controller": f"""
        core: nodes = delete patch {_OWN}
        core: nodes/status = patch update
        core: pods/status = patch update
        core: pods = delete {_READ}
        coordination.k8s.io: leases = {_READ}
        {_EVENTS}
    """,
    "persistent-volume-binder": f"""
        core: persistentvolumes = create delete {_OWN}
        core: persistentvolumes/status = update
        core: persistentvolumeclaims = {_OWN}
        core: persistentvolumeclaims/status = update
        core: pods = create delete {_READ}
        storage.k8s.io: storageclasses = {_READ}
        core: nodes = list watch
        {_EVENTS}
        core: events = watch
    """,
    "pod-garbage-collector": f"""
        core: pods = delete list watch
        core: nodes = {_READ}
        core: pods/status = patch
    """,
    "podcertificaterequestcleaner": f"certificates.k8s.io: podcertificaterequests = delete {_READ}",
    "pv-protection-controller": f"core: persistentvolumes = {_OWN}\n{_EVENTS}",
    "pvc-protection-controller": f"""
        core: persistentvolumeclaims = {_OWN}
        core: persistentvolumeclaims/status = update
        core: pods = {_READ}
        {_EVENTS}
    """,
    "replicaset-controller": f"""
        apps,extensions: replicasets = {_OWN}
        apps,extensions: replicasets/status = update
        apps,extensions: replicasets/finalizers = update
        {_PODS}
        {_EVENTS}
    """,
    "replication-controller": f"""
        core: replicationcontrollers = {_OWN}
        core: replicationcontrollers/status = update
        core: replicationcontrollers/finalizers = update
        {_PODS}
        {_EVENTS}
    """,
    "resource-claim-controller": f"""
        core: pods = {_READ}
        core: pods/finalizers = update
        resource.k8s.io: resourceclaims = create delete {_READ}
        resource.k8s.io: resourceclaims resourceclaims/status = patch update
        core: pods/status = patch update
        {_EVENTS}
        resource.k8s.io: resourceclaims/binding = patch update
    """,
    "resourcequota-controller": f"*: * = list watch\ncore: resourcequotas/status = update\n{_EVENTS}",
    "root-ca-cert-publisher": f"core: configmaps = create update\n{_EVENTS}",
    "route-controller": f"core: nodes = list watch\ncore: nodes/status = patch\n{_EVENTS}",
    "selinux-warning-controller": f"""
        {_EVENTS}
        core: persistentvolumes = {_READ}
        core: persistentvolumeclaims = {_READ}
        core: pods = {_READ}
        storage.k8s.io: csidrivers = {_READ}
    """,
    "service-account-controller": f"core: serviceaccounts = create\n{_EVENTS}",
    "service-cidrs-controller": f"""
        networking.k8s.io: servicecidrs = patch {_OWN}
        networking.k8s.io: servicecidrs/finalizers = patch update
        networking.k8s.io: servicecidrs/status = patch update
        networking.k8s.io: ipaddresses = {_READ}
        {_EVENTS}
    """,
    "service-controller": f"""
        core: services = {_READ}
        core: services/status = patch update
        core: nodes = list watch
        {_EVENTS}
    """,
    "statefulset-controller": f"""
        core: pods = list watch
        apps: statefulsets = {_READ}
        apps: statefulsets/status = update
        apps: statefulsets/finalizers = update
        core: pods = create delete get patch update
        apps: controllerrevisions = create delete patch {_OWN}
        core: persistentvolumeclaims = create {_READ}
        core: persistentvolumeclaims = delete update
        core: pods/finalizers = update
        {_EVENTS}
    """,
    "ttl-after-finished-controller": f"batch: jobs = delete {_READ}\n{_EVENTS}",
    "ttl-controller": f"core: nodes = list patch update watch\n{_EVENTS}",
    "validatingadmissionpolicy-status-controller": f"""
        admissionregistration.k8s.io: validatingadmissionpolicies = {_READ}
        admissionregistration.k8s.io: validatingadmissionpolicies/status = get patch update
        {_EVENTS}
    """,
    "volumeattributesclass-protection-controller": f"""
        core: persistentvolumeclaims = {_READ}
        core: persistentvolumes = {_READ}
        storage.k8s.io: volumeattributesclasses = {_OWN}
        {_EVENTS}
    """,
}

# Bindings of cluster roles: name, role, and the subjects as `kind name`.
CLUSTER_BINDINGS: Final = (
    ("cluster-admin", "cluster-admin", ("Group system:masters",)),
    ("system:basic-user", "system:basic-user", ("Group system:authenticated",)),
    ("system:discovery", "system:discovery", ("Group system:authenticated",)),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        ("Group system:authenticated", "Group system:unauthenticated"),
    ),
    (
        "system:cluster-trust-bundle-discovery",
        "system:cluster-trust-bundle-discovery",
        ("Group system:serviceaccounts",),
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        ("Group system:serviceaccounts",),
    ),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        ("User system:kube-controller-manager",),
    ),
    ("system:kube-dns", "system:kube-dns", ("ServiceAccount kube-dns",)),
    ("system:kube-scheduler", "system:kube-scheduler", ("User system:kube-scheduler",)),
    ("system:volume-scheduler", "system:volume-scheduler", ("User system:kube-scheduler",)),
    ("system:monitoring", "system:monitoring", ("Group system:monitoring",)),
    # Nodes have their rights from the node authorizer; this binding is for those who run without it.
    ("system:node", "system:node", ()),
    ("system:node-proxier", "system:node-proxier", ("User system:kube-proxy",)),
    ("sampan:local-path", "sampan:local-path", ("Group system:nodes",)),
    ("sampan:host-ports", "sampan:host-ports", ("User system:kube-proxy",)),
    ("sampan:dns", "sampan:dns", ("ServiceAccount kube-dns",)),
    ("sampan:pod-groups", "sampan:pod-groups", ("User system:kube-scheduler",)),
    # As kubeadm binds it, under a name of its own: nodes may renew their certificates.
    (
        "sampan:node-certificates",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        ("Group system:nodes",),
    ),
)

# Roles in a namespace: namespace, name, rules.
ROLES: Final = (
    ("kube-system", "extension-apiserver-authentication-reader",
     f"core: configmaps [extension-apiserver-authentication] = {_READ}"),
    ("kube-system", "system::leader-locking-kube-controller-manager",
     _LEADER),
    ("kube-system", "system::leader-locking-kube-scheduler",
     _LEADER),
    ("kube-system", "system:controller:bootstrap-signer", f"core: secrets = {_READ}"),
    ("kube-system", "system:controller:token-cleaner", f"core: secrets = delete {_READ}\n{_EVENTS}"),
    ("kube-system", "system:controller:cloud-provider", f"core: configmaps = create {_READ}"),
    ("kube-public", "system:controller:bootstrap-signer",
     f"core: configmaps = {_READ}\ncore: configmaps [cluster-info] = update\n{_EVENTS}"),
)  # fmt: skip

# Bindings in a namespace: namespace, name, role, subjects.
BINDINGS: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    ("kube-system", "system::extension-apiserver-authentication-reader",
     "extension-apiserver-authentication-reader",
     ("User system:kube-controller-manager", "User system:kube-scheduler")),
    ("kube-system", "system::leader-locking-kube-controller-manager",
     "system::leader-locking-kube-controller-manager",
     ("User system:kube-controller-manager", "ServiceAccount kube-controller-manager",
      "ServiceAccount leader-election-controller")),
    ("kube-system", "system::leader-locking-kube-scheduler", "system::leader-locking-kube-scheduler",
     ("User system:kube-scheduler", "ServiceAccount kube-scheduler")),
    ("kube-system", "system:controller:bootstrap-signer", "system:controller:bootstrap-signer",
     ("ServiceAccount bootstrap-signer",)),
    ("kube-system", "system:controller:token-cleaner", "system:controller:token-cleaner",
     ("ServiceAccount token-cleaner",)),
    ("kube-system", "system:controller:cloud-provider", "system:controller:cloud-provider",
     ("ServiceAccount cloud-provider",)),
    ("kube-public", "system:controller:bootstrap-signer", "system:controller:bootstrap-signer",
     ("ServiceAccount bootstrap-signer",)),
)  # fmt: skip


def rules_of(text: str) -> Iterator[api.PolicyRule]:
    """The rules that a role's lines say, with all lists in order, as kube-apiserver writes them."""
    for line in text.strip().splitlines():
        what, _, verbs = line.rpartition(" = ")
        what = what.strip()
        if what.startswith("/"):
            paths = ["*"] if what == "/*" else what.split()
            yield api.PolicyRule(nonResourceURLs=sorted(paths), verbs=sorted(verbs.split()))
            continue
        groups, _, resources = what.partition(": ")
        resources, _, names = resources.partition(" [")
        yield api.PolicyRule(
            apiGroups=sorted("" if group == "core" else group for group in groups.split(",")),
            resources=sorted(resources.split()),
            resourceNames=sorted(names.rstrip("]").split()),
            verbs=sorted(verbs.split()),
        )
