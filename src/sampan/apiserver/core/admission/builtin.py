"""The admission plugins that Kubernetes has on by default, in its order: which there are stands here
alone."""

from __future__ import annotations

from sampan.apiserver.core.admission.certificates import CertificateRequesters, CertificateRights
from sampan.apiserver.core.admission.chain import Plugin
from sampan.apiserver.core.admission.claimstatus import ClaimRights
from sampan.apiserver.core.admission.devices import DeviceAdmins
from sampan.apiserver.core.admission.escalation import RightsOfWriters
from sampan.apiserver.core.admission.limits import LimitRanger
from sampan.apiserver.core.admission.namespaces import NamespaceLifecycle
from sampan.apiserver.core.admission.noderestriction import NodeRestriction
from sampan.apiserver.core.admission.nodes import TaintNodes
from sampan.apiserver.core.admission.podcertificates import PodCertificateRequesters
from sampan.apiserver.core.admission.pods import DefaultTolerations, Priority, ServiceAccounts
from sampan.apiserver.core.admission.podsecurity.plugin import PodSecurity
from sampan.apiserver.core.admission.runtimeclasses import RuntimeClasses
from sampan.apiserver.core.admission.storage import (
    ClaimResize,
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectsInUse,
)
from sampan.apiserver.core.admission.topology import TopologyLabels
from sampan.apiserver.core.authz import Authorizer
from sampan.apiserver.core.resource import Resources
from sampan.base.ids import Ids


def plugins(resources: Resources, authorizer: Authorizer, ids: Ids) -> tuple[Plugin, ...]:
    """Every built-in plugin but quotas and allocators, which act in the commit itself."""
    return (
        NamespaceLifecycle(resources),
        LimitRanger(resources),
        ServiceAccounts(resources, ids),
        NodeRestriction(resources),
        TaintNodes(),
        PodSecurity(resources),
        Priority(resources),
        DefaultTolerations(),
        TopologyLabels(resources),
        DefaultStorageClass(resources),
        StorageObjectsInUse(),
        ClaimResize(resources),
        RuntimeClasses(resources),
        CertificateRequesters(),
        PodCertificateRequesters(resources),
        CertificateRights(authorizer),
        DefaultIngressClass(resources),
        DeviceAdmins(resources),
        ClaimRights(authorizer),
        RightsOfWriters(resources, authorizer),
    )
