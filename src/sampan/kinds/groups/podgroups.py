"""PodGroup and Workload of scheduling.k8s.io/v1beta1: served where a runtime-config asks for them."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api, codec

GROUP_VERSION: Final = "scheduling.k8s.io/v1beta1"
# The alpha of the same shape; it may be served beside.
ALPHA: Final = "scheduling.k8s.io/v1alpha3"
MOST_TEMPLATES: Final = 8
MOST_TOPOLOGIES: Final = 1
_PREEMPTION_POLICIES: Final = ("PreemptLowerPriority", "Never")
_AT_LEAST_ONE: Final = "must be greater than or equal to 1"


def _union(holder: Any, members: tuple[str, ...], path: Path) -> list[FieldError]:
    """Exactly one member is set, in the words of declarative validation."""
    given = [name for name in members if getattr(holder, name, None) is not None]
    all_of_them = ", ".join(f"`{name}`" for name in members)
    if not given:
        return [field.invalid(path, "", f"must specify one of: {all_of_them}")]
    if len(given) > 1:
        shown = "{" + ", ".join(f"`{name}`" for name in given) + "}"
        detail = f"exactly one of {all_of_them} is required, but multiple fields are set"
        return [field.invalid(path, shown, detail)]
    return []


def _validate_policy(policy: Any, path: Path) -> list[FieldError]:
    errors = _union(policy, ("basic", "gang"), path)
    if errors or policy.gang is None:
        return errors
    least, here = policy.gang.minCount, path["gang"]["minCount"]
    if not least:
        return [field.required(here)]
    return [field.invalid(here, least, _AT_LEAST_ONE)] if least < 0 else []


def _validate_common(spec: Any, path: Path) -> list[FieldError]:
    """What a group and a template of groups have in common."""
    errors = _validate_policy(spec.schedulingPolicy, path["schedulingPolicy"])
    if spec.disruptionMode is not None:
        errors += _union(spec.disruptionMode, ("single", "all"), path["disruptionMode"])
    constraints = spec.schedulingConstraints
    if constraints is not None:
        here = path["schedulingConstraints"]["topology"]
        if len(constraints.topology) > MOST_TOPOLOGIES:
            errors.append(field.too_many(here, len(constraints.topology), MOST_TOPOLOGIES))
        for at, each in enumerate(constraints.topology):
            errors += checks.required_name(each.key, names.qualified_name, here.index(at)["key"])
    if spec.priorityClassName:
        name = spec.priorityClassName
        errors += checks.named(name, names.dns1123_subdomain(name), path["priorityClassName"])
    return errors + checks.one_of(spec.preemptionPolicy, _PREEMPTION_POLICIES, path["preemptionPolicy"])


def default_group(obj: Any) -> None:
    """Pods of a group are disrupted one by one where nothing is said."""
    if obj.spec.disruptionMode is None:
        obj.spec.disruptionMode = codec.from_builtins({"single": {}}, api.DisruptionModeV1beta1)


def prepare_group(obj: Any) -> None:
    """Nobody but the scheduler tells of the status; composite groups are not served."""
    checks.clear_status(obj)
    obj.spec.parentCompositePodGroupName = None


def prepare_group_update(new: Any, old: Any) -> None:
    """Nobody joins a composite group later either; what an older server stored stays."""
    new.spec.parentCompositePodGroupName = old.spec.parentCompositePodGroupName


def prepare_workload(obj: Any) -> None:
    """Composite groups are not served."""
    obj.spec.compositePodGroupTemplates = []


def prepare_workload_update(new: Any, old: Any) -> None:
    """The same for what is changed."""
    new.spec.compositePodGroupTemplates = old.spec.compositePodGroupTemplates


def validate_group(obj: Any) -> list[FieldError]:
    """Every error of a PodGroup: ValidatePodGroup."""
    spec = obj.spec
    errors = _validate_common(spec, SPEC)
    if spec.workloadRef is not None:
        here = SPEC["workloadRef"]
        errors += checks.required_name(
            spec.workloadRef.workloadName, names.dns1123_subdomain, here["workloadName"]
        )
        errors += checks.required_name(
            spec.workloadRef.templateName, names.dns1123_label, here["templateName"]
        )
    return errors


def _without_count(policy: Any) -> Any:
    """The policy without the one field of it that may change."""
    copied = codec.to_builtins(policy)
    copied.get("gang", {}).pop("minCount", None)
    return copied


def _validate_policy_change(new: Any, old: Any, path: Path) -> list[FieldError]:
    return checks.immutable(_without_count(new), _without_count(old), path)


_FIXED: Final = (
    "disruptionMode",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "resourceClaims",
    "schedulingConstraints",
)


def validate_group_update(new: Any, old: Any) -> list[FieldError]:
    """Nothing changes after creation but `minCount`."""
    errors = _validate_policy_change(
        new.spec.schedulingPolicy, old.spec.schedulingPolicy, SPEC["schedulingPolicy"]
    )
    return errors + checks.immutables(new.spec, old.spec, SPEC, *_FIXED, "workloadRef")


def validate_workload(obj: Any) -> list[FieldError]:
    """Every error of a Workload: ValidateWorkload."""
    spec, here = obj.spec, SPEC["podGroupTemplates"]
    errors: list[FieldError] = []
    owner = spec.controllerRef
    if owner is not None:
        at = SPEC["controllerRef"]
        if owner.apiGroup:
            errors += checks.named(owner.apiGroup, names.dns1123_subdomain(owner.apiGroup), at["apiGroup"])
        errors += checks.required_name(owner.kind, names.path_segment_name, at["kind"])
        errors += checks.required_name(owner.name, names.path_segment_name, at["name"])
    if not spec.podGroupTemplates:
        errors.append(field.required(here, "must have at least one item"))
    if len(spec.podGroupTemplates) > MOST_TEMPLATES:
        return [*errors, field.too_many(here, len(spec.podGroupTemplates), MOST_TEMPLATES)]
    seen: set[str] = set()
    for position, template in enumerate(spec.podGroupTemplates):
        at = here.index(position)
        errors += checks.required_name(template.name, names.dns1123_label, at["name"])
        if template.name in seen:
            errors.append(field.duplicate(at, template.name))
        seen.add(template.name or "")
        errors += _validate_common(template, at)
    return errors


def validate_workload_update(new: Any, old: Any) -> list[FieldError]:
    """Templates neither come nor go; of each, `minCount` may change."""
    here = SPEC["podGroupTemplates"]
    errors: list[FieldError] = []
    if old.spec.controllerRef is not None:
        errors += checks.immutable(new.spec.controllerRef, old.spec.controllerRef, SPEC["controllerRef"])
    before = {template.name: template for template in old.spec.podGroupTemplates}
    if before.keys() != {template.name for template in new.spec.podGroupTemplates}:
        return [*errors, field.forbidden(here, "templates may not be added or removed")]
    for position, template in enumerate(new.spec.podGroupTemplates):
        known, at = before[template.name], here.index(position)
        errors += _validate_policy_change(
            template.schedulingPolicy, known.schedulingPolicy, at["schedulingPolicy"]
        )
        errors += checks.immutables(template, known, at, *_FIXED)
    return errors


POD_GROUP: Final = Kind(
    api_version=GROUP_VERSION,
    kind="PodGroup",
    plural="podgroups",
    status=True,
    status_keeps_metadata=True,
    generation=True,
    default=default_group,
    validate=validate_group,
    validate_update=validate_group_update,
    prepare_create=prepare_group,
    prepare_update=prepare_group_update,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, AGE),
)

WORKLOAD: Final = Kind(
    api_version=GROUP_VERSION,
    kind="Workload",
    plural="workloads",
    generation=True,
    validate=validate_workload,
    prepare_create=prepare_workload,
    prepare_update=prepare_workload_update,
    validate_update=validate_workload_update,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, AGE),
)

KINDS: Final[tuple[Kind, ...]] = (POD_GROUP, WORKLOAD)
