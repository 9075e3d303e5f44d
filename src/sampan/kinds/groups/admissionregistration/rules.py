"""Rules that say which requests a webhook or a policy sees, and the CEL conditions beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

API_VERSION: Final = "admissionregistration.k8s.io/v1"
FAILURE_POLICIES: Final = ("Fail", "Ignore")
MATCH_POLICIES: Final = ("Equivalent", "Exact")
REINVOCATION_POLICIES: Final = ("IfNeeded", "Never")
_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MUTATED: Final = ("*", "CONNECT", "CREATE", "UPDATE")
_SCOPES: Final = ("*", "Cluster", "Namespaced")
_CONDITIONS_MAX: Final = 64


def default_rules(rules: Sequence[Any]) -> None:
    """Rules see both scopes where nothing is said."""
    for rule in rules:
        rule.scope = "*" if rule.scope is None else rule.scope


def default_match_resources(match: Any) -> None:
    """The defaults of a policy's or binding's MatchResources."""
    if match is None:
        return
    match.matchPolicy = "Equivalent" if match.matchPolicy is None else match.matchPolicy
    match.namespaceSelector = match.namespaceSelector or api.LabelSelector()
    match.objectSelector = match.objectSelector or api.LabelSelector()
    default_rules(match.resourceRules)
    default_rules(match.excludeResourceRules)


def match_resources_errors(match: Any, path: Path) -> list[FieldError]:
    """Every error of a MatchResources."""
    errors = checks.required_one_of(match.matchPolicy, MATCH_POLICIES, path["matchPolicy"])
    for name in ("namespaceSelector", "objectSelector"):
        if getattr(match, name) is None:
            errors.append(field.required(path[name]))
        errors += meta.validate_label_selector(getattr(match, name), path[name])
    for name in ("resourceRules", "excludeResourceRules"):
        for position, rule in enumerate(getattr(match, name)):
            errors += rule_errors(rule, path[name][position])
            for index, resource in enumerate(rule.resourceNames):
                at = path[name][position]["resourceNames"][index]
                errors += checks.named(resource, names.path_segment_name(resource), at)
                if resource in rule.resourceNames[:index]:
                    errors.append(field.duplicate(at, resource))
    return errors


def rule_errors(rule: Any, path: Path) -> list[FieldError]:
    """Every error of a RuleWithOperations."""
    operations = rule.operations
    errors = [] if operations else [field.required(path["operations"])]
    errors += _wildcard_errors(operations, path["operations"])
    for position, operation in enumerate(operations):
        errors += checks.one_of(operation, _OPERATIONS, path["operations"][position])
    for name in ("apiGroups", "apiVersions"):
        values = getattr(rule, name)
        if not values:
            errors.append(field.required(path[name]))
        errors += _wildcard_errors(values, path[name])
    errors += [
        field.required(path["apiVersions"][position])
        for position, version in enumerate(rule.apiVersions)
        if not version
    ]
    errors += _resources_errors(rule.resources, path["resources"])
    return errors + checks.one_of(rule.scope, _SCOPES, path["scope"])


def mutated_operations_errors(match: Any | None, path: Path) -> list[FieldError]:
    """Operations of which nothing is left that could be changed: a policy that mutates cannot match them."""
    return [
        error
        for rule in (match.resourceRules if match is not None else ())
        for operation in rule.operations
        for error in checks.one_of(operation, _MUTATED, path["resourceRules"]["operations"])
    ]


def _wildcard_errors(values: Sequence[str], path: Path) -> list[FieldError]:
    if "*" not in values or len(values) == 1:
        return []
    return [field.invalid(path, list(values), "if '*' is present, must not specify other values")]


def _resources_errors(resources: Sequence[str], path: Path) -> list[FieldError]:
    errors = [] if resources else [field.required(path)]
    with_all = {r.split("/")[0] for r in resources if r.endswith("/*")}
    for position, resource in enumerate(resources):
        at = path[position]
        if not resource:
            errors.append(field.required(at))
            continue
        if resource == "*/*" and len(resources) > 1:
            detail = "if '*/*' is present, must not specify other resources"
            errors.append(field.invalid(path, list(resources), detail))
        base, slash, subresource = resource.partition("/")
        if slash and subresource != "*" and base in with_all:
            detail = f"if '{base}/*' is present, must not specify {resource}"
            errors.append(field.invalid(at, resource, detail))
        if resource == "*" and any("/" not in r and r != "*" for r in resources):
            detail = "if '*' is present, must not specify other resources without subresources"
            errors.append(field.invalid(path, list(resources), detail))
    return errors


def conditions_errors(conditions: Sequence[Any], path: Path) -> list[FieldError]:
    """Every error of matchConditions; expressions.py looks at their CEL."""
    if len(conditions) > _CONDITIONS_MAX:
        return [field.too_many(path, len(conditions), _CONDITIONS_MAX)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, condition in enumerate(conditions):
        at = path[position]
        if not condition.expression.strip():
            errors.append(field.required(at["expression"]))
        errors += checks.required_name(condition.name, names.qualified_name, at["name"])
        if condition.name and condition.name in seen:
            errors.append(field.duplicate(at["name"], condition.name))
        seen.add(condition.name)
    return errors
