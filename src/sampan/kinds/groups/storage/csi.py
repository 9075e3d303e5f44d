"""CSIDriver, CSINode and CSIStorageCapacity."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.kinds.core.cells import NONE, UNSET
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import NAME_AND_CREATED_AT, column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema.semantic import same

_LIFECYCLE_MODES: Final = ("Persistent", "Ephemeral")
_FS_GROUP_POLICIES: Final = ("File", "None", "ReadWriteOnceWithFSType")
_DRIVER_NAME_MAX_BYTES: Final = 63
_NODE_ID_MAX_BYTES: Final = 192
_ATTACHABLE_PERIOD_MIN_S: Final = 10
_TOKEN_EXPIRATION_MIN_S: Final = 600
_DEFAULTS: Final = (
    ("attachRequired", True),
    ("podInfoOnMount", False),
    ("storageCapacity", False),
    ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
    ("requiresRepublish", False),
    ("seLinuxMount", False),
    ("preventPodSchedulingIfMissing", False),
)


def default_driver(obj: Any) -> None:
    """What SetDefaults_CSIDriver fills."""
    for name, value in _DEFAULTS:
        if getattr(obj.spec, name) is None:
            setattr(obj.spec, name, value)
    obj.spec.volumeLifecycleModes = obj.spec.volumeLifecycleModes or ["Persistent"]


def driver_name_errors(name: str, path: Path) -> list[FieldError]:
    """The name a CSI driver calls itself by."""
    if not name:
        return [field.required(path)]
    errors: list[FieldError] = []
    if len(name.encode()) > _DRIVER_NAME_MAX_BYTES:
        errors.append(field.too_long(path, _DRIVER_NAME_MAX_BYTES))
    return errors + checks.named(name, names.dns1123_subdomain(name.lower()), path)


def validate_driver(obj: Any) -> list[FieldError]:
    """Every error of a CSIDriver: ValidateCSIDriver."""
    spec = obj.spec
    errors: list[FieldError] = []
    for name in ("attachRequired", "podInfoOnMount", "storageCapacity"):
        if getattr(spec, name) is None:
            errors.append(field.required(SPEC[name]))
    for mode in spec.volumeLifecycleModes:
        errors += checks.one_of(mode, _LIFECYCLE_MODES, SPEC["volumeLifecycleModes"])
    errors += checks.one_of(spec.fsGroupPolicy, _FS_GROUP_POLICIES, SPEC["fsGroupPolicy"])
    errors += _token_errors(spec)
    if (in_secrets := spec.serviceAccountTokenInSecrets) is not None and not spec.tokenRequests:
        detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        errors.append(field.invalid(SPEC["serviceAccountTokenInSecrets"], in_secrets, detail))
    period = spec.nodeAllocatableUpdatePeriodSeconds
    if period is not None and period < _ATTACHABLE_PERIOD_MIN_S:
        detail = f"must be greater than or equal to {_ATTACHABLE_PERIOD_MIN_S} seconds"
        errors.append(field.invalid(SPEC["nodeAllocatableUpdatePeriodSeconds"], period, detail))
    return errors


def _token_errors(spec: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    audiences: set[str] = set()
    for position, token in enumerate(spec.tokenRequests):
        path = SPEC["tokenRequests"][position]
        if token.audience in audiences:
            errors.append(field.duplicate(path["audience"], token.audience))
        audiences.add(token.audience)
        seconds = token.expirationSeconds
        if seconds is not None and seconds < _TOKEN_EXPIRATION_MIN_S:
            detail = "may not specify a duration less than 10 minutes"
            errors.append(field.invalid(path["expirationSeconds"], seconds, detail))
        elif seconds is not None and seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
            errors.append(field.invalid(path["expirationSeconds"], seconds, detail))
    return errors


def prepare_driver_update(new: Any, old: Any) -> None:
    """A change of the spec is counted; a new driver, as in Kubernetes, has no generation yet."""
    default_driver(new)  # what a client leaves out is no change
    if new.spec != old.spec:
        new.metadata.generation = (old.metadata.generation or 0) + 1


def validate_driver_update(new: Any, old: Any) -> list[FieldError]:
    """How volumes are attached cannot change under those that are."""
    # Named as the original's messages name it.
    path = SPEC["attachedRequired"]
    errors = checks.immutable(new.spec.attachRequired, old.spec.attachRequired, path)
    return errors + checks.immutables(new.spec, old.spec, SPEC, "volumeLifecycleModes")


def validate_node(obj: Any) -> list[FieldError]:
    """Every error of a CSINode: ValidateCSINode."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, driver in enumerate(obj.spec.drivers):
        path = SPEC["drivers"][position]
        errors += driver_name_errors(driver.name, path["name"])
        if not driver.nodeID:
            errors.append(field.required(path["nodeID"]))
        if len(driver.nodeID.encode()) > _NODE_ID_MAX_BYTES:
            detail = f"nodeID must be {_NODE_ID_MAX_BYTES} characters or less"
            errors.append(field.invalid(path["nodeID"], driver.nodeID, detail))
        for index, key in enumerate(driver.topologyKeys):
            errors += checks.named(key, names.qualified_name(key), path["topologyKeys"][index])
            if key in driver.topologyKeys[:index]:
                errors.append(field.duplicate(path, key))
        if driver.allocatable is not None:
            errors += checks.non_negative(driver.allocatable.count, path["allocatable"]["count"])
        if driver.name in seen:
            errors.append(field.duplicate(path["name"], driver.name))
        seen.add(driver.name)
    return errors


