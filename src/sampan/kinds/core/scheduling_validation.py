"""What makes the parts of a pod spec valid that say where it may run, and the taints of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sampan.kinds.core.choices import validate_choice
from sampan.kinds.gonames import shown
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import validate_label_selector
from sampan.schema import api

_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TOLERATION_OPERATORS: Final = ("Equal", "Exists")
# These compare numbers. They are alpha and off, and yet what refuses them names them.
_NUMERIC_OPERATORS: Final = ("Lt", "Gt")
_UNSATISFIABLE: Final = frozenset({"DoNotSchedule", "ScheduleAnyway"})
_INCLUSION_POLICIES: Final = frozenset({"Ignore", "Honor"})
_NOT_POSITIVE: Final = "must be greater than zero"
_EMPTY_KEY: Final = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
_IN_BOTH: Final = "exists in both matchLabelKeys and labelSelector"


def validate_taints(taints: Sequence[api.Taint], path: Path) -> list[FieldError]:
    """Keys, values and effects; unique by key and effect."""
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for position, taint in enumerate(taints):
        here = path.index(position)
        errors += _validate_key(taint.key, here["key"])
        messages = names.label_value(taint.value or "")
        if messages:
            errors.append(field.invalid(here["value"], taint.value, ";".join(messages)))
        errors += validate_choice(taint.effect, _EFFECTS, here["effect"])
        if (taint.key, taint.effect) in seen:
            detail = "taints must be unique by key and effect pair"
            errors.append(FieldError(field.DUPLICATE, str(here), shown(taint), detail))
        seen.add((taint.key, taint.effect))
    return errors


def validate_tolerations(tolerations: Sequence[api.Toleration], path: Path) -> list[FieldError]:
    """Each toleration could match a taint."""
    errors: list[FieldError] = []
    for position, toleration in enumerate(tolerations):
        here = path.index(position)
        operator, value, effect = toleration.operator or "", toleration.value or "", toleration.effect or ""
        if toleration.key:
            errors += _validate_key(toleration.key, here["key"])
        elif operator != "Exists":
            errors.append(field.invalid(here["operator"], operator, _EMPTY_KEY))
        if toleration.tolerationSeconds is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(field.invalid(here["effect"], effect, detail))
        errors += _validate_toleration_value(operator, value, here)
        if effect and effect not in _EFFECTS:
            errors.append(field.not_supported(here["effect"], effect, _EFFECTS))
    return errors


def _validate_toleration_value(operator: str, value: str, path: Path) -> list[FieldError]:
    here = path["operator"]
    if operator in ("", "Equal"):
        messages = names.label_value(value)
        return [field.invalid(here, value, ";".join(messages))] if messages else []
    if operator == "Exists":
        detail = "value must be empty when `operator` is 'Exists'"
        return [field.invalid(here, value, detail)] if value else []
    supported = _TOLERATION_OPERATORS + (_NUMERIC_OPERATORS if operator in _NUMERIC_OPERATORS else ())
    return [field.not_supported(here, operator, supported)]


def validate_affinity(affinity: api.Affinity, path: Path) -> list[FieldError]:
    """Node and pod (anti-)affinity."""
    errors: list[FieldError] = []
    if affinity.nodeAffinity is not None:
        errors += _validate_node_affinity(affinity.nodeAffinity, path["nodeAffinity"])
    for name, part in (("podAffinity", affinity.podAffinity), ("podAntiAffinity", affinity.podAntiAffinity)):
        if part is None:
            continue
        here = path[name]["requiredDuringSchedulingIgnoredDuringExecution"]
        for position, term in enumerate(part.requiredDuringSchedulingIgnoredDuringExecution):
            errors += _validate_pod_affinity_term(term, here.index(position))
        here = path[name]["preferredDuringSchedulingIgnoredDuringExecution"]
        for position, weighted in enumerate(part.preferredDuringSchedulingIgnoredDuringExecution):
            errors += _validate_weight(weighted.weight, here.index(position))
            preferred = weighted.podAffinityTerm or api.PodAffinityTerm()
            errors += _validate_pod_affinity_term(preferred, here.index(position)["podAffinityTerm"])
    return errors


def _validate_node_affinity(affinity: api.NodeAffinity, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution
    if required is not None:
        here = path["requiredDuringSchedulingIgnoredDuringExecution"]
        errors += validate_node_selector(required, here)
    here = path["preferredDuringSchedulingIgnoredDuringExecution"]
    for position, term in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution):
        errors += _validate_weight(term.weight, here.index(position))
        if term.preference is not None:
            # Values that are no label values are let be here: such a term only never matches.
            errors += _validate_node_term(term.preference, here.index(position)["preference"], False)
    return errors


def validate_node_selector(selector: api.NodeSelector, path: Path) -> list[FieldError]:
    """At least one term, each of valid requirements."""
    here = path["nodeSelectorTerms"]
    if not selector.nodeSelectorTerms:
        return [field.required(here, "must have at least one node selector term")]
    errors: list[FieldError] = []
    for position, term in enumerate(selector.nodeSelectorTerms):
        errors += _validate_node_term(term, here.index(position), True)
    return errors


def _validate_node_term(term: api.NodeSelectorTerm, path: Path, check_values: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, requirement in enumerate(term.matchExpressions):
        here = path["matchExpressions"].index(position)
        errors += _validate_node_expression(requirement, here, check_values)
    for position, requirement in enumerate(term.matchFields):
        errors += _validate_node_field(requirement, path["matchFields"].index(position))
    return errors


def _validate_node_expression(
    requirement: api.NodeSelectorRequirement, path: Path, check_values: bool
) -> list[FieldError]:
    operator, values = requirement.operator, requirement.values
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(field.required(path["values"], detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(field.forbidden(path["values"], detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(field.required(path["values"], detail))
    else:
        errors.append(field.invalid(path["operator"], operator, "not a valid selector operator"))
    errors += _validate_key(requirement.key, path["key"])
    for position, value in enumerate(values if check_values else ()):
        messages = names.label_value(value)
        errors += [field.invalid(path["values"].index(position), value, message) for message in messages]
    return errors


def _validate_node_field(requirement: api.NodeSelectorRequirement, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if requirement.operator not in ("In", "NotIn"):
        detail = "not a valid selector operator"
        errors.append(field.invalid(path["operator"], requirement.operator, detail))
    elif len(requirement.values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(field.required(path["values"], detail))
    if requirement.key != "metadata.name":
        detail = "not a valid field selector key"
        return [*errors, field.invalid(path["key"], requirement.key, detail)]
    for position, value in enumerate(requirement.values):
        messages = names.dns1123_subdomain(value)
        errors += [field.invalid(path["values"].index(position), value, message) for message in messages]
    return errors


def _validate_pod_affinity_term(term: api.PodAffinityTerm, path: Path) -> list[FieldError]:
    errors = validate_label_selector(term.labelSelector, path["labelSelector"])
    errors += validate_label_selector(term.namespaceSelector, path["namespaceSelector"])
    for namespace in term.namespaces:
        messages = names.dns1123_label(namespace)
        errors += [field.invalid(path["namespace"], namespace, message) for message in messages]
    errors += _validate_selecting_keys(term.matchLabelKeys, term.mismatchLabelKeys, term.labelSelector, path)
    if not term.topologyKey:
        errors.append(field.required(path["topologyKey"], "can not be empty"))
    return errors + _validate_key(term.topologyKey, path["topologyKey"])


def _validate_label_keys(
    keys: Sequence[str], selector: api.LabelSelector | None, path: Path
) -> list[FieldError]:
    if selector is None:
        return [field.forbidden(path, "must not be specified when labelSelector is not set")]
    return [error for i, key in enumerate(keys) for error in _validate_key(key, path.index(i))]


def _validate_selecting_keys(
    match: Sequence[str], mismatch: Sequence[str], selector: api.LabelSelector | None, path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys:
            errors += _validate_label_keys(keys, selector, path[name])
    if selector is not None and match:
        errors += _validate_merged_keys(match, selector, path)
    for position, key in enumerate(match):
        if key in mismatch:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(field.invalid(path["matchLabelKeys"].index(position), key, detail))
    return errors


def _validate_merged_keys(match: Sequence[str], selector: api.LabelSelector, path: Path) -> list[FieldError]:
    # The keys were merged into the selector when the pod was made, so one mention of each is expected.
    errors: list[FieldError] = []
    seen = set(selector.matchLabels)
    for expression in selector.matchExpressions:
        if expression.key in seen and expression.key in match:
            position = len(match) - 1 - match[::-1].index(expression.key)
            errors.append(field.invalid(path.index(position), expression.key, _IN_BOTH))
        seen.add(expression.key)
    return errors


def validate_spread_constraints(
    constraints: Sequence[api.TopologySpreadConstraint], path: Path
) -> list[FieldError]:
    """Skew, key, action and selectors; unique by key and action."""
    errors: list[FieldError] = []
    for position, constraint in enumerate(constraints):
        here = path.index(position)
        if constraint.maxSkew <= 0:
            errors.append(field.invalid(here["maxSkew"], constraint.maxSkew, _NOT_POSITIVE))
        if not constraint.topologyKey:
            errors.append(field.required(here["topologyKey"], "can not be empty"))
        action = constraint.whenUnsatisfiable
        if action not in _UNSATISFIABLE:
            errors.append(field.not_supported(here["whenUnsatisfiable"], action, _UNSATISFIABLE))
        pair = (constraint.topologyKey, action)
        if any((c.topologyKey, c.whenUnsatisfiable) == pair for c in constraints[position + 1 :]):
            shown = f"{{{constraint.topologyKey}, {action}}}"
            errors.append(field.duplicate(here["{topologyKey, whenUnsatisfiable}"], shown))
        errors += _validate_min_domains(constraint, here["minDomains"])
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = getattr(constraint, name)
            if policy is not None and policy not in _INCLUSION_POLICIES:
                errors.append(field.not_supported(here[name], policy, _INCLUSION_POLICIES))
        if constraint.matchLabelKeys:
            errors += _validate_selecting_keys(constraint.matchLabelKeys, (), constraint.labelSelector, here)
        errors += validate_label_selector(constraint.labelSelector, here["labelSelector"])
    return errors


def _validate_min_domains(constraint: api.TopologySpreadConstraint, path: Path) -> list[FieldError]:
    count = constraint.minDomains
    if count is None:
        return []
    errors = [field.invalid(path, count, _NOT_POSITIVE)] if count <= 0 else []
    if constraint.whenUnsatisfiable != "DoNotSchedule":
        detail = (
            f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {constraint.whenUnsatisfiable}"
        )
        errors.append(field.invalid(path, count, detail))
    return errors


def validate_only_added_tolerations(
    new: Sequence[api.Toleration], old: Sequence[api.Toleration], path: Path
) -> list[FieldError]:
    """A pod may get further tolerations; the others only change their seconds."""

    def meaning(toleration: api.Toleration) -> tuple[str | None, ...]:
        return (toleration.key or "", toleration.operator, toleration.value or "", toleration.effect or "")

    kept = {meaning(toleration) for toleration in new}
    if all(meaning(toleration) in kept for toleration in old):
        return []
    return [field.forbidden(path, "existing toleration can not be modified except its tolerationSeconds")]


def validate_node_selector_additions(
    new: Mapping[str, str], old: Mapping[str, str], path: Path
) -> list[FieldError]:
    """A gated pod may get further node labels to look for."""
    if all(new.get(key) == value for key, value in old.items()):
        return []
    detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    return [field.invalid(path, dict(new) or None, detail)]


def validate_node_affinity_additions(
    new: api.NodeAffinity | None, old: api.NodeAffinity | None, path: Path
) -> list[FieldError]:
    """A gated pod's required node affinity may only become stricter."""
    before = old.requiredDuringSchedulingIgnoredDuringExecution if old is not None else None
    if before is None or not before.nodeSelectorTerms:
        return []
    after = new.requiredDuringSchedulingIgnoredDuringExecution if new is not None else None
    terms = after.nodeSelectorTerms if after is not None else []
    here = path["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    if len(terms) != len(before.nodeSelectorTerms):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [field.invalid(here, shown(terms) or None, detail)]
    detail = "only additions are allowed (no mutations or deletions)"
    return [
        field.invalid(here.index(position), shown(now), detail)
        for position, (now, was) in enumerate(zip(terms, before.nodeSelectorTerms, strict=True))
        if not _only_adds(now, was)
    ]


def _only_adds(new: api.NodeSelectorTerm, old: api.NodeSelectorTerm) -> bool:
    if not old.matchExpressions and not old.matchFields:
        return not new.matchExpressions and not new.matchFields
    return (
        new.matchExpressions[: len(old.matchExpressions)] == old.matchExpressions
        and new.matchFields[: len(old.matchFields)] == old.matchFields
    )


def _validate_weight(weight: int, path: Path) -> list[FieldError]:
    if 0 < weight <= 100:
        return []
    return [field.invalid(path["weight"], weight, "must be in the range 1-100")]


def _validate_key(key: str, path: Path) -> list[FieldError]:
    return [field.invalid(path, key, message) for message in names.qualified_name(key)]
