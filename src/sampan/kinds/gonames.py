"""Values in messages, where the original prints types of its own that have no names in JSON.

Such types show their fields by Go's names, in the order that they are declared in, and all of them: what is
not there by the zero value of its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

# In place of the zero value of a field that is shown only where it is there.
_OMITTED: Final = msgspec.UNSET
# In place of the zero value of a struct whose fields are shown among those of the one that it is in.
_INLINE: Final = object()

# The fields of ObjectMeta, in the order that Go declares them in.
METADATA: Final = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
_META: Final = dict.fromkeys(METADATA, _OMITTED)
_DEVICES: Final = {"Requests": None, "Constraints": None, "Config": None}
_ASKED: Final = {
    "DeviceClassName": "",
    "Selectors": None,
    "AllocationMode": "",
    "Count": 0,
}
_ASKED_LAST: Final = {"Tolerations": None, "Capacity": None, "DerivedAttributes": None}

# By the names of types: their fields, with the zero value of each.
_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "CELDeviceSelector": {"Expression": ""},
    "CSINodeDriver": {"Name": "", "NodeID": "", "TopologyKeys": None, "Allocatable": None},
    "CapacityRequirements": {"Requests": None},
    "DeviceClaim": _DEVICES,
    "DeviceClaimConfiguration": {"Requests": None, "Opaque": None},
    "DeviceConstraint": {"Requests": None, "MatchAttribute": None, "DistinctAttribute": None},
    "DeviceRequest": {"Name": "", "Exactly": None, "FirstAvailable": None},
    "DeviceSelector": {"CEL": None},
    "DeviceSubRequest": {"Name": "", **_ASKED, **_ASKED_LAST},
    "DeviceToleration": {"Key": "", "Operator": "", "Value": "", "Effect": "", "TolerationSeconds": None},
    "ExactDeviceRequest": {**_ASKED, "AdminAccess": None, **_ASKED_LAST},
    "LabelSelector": {"matchLabels": _OMITTED, "matchExpressions": _OMITTED},
    "NodeSelector": {"NodeSelectorTerms": None},
    "NodeSelectorRequirement": {"Key": "", "Operator": "", "Values": None},
    "NodeSelectorTerm": {"MatchExpressions": None, "MatchFields": None},
    "ObjectMeta": _META,
    "OpaqueDeviceConfiguration": {"Driver": "", "Parameters": None},
    "PodCertificateRequestSpec": {
        "SignerName": "",
        "PodName": "",
        "PodUID": "",
        "ServiceAccountName": "",
        "ServiceAccountUID": "",
        "NodeName": "",
        "NodeUID": "",
        "MaxExpirationSeconds": None,
        "PKIXPublicKey": None,
        "ProofOfPossession": None,
        "StubPKCS10Request": None,
        "UnverifiedUserAnnotations": None,
    },
    "PodFailurePolicy": {"Rules": None},
    "PodFailurePolicyOnExitCodesRequirement": {"ContainerName": None, "Operator": "", "Values": None},
    "PodFailurePolicyOnPodConditionsPattern": {"Type": "", "Status": ""},
    "PodFailurePolicyRule": {"Action": "", "OnExitCodes": None, "OnPodConditions": None},
    "ResourceClaimSpec": {"Devices": _DEVICES},
    "ResourceClaimTemplateSpec": {"metadata": _INLINE, "Spec": {"Devices": _DEVICES}},
    "RoleRef": {"APIGroup": "", "Kind": "", "Name": ""},
    "StorageVersionMigrationSpec": {"Resource": {"group": "", "resource": ""}},
    "SuccessPolicy": {"Rules": None},
    "SuccessPolicyRule": {"SucceededIndexes": None, "SucceededCount": None},
    "Taint": {"Key": "", "Value": "", "Effect": "", "TimeAdded": None},
    "VolumeNodeAffinity": {"Required": None},
    "VolumeNodeResources": {"Count": None},
}


def shown(value: Any) -> Any:
    """A value as messages show it; what is of no type that is known here as JSON has it."""
    if isinstance(value, list):
        return [shown(each) for each in value]
    if not isinstance(value, msgspec.Struct):
        return value
    fields = _TYPES.get(type(value).__name__.rpartition("_")[2])
    if fields is None:
        return value
    by_name = {name.lower(): getattr(value, name) for name in value.__struct_fields__}
    found: dict[str, Any] = {}
    for name, zero in fields.items():
        held = by_name.get(name.lower())
        if zero is _INLINE:
            found |= shown(held)
        elif held is None or held in ([], {}):
            if zero is not _OMITTED:
                found[name] = zero
        else:
            found[name] = shown(held)
    return found
