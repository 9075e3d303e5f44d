"""All controllers, in one explicit tuple."""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.client.resources import resource_of
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
from sampan.controllers.certificates import approving, cleaning, podcleaning, signing
from sampan.controllers.certificates.issuing import Authority
from sampan.controllers.daemonset import plan as daemonset
from sampan.controllers.deployment import plan as deployment
from sampan.controllers.devicetaints import evicting as devicetaints
from sampan.controllers.devicetaints import telling as devicetaintrules
from sampan.controllers.endpointslice import endpoints, mirroring, slices
from sampan.controllers.horizontalpodautoscaler import plan as horizontalpodautoscaler
from sampan.controllers.job import orphans, ttl
from sampan.controllers.job import plan as job
from sampan.controllers.resourceclaim import making, releasing
from sampan.controllers.runtime.controller import Controller
from sampan.controllers.statefulset import plan as statefulset
from sampan.controllers.storage import attachment, binder, ephemeral, expansion, localpath, protection
from sampan.schema import api
from sampan.schema.definitions import NEWEST, GroupVersionKind, load


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
    # What the API server serves: controllers of kinds that it does not have are left out.
    kubernetes_version: str = NEWEST
    node_monitor_grace_s: float = nodelifecycle.GRACE_S
    # Where nodes get the addresses of their pods from; None: they bring them, or need none.
    node_ranges: nodeipam.Ranges | None = None
    finished_pods_most: int = podgc.FINISHED_MOST
    # For how long changes are collected before Endpoints, EndpointSlices and mirrored slices are written.
    endpoints_batch_s: float = 0.0
    endpointslice_batch_s: float = 0.0
    mirroring_batch_s: float = 0.0
    # None: Services of type LoadBalancer are left to somebody else.
    load_balancers: loadbalancer.Options | None = msgspec.field(default_factory=loadbalancer.Options)


def controllers(settings: Settings | None = None) -> tuple[Controller, ...]:
    """Every controller of what the server has, ready for a `Manager`."""
    settings = settings or Settings()
    # No controller begins before all caches are filled: one of a kind that is not served never is.
    return tuple(one for one in _all(settings) if all(_has(settings, kind) for kind in one.kinds))


def _has(settings: Settings, kind: Any) -> bool:
    """Whether the server has the kind."""
    version = settings.kubernetes_version
    if version == NEWEST:
        return True
    resource = resource_of(kind)
    gvk = GroupVersionKind(resource.group, resource.api_version.rpartition("/")[2], resource.kind)
    return gvk in load(version).by_gvk


def _all(settings: Settings) -> tuple[Controller, ...]:
    balancing = settings.load_balancers
    return (
        namespace.CONTROLLER,
        serviceaccount.ACCOUNTS,
        serviceaccount.root_ca(settings.ca_bundle),
        *((tokens.controller(settings.token_key, settings.ca_bundle),) if settings.token_key else ()),
        resourcequota.controller(counts_served=_has(settings, api.DeviceClass)),
        *((trustbundle.controller(settings.trust_bundle),) if settings.trust_bundle else ()),
        clusterroleaggregation.CONTROLLER,
        approving.CONTROLLER,
        *((signing.controller(settings.authority),) if settings.authority is not None else ()),
        cleaning.CONTROLLER,
        podcleaning.CONTROLLER,
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
        slices.controller(settings.endpointslice_batch_s),
        endpoints.controller(settings.endpoints_batch_s),
        mirroring.controller(settings.mirroring_batch_s),
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
        protection.CLASSES,
        ephemeral.CONTROLLER,
        attachment.CONTROLLER,
        making.CONTROLLER,
        releasing.CONTROLLER,
        garbagecollector.CONTROLLER,
        nodelifecycle.controller(settings.node_monitor_grace_s),
        nodettl.CONTROLLER,
        *((nodeipam.controller(settings.node_ranges),) if settings.node_ranges is not None else ()),
        leasecleanup.CONTROLLER,
        tainteviction.CONTROLLER,
        devicetaints.CONTROLLER,
        devicetaintrules.CONTROLLER,
        podgc.ORPHANS,
        podgc.UNSCHEDULED,
        podgc.finished(settings.finished_pods_most),
    )