def validate_node_update(new: Any, old: Any) -> list[FieldError]:
    """A driver that is there may only learn how many volumes fit."""
    return [
        error
        for known in old.spec.drivers
        for driver in new.spec.drivers
        if driver.name == known.name
        for error in checks.immutable_printed(
            msgspec.structs.replace(driver, allocatable=None),
            msgspec.structs.replace(known, allocatable=None),
            SPEC["drivers"],
        )
    ]


def validate_capacity(obj: Any) -> list[FieldError]:
    """Every error of a CSIStorageCapacity."""
    name = obj.storageClassName
    errors = checks.named(name, names.dns1123_subdomain(name), Path("storageClassName"))
    errors += meta.validate_label_selector(obj.nodeTopology, Path("nodeTopology"))
    # Of maximumVolumeSize kube-apiserver asks nothing.
    if obj.capacity is not None and obj.capacity.value < 0:
        errors.append(field.invalid(Path("capacity"), obj.capacity, checks.NEGATIVE))
    return errors


def validate_capacity_update(new: Any, old: Any) -> list[FieldError]:
    """Where and for what the capacity is stays."""
    return [
        error
        for name in ("nodeTopology", "storageClassName")
        for error in checks.immutable_printed(getattr(new, name), getattr(old, name), Path(name))
    ]


def _tokens(obj: Any) -> str:
    return ",".join(token.audience for token in obj.spec.tokenRequests) or UNSET


def driver_warnings(driver: Any, old: Any) -> list[str]:
    """Of tokens that may end up in logs, where they are new."""
    spec = driver.spec
    known = old is not None and same(old.spec.tokenRequests, spec.tokenRequests)
    if known or not spec.tokenRequests or spec.serviceAccountTokenInSecrets is not None:
        return []
    return [
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to "
        "prevent possible logging of tokens in volume attributes"
    ]


DRIVER: Final = Kind(
    api_version="storage.k8s.io/v1",
    kind="CSIDriver",
    plural="csidrivers",
    namespaced=CLUSTER,
    default=default_driver,
    warnings=driver_warnings,
    validate=validate_driver,
    validate_update=validate_driver_update,
    prepare_update=prepare_driver_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("AttachRequired", lambda d: d.spec.attachRequired is not False, type="boolean"),
        column("PodInfoOnMount", lambda d: bool(d.spec.podInfoOnMount), type="boolean"),
        column("StorageCapacity", lambda d: bool(d.spec.storageCapacity), type="boolean"),
        column("TokenRequests", _tokens),
        column("RequiresRepublish", lambda d: bool(d.spec.requiresRepublish), type="boolean"),
        column("Modes", lambda d: ",".join(d.spec.volumeLifecycleModes) or NONE),
        AGE,
    ),
)
NODE: Final = Kind(
    api_version="storage.k8s.io/v1",
    kind="CSINode",
    plural="csinodes",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    prepare_create=checks.clear_status,
    validate=validate_node,
    validate_update=validate_node_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column(
            "Drivers",
            lambda n: len(n.spec.drivers),
            type="integer",
            description="Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    ),
)
CAPACITY: Final = Kind(
    api_version="storage.k8s.io/v1",
    kind="CSIStorageCapacity",
    plural="csistoragecapacities",
    validate=validate_capacity,
    validate_update=validate_capacity_update,
    name_errors=names.dns1123_subdomain,
    columns=NAME_AND_CREATED_AT,
)
