"""All controllers, in one explicit tuple."""

from __future__ import annotations

import msgspec

from sampan.controllers import (
    addressrepair,
    clusterroleaggregation,
    cronjob,
    disruption,
    garbagecollector,
    leasecleanup,
    loadbalancer,
    namespace,
    nodeipam,
    nodelifecycle,
    nodettl,
    podgc,
    replicaset,
    replicationcontroller,
    resourcequota,
    serviceaccount,
    servicecidr,
    staledisruption,
    tainteviction,
    tokens,
    trustbundle,
)
from sampan.controllers.certificates import approving, cleaning, signing
from sampan.controllers.certificates.issuing import Authority
from sampan.controllers.daemonset import plan as daemonset
from sampan.controllers.deployment import plan as deployment
from sampan.controllers.endpointslice import endpoints, mirroring, slices
from sampan.controllers.horizontalpodautoscaler import plan as horizontalpodautoscaler
from sampan.controllers.job import orphans, ttl
from sampan.controllers.job import plan as job
from sampan.controllers.resourceclaim import making, releasing
from sampan.controllers.runtime.controller import Controller
from sampan.controllers.statefulset import plan as statefulset
from sampan.controllers.storage import attachment, binder, ephemeral, expansion, localpath, protection


class Settings(msgspec.Struct, frozen=True):
    """What may be set from outside, with the defaults of kube-controller-manager."""

    # PEM certificates of the authorities that sign the API server's certificate.
    ca_bundle: str = ""
    # The same to be published as a ClusterTrustBundle; "" where the API server has no such kind.
    trust_bundle: str = ""
    # What signs approved certificate requests; None: nobody here does.
    authority: Authority | None = None
    # The PEM key of service-account tokens; empty: Secrets for tokens stay as they are.
    token_key: bytes = b""
    # Whether the API server has resource.k8s.io/v1, as from Kubernetes 1.34 on.
    device_claims: bool = True
    node_monitor_grace_s: float = nodelifecycle.GRACE_S
    # Where nodes get the addresses of their pods from; None: they bring them, or need none.
    node_ranges: nodeipam.Ranges | None = None
    finished_pods_most: int = podgc.FINISHED_MOST
    # None: Services of type LoadBalancer are left to somebody else.
    load_balancers: loadbalancer.Options | None = msgspec.field(default_factory=loadbalancer.Options)


def controllers(settings: Settings | None = None) -> tuple[Controller, ...]:
    """Every controller, ready for a `Manager`."""
    settings = settings or Settings()
    balancing = settings.load_balancers
    return (
        namespace.CONTROLLER,
        serviceaccount.ACCOUNTS,
        serviceaccount.root_ca(settings.ca_bundle),
        *((tokens.controller(settings.token_key, settings.ca_bundle),) if settings.token_key else ()),
        resourcequota.CONTROLLER,
        *((trustbundle.controller(settings.trust_bundle),) if settings.trust_bundle else ()),
        clusterroleaggregation.CONTROLLER,
        approving.CONTROLLER,
        *((signing.controller(settings.authority),) if settings.authority is not None else ()),
        cleaning.CONTROLLER,
        deployment.CONTROLLER,
        replicaset.CONTROLLER,
        replicationcontroller.CONTROLLER,
        daemonset.controller(),
        statefulset.CONTROLLER,
        job.CONTROLLER,
        ttl.CONTROLLER,
        orphans.CONTROLLER,
        cronjob.CONTROLLER,
        horizontalpodautoscaler.controller(),
        disruption.CONTROLLER,
        staledisruption.CONTROLLER,
        slices.CONTROLLER,
        endpoints.CONTROLLER,
        mirroring.CONTROLLER,
        servicecidr.CONTROLLER,
        addressrepair.SERVICES,
        addressrepair.ADDRESSES,
        *((loadbalancer.controller(balancing),) if balancing is not None else ()),
        binder.CONTROLLER,
        localpath.PROVISION,
        localpath.DELETE,
        expansion.CONTROLLER,
        protection.CLAIMS,
        protection.VOLUMES,
        ephemeral.CONTROLLER,
        attachment.CONTROLLER,
        *((making.CONTROLLER, releasing.CONTROLLER) if settings.device_claims else ()),
        garbagecollector.CONTROLLER,
        nodelifecycle.controller(settings.node_monitor_grace_s),
        nodettl.CONTROLLER,
        *((nodeipam.controller(settings.node_ranges),) if settings.node_ranges is not None else ()),
        leasecleanup.CONTROLLER,
        tainteviction.CONTROLLER,
        podgc.ORPHANS,
        podgc.UNSCHEDULED,
        podgc.finished(settings.finished_pods_most),
    )
