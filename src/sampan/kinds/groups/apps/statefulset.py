"""StatefulSet."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.kinds.core import persistentvolumeclaim
from sampan.kinds.core.claim_validation import validate_claim_spec
from sampan.kinds.core.pod_warnings import claim_fractions, template_warnings
from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.cells import column, container_columns
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.kind import AGE, NAME, Kind, Scale
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_FOR_LIFE: Final = ("selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy")
_RETENTION: Final = ("Retain", "Delete")
_COUNTS: Final = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")


def default(obj: Any) -> None:
    """What SetDefaults_StatefulSet fills; claim templates get a claim's own defaults."""
    spec = obj.spec
    workloads.default_template(spec.template)
    workloads.leave_out_zeros(spec, "minReadySeconds")
    # Go always writes this one; objects of before may lack it.
    spec.serviceName = spec.serviceName or ""
    spec.podManagementPolicy = spec.podManagementPolicy or "OrderedReady"
    spec.replicas = 1 if spec.replicas is None else spec.replicas
    spec.revisionHistoryLimit = 10 if spec.revisionHistoryLimit is None else spec.revisionHistoryLimit
    strategy = spec.updateStrategy = spec.updateStrategy or api.StatefulSetUpdateStrategy()
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rollingUpdate or api.RollingUpdateStatefulSetStrategy()
        strategy.rollingUpdate = rolling
        rolling.partition = 0 if rolling.partition is None else rolling.partition
        rolling.maxUnavailable = 1 if rolling.maxUnavailable is None else rolling.maxUnavailable
    policy = (
        spec.persistentVolumeClaimRetentionPolicy or api.StatefulSetPersistentVolumeClaimRetentionPolicy()
    )
    spec.persistentVolumeClaimRetentionPolicy = policy
    policy.whenDeleted = policy.whenDeleted or "Retain"
    policy.whenScaled = policy.whenScaled or "Retain"
    for claim in spec.volumeClaimTemplates:
        claim.apiVersion, claim.kind = "v1", "PersistentVolumeClaim"
        persistentvolumeclaim.KIND.default(claim)


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateStatefulSetSpec."""
    spec = obj.spec
    errors = _policy_errors(spec)
    errors += _strategy_errors(spec.updateStrategy, SPEC["updateStrategy"])
    errors += _retention_errors(spec.persistentVolumeClaimRetentionPolicy)
    for position, claim in enumerate(spec.volumeClaimTemplates):
        errors += validate_claim_spec(claim.spec, SPEC["volumeClaimTemplates"][position]["spec"])
    errors += checks.non_negatives(spec, SPEC, "replicas", "minReadySeconds")
    if spec.ordinals is not None:
        errors += checks.non_negative(spec.ordinals.start, SPEC["ordinals"]["start"])
    path, selector = SPEC["template"], SPEC["selector"]
    errors += workloads.selector_errors(spec.selector, selector, "statefulset")
    if spec.selector is not None and workloads.selects(spec.selector, {}) is None:
        errors.append(field.invalid(selector, meta.selector_shown(spec.selector), ""))
    else:
        errors += workloads.mismatch_errors(spec.selector, spec.template, path)
        errors += workloads.template_errors(_with_claims(spec), path)
    return errors + workloads.running_forever_errors(spec.template, path, "StatefulSet")


def prepare_create(obj: Any) -> None:
    """What a client says of the status of something new is forgotten; one count is always there."""
    checks.clear_status(obj)
    obj.status.availableReplicas = 0


def validate_create(obj: Any) -> list[FieldError]:
    """A new one names pods: the name of its Service is a label, as is its own."""
    service = obj.spec.serviceName
    return checks.named(service, names.dns1123_label(service), SPEC["serviceName"]) if service else []


def _with_claims(spec: Any) -> Any:
    """The template as its pods will have it: with a volume for each claim, named by the controller."""
    claims = spec.volumeClaimTemplates
    inner = spec.template.spec
    if not claims and not inner.hostname and not inner.subdomain:
        return spec.template
    made = {
        claim.metadata.name or "": api.Volume(
            name=claim.metadata.name or "",
            persistentVolumeClaim=api.PersistentVolumeClaimVolumeSource(claimName=claim.metadata.name or ""),
        )
        for claim in claims
    }
    volumes = [*made.values(), *(volume for volume in inner.volumes if volume.name not in made)]
    changed = msgspec.structs.replace(inner, volumes=volumes, hostname=None, subdomain=None)
    return msgspec.structs.replace(spec.template, spec=changed)


def _policy_errors(spec: Any) -> list[FieldError]:
    path = SPEC["podManagementPolicy"]
    if not spec.podManagementPolicy:
        return [field.required(path)]
    if spec.podManagementPolicy in ("OrderedReady", "Parallel"):
        return []
    return [field.invalid(path, spec.podManagementPolicy, "must be 'OrderedReady' or 'Parallel'")]


def _strategy_errors(strategy: Any, path: Path) -> list[FieldError]:
    if not strategy.type:
        return [field.required(path)]
    if strategy.type == "OnDelete":
        if strategy.rollingUpdate is None:
            return []
        detail = "only allowed for updateStrategy 'RollingUpdate'"
        return [field.invalid(path["rollingUpdate"], strategy.rollingUpdate, detail)]
    if strategy.type != "RollingUpdate":
        shown = workloads.strategy_shown(strategy, "partition", "maxUnavailable")
        if strategy.rollingUpdate is not None:
            shown["RollingUpdate"]["Partition"] = strategy.rollingUpdate.partition or 0
        return [field.invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'")]
    if strategy.rollingUpdate is None:
        return []
    rolling, path = strategy.rollingUpdate, path["rollingUpdate"]
    errors = checks.non_negative(rolling.partition, path["partition"])
    if rolling.maxUnavailable is not None:
        path = path["maxUnavailable"]
        errors += checks.int_or_percent(rolling.maxUnavailable, path)
        if checks.amount(rolling.maxUnavailable) == 0:
            errors.append(field.invalid(path, rolling.maxUnavailable, "cannot be 0"))
        errors += checks.at_most_100_percent(rolling.maxUnavailable, path)
    return errors


def _retention_errors(policy: Any) -> list[FieldError]:
    if policy is None:
        return []
    path = SPEC["persistentVolumeClaimRetentionPolicy"]
    errors = checks.one_of(policy.whenDeleted or "", _RETENTION, path["whenDeleted"])
    return errors + checks.one_of(policy.whenScaled or "", _RETENTION, path["whenScaled"])


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """All but a few fields are for life, since they name pods and claims."""
    return checks.immutables(new.spec, old.spec, SPEC, *_FOR_LIFE)


def validate_status_update(new: Any, old: Any) -> list[FieldError]:
    """ValidateStatefulSetStatus, and collisionCount only grows."""
    status = new.status
    errors = checks.non_negatives(status, STATUS, *_COUNTS, "observedGeneration", "collisionCount")
    for name in _COUNTS[1:]:
        count = getattr(status, name) or 0
        if count > status.replicas:
            errors.append(field.invalid(STATUS[name], count, "cannot be greater than status.replicas"))
    if (status.availableReplicas or 0) > (status.readyReplicas or 0):
        detail = "cannot be greater than status.readyReplicas"
        errors.append(field.invalid(STATUS["availableReplicas"], status.availableReplicas, detail))
    return errors + workloads.collision_errors(status, old.status)


def warnings(obj: Any, old: Any) -> list[str]:
    """Of the template, the claims, and a history without an end."""
    before = None if old is None else old.spec.template
    said = template_warnings(obj.spec.template, "spec.template", before)
    for position, claim in enumerate(obj.spec.volumeClaimTemplates):
        said += claim_fractions(claim.spec, f"spec.volumeClaimTemplates[{position}]")
    if (obj.spec.revisionHistoryLimit or 0) < 0:
        said.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; "
            "a value >= 0 is recommended"
        )
    return said


KIND: Final = Kind(
    api_version="apps/v1",
    kind="StatefulSet",
    plural="statefulsets",
    short=("sts",),
    categories=("all",),
    status=True,
    generation=True,
    scale=Scale(
        get_replicas=workloads.replicas,
        set_replicas=workloads.set_replicas,
        status_replicas=workloads.status_replicas,
        selector=workloads.scale_selector,
    ),
    default=default,
    warnings=warnings,
    validate=validate,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    name_errors=names.dns1123_label,
    columns=(
        NAME,
        column(
            "Ready",
            lambda s: f"{s.status.readyReplicas or 0}/{workloads.replicas(s)}",
            description="Number of the pod with ready state",
        ),
        AGE,
        *container_columns(lambda s: s.spec.template.spec),
    ),
)
