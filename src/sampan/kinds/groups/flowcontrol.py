"""The kinds of flowcontrol.apiserver.k8s.io/v1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.core.cells import NONE
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column, condition
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_API_VERSION: Final = "flowcontrol.apiserver.k8s.io/v1"
_PRECEDENCE_DEFAULT: Final = 1000
_PRECEDENCE_MAX: Final = 10_000
_SHARES_DEFAULT: Final = 30
_QUEUES_DEFAULT: Final = 64
_QUEUES_MAX: Final = 10_000_000
_HAND_SIZE_DEFAULT: Final = 8
_QUEUE_LENGTH_DEFAULT: Final = 50
# The entropy that a shuffle-sharding hand may take from a 64-bit hash.
_ENTROPY_MAX_BITS: Final = 60
_DISTINGUISHERS: Final = ("ByNamespace", "ByUser")
_SUBJECT_KINDS: Final = ("Group", "ServiceAccount", "User")
_MEMBERS: Final = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
_VERBS: Final = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
)


def default_schema(obj: Any) -> None:
    """Schemas are tried in the middle of the order where nothing is said."""
    if not obj.spec.matchingPrecedence:
        obj.spec.matchingPrecedence = _PRECEDENCE_DEFAULT


def default_level(obj: Any) -> None:
    """What SetDefaults_LimitedPriorityLevelConfiguration and its like fill."""
    exempt, limited = obj.spec.exempt, obj.spec.limited
    if exempt is not None:
        exempt.nominalConcurrencyShares = exempt.nominalConcurrencyShares or 0
        exempt.lendablePercent = exempt.lendablePercent or 0
    if limited is None:
        return
    if limited.nominalConcurrencyShares is None:
        limited.nominalConcurrencyShares = _SHARES_DEFAULT
    limited.lendablePercent = limited.lendablePercent or 0
    limited.limitResponse = limited.limitResponse or api.LimitResponse()
    queuing = limited.limitResponse.queuing
    if queuing is not None:
        queuing.queues = queuing.queues or _QUEUES_DEFAULT
        queuing.handSize = queuing.handSize or _HAND_SIZE_DEFAULT
        queuing.queueLengthLimit = queuing.queueLengthLimit or _QUEUE_LENGTH_DEFAULT


def validate_schema(obj: Any) -> list[FieldError]:
    """Every error of a FlowSchema: ValidateFlowSchemaSpec."""
    spec, precedence = obj.spec, obj.spec.matchingPrecedence or 0
    errors: list[FieldError] = []
    if precedence <= 0:
        errors.append(field.invalid(SPEC["matchingPrecedence"], precedence, "must be a positive value"))
    if precedence > _PRECEDENCE_MAX:
        detail = f"must not be greater than {_PRECEDENCE_MAX}"
        errors.append(field.invalid(SPEC["matchingPrecedence"], precedence, detail))
    if precedence == 1 and obj.metadata.name != "exempt":
        detail = "only the schema named 'exempt' may have matchingPrecedence 1"
        errors.append(field.invalid(SPEC["matchingPrecedence"], precedence, detail))
    if spec.distinguisherMethod is not None:
        path = SPEC["distinguisherMethod"]["type"]
        errors += checks.one_of(spec.distinguisherMethod.type, _DISTINGUISHERS, path)
    level = spec.priorityLevelConfiguration.name if spec.priorityLevelConfiguration is not None else ""
    path = SPEC["priorityLevelConfiguration"]["name"]
    if not level:
        errors.append(field.required(path, "must reference a priority level"))
    else:
        errors += checks.named(level, names.dns1123_subdomain(level), path)
    for position, rule in enumerate(spec.rules):
        errors += _rule_errors(rule, SPEC["rules"][position])
    return errors


def _rule_errors(rule: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.subjects:
        errors.append(field.required(path["subjects"], "subjects must contain at least one value"))
    for position, subject in enumerate(rule.subjects):
        errors += _subject_errors(subject, path["subjects"][position])
    if not rule.resourceRules and not rule.nonResourceRules:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(field.required(path, detail))
    for position, resource in enumerate(rule.resourceRules):
        errors += _resource_rule_errors(resource, path["resourceRules"][position])
    for position, other in enumerate(rule.nonResourceRules):
        at = path["nonResourceRules"][position]
        errors += _verbs_errors(other.verbs, at["verbs"])
        if not other.nonResourceURLs:
            detail = "nonResourceURLs must contain at least one value"
            errors.append(field.required(at["nonResourceURLs"], detail))
        errors += _urls_errors(other.nonResourceURLs, at["nonResourceURLs"])
    return errors


def _urls_errors(urls: Sequence[str], path: Path) -> list[FieldError]:
    if "*" in urls:
        detail = "if '*' is present, must not specify other non-resource URLs"
        return [field.invalid(path, list(urls), detail)] if len(urls) > 1 else []
    errors: list[FieldError] = []
    for position, url in enumerate(urls):
        if not url:
            errors.append(field.invalid(path[position], url, "must not be empty"))
        elif not url.startswith("/"):
            errors.append(field.invalid(path[position], url, "must start with slash"))
        elif "*" in url[:-1] or (url.endswith("*") and not url.endswith("/*")):
            detail = "wildcard can only do suffix matching"
            errors.append(field.invalid(path[position], url, detail))
    return errors


def _subject_errors(subject: Any, path: Path) -> list[FieldError]:
    member = _MEMBERS.get(subject.kind)
    if member is None:
        return [field.not_supported(path["kind"], subject.kind, _SUBJECT_KINDS)]
    errors: list[FieldError] = []
    for other in _MEMBERS.values():
        if other != member and getattr(subject, other) is not None:
            detail = f"{other} is forbidden when subject kind is not '{_kind_of(other)}'"
            errors.append(field.forbidden(path[other], detail))
    named = getattr(subject, member)
    if named is None:
        detail = f"{member} is required when subject kind is '{subject.kind}'"
        return [*errors, field.required(path[member], detail)]
    if not named.name:
        errors.append(field.required(path[member]["name"]))
    return errors + _account_errors(named, path[member]) if member == "serviceAccount" else errors


def _account_errors(account: Any, path: Path) -> list[FieldError]:
    name, namespace = account.name, account.namespace
    errors: list[FieldError] = []
    if name and name != "*":
        errors += checks.named(name, names.dns1123_subdomain(name), path["name"])
    if not namespace:
        detail = "must specify namespace for service account"
        return [*errors, field.required(path["namespace"], detail)]
    return errors + checks.named(namespace, names.dns1123_label(namespace), path["namespace"])


def _kind_of(member: str) -> str:
    return next(kind for kind, name in _MEMBERS.items() if name == member)


def _resource_rule_errors(rule: Any, path: Path) -> list[FieldError]:
    errors = _verbs_errors(rule.verbs, path["verbs"])
    for name, what in (("apiGroups", "api group"), ("resources", "resource")):
        if not getattr(rule, name):
            detail = f"resource rules must supply at least one {what}"
            errors.append(field.required(path[name], detail))
        errors += _wildcard_errors(getattr(rule, name), path[name], f"{what}s")
    if not rule.namespaces and not rule.clusterScope:
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        errors.append(field.required(path["namespaces"], detail))
    rule_of_members = "each member of this list must be '*' or a DNS-1123 label; "
    for position, name in enumerate(rule.namespaces):
        if name != "*":
            messages = [rule_of_members + message for message in names.dns1123_label(name)]
            errors += checks.named(name, messages, path["namespaces"][position])
    return errors + _wildcard_errors(rule.namespaces, path["namespaces"], "namespaces")


def _verbs_errors(verbs: Sequence[str], path: Path) -> list[FieldError]:
    if not verbs:
        return [field.required(path, "verbs must contain at least one value")]
    errors = _wildcard_errors(verbs, path, "verbs")
    if not errors and "*" not in verbs and not set(verbs) <= set(_VERBS):
        errors.append(field.not_supported(path, list(verbs), _VERBS))
    return errors


def _wildcard_errors(values: Sequence[str], path: Path, what: str) -> list[FieldError]:
    if "*" not in values or len(values) == 1:
        return []
    return [field.invalid(path, list(values), f"if '*' is present, must not specify other {what}")]


def validate_level(obj: Any) -> list[FieldError]:
    """Every error of a PriorityLevelConfiguration: ValidatePriorityLevelConfigurationSpec."""
    spec = obj.spec
    if obj.metadata.name == "exempt" and spec.type != "Exempt":
        detail = "must be 'Exempt' for the priority level named 'exempt'"
        return [field.invalid(SPEC["type"], spec.type, detail)]
    if spec.type == "Exempt":
        if spec.limited is not None:
            return [field.forbidden(SPEC["limited"], "")]
        return [] if spec.exempt is None else _lending_errors(spec.exempt, SPEC["exempt"])
    if spec.type != "Limited":
        given = [name for name in ("limited", "exempt") if getattr(spec, name) is not None]
        wrong = checks.required_one_of(spec.type, ("Exempt", "Limited"), SPEC["type"])
        forbidden = [field.forbidden(SPEC[name], "") for name in given]
        return [*wrong, *forbidden] if spec.type else [*forbidden, *wrong]
    errors: list[FieldError] = []
    if spec.exempt is not None:
        errors.append(field.forbidden(SPEC["exempt"], ""))
    if spec.limited is None:
        return [*errors, field.required(SPEC["limited"])]
    return errors + _limited_errors(spec.limited, SPEC["limited"])


def _lending_errors(limits: Any, path: Path) -> list[FieldError]:
    errors = checks.non_negative(limits.nominalConcurrencyShares, path["nominalConcurrencyShares"])
    percent = limits.lendablePercent
    if percent is not None and not 0 <= percent <= 100:
        detail = "must be between 0 and 100, inclusive"
        errors.append(field.invalid(path["lendablePercent"], percent, detail))
    return errors


def _limited_errors(limited: Any, path: Path) -> list[FieldError]:
    errors = _lending_errors(limited, path)
    if limited.borrowingLimitPercent is not None and limited.borrowingLimitPercent < 0:
        detail = "if specified, must be greater than or equal to 0"
        errors.append(field.invalid(path["borrowingLimitPercent"], limited.borrowingLimitPercent, detail))
    response, path = limited.limitResponse or api.LimitResponse(), path["limitResponse"]
    if response.type == "Reject":
        if response.queuing is not None:
            errors.append(field.forbidden(path["queuing"], ""))
        return errors
    if not response.type:
        errors.append(field.required(path["type"]))
        return errors if response.queuing is None else [*errors, field.forbidden(path["queuing"], "")]
    if response.type != "Queue":
        return [*errors, field.not_supported(path["type"], response.type, ("Queue", "Reject"))]
    if response.queuing is None:
        return [*errors, field.required(path["queuing"])]
    return errors + _queuing_errors(response.queuing, path["queuing"])


def _queuing_errors(queuing: Any, path: Path) -> list[FieldError]:
    queues, hand = queuing.queues or 0, queuing.handSize or 0
    errors: list[FieldError] = []
    if (queuing.queueLengthLimit or 0) <= 0:
        detail = "must be positive"
        errors.append(field.invalid(path["queueLengthLimit"], queuing.queueLengthLimit or 0, detail))
    if not 0 < queues <= _QUEUES_MAX:
        detail = "must be positive" if queues <= 0 else f"must not be greater than {_QUEUES_MAX}"
        errors.append(field.invalid(path["queues"], queues, detail))
    if hand <= 0:
        errors.append(field.invalid(path["handSize"], hand, "must be positive"))
    elif hand > queues > 0:
        detail = f"should not be greater than queues ({queues})"
        errors.append(field.invalid(path["handSize"], hand, detail))
    elif queues > 0 and hand * math.log2(queues) > _ENTROPY_MAX_BITS:
        detail = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
        errors.append(field.invalid(path["handSize"], hand, f"{detail}{_ENTROPY_MAX_BITS}"))
    return errors


def _dangling(obj: Any) -> str:
    found = condition(obj.status.conditions, "Dangling")
    return "?" if found is None else found.status or ""


def _level(obj: Any) -> str:
    level = obj.spec.priorityLevelConfiguration
    return "" if level is None else level.name


def _distinguisher(obj: Any) -> str:
    return NONE if obj.spec.distinguisherMethod is None else obj.spec.distinguisherMethod.type


def _shares(obj: Any) -> Any:
    return NONE if obj.spec.limited is None else obj.spec.limited.nominalConcurrencyShares


def _queuing(name: str, obj: Any) -> Any:
    limited = obj.spec.limited
    response = limited.limitResponse if limited is not None else None
    queuing = response.queuing if response is not None else None
    return NONE if queuing is None else getattr(queuing, name)


FLOW_SCHEMA: Final = Kind(
    api_version=_API_VERSION,
    kind="FlowSchema",
    plural="flowschemas",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    generation=True,
    default=default_schema,
    validate=validate_schema,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("PriorityLevel", _level),
        column("MatchingPrecedence", lambda schema: schema.spec.matchingPrecedence or 0),
        column("DistinguisherMethod", _distinguisher),
        AGE,
        column("MissingPL", _dangling, description="Whether the PriorityLevelConfiguration is missing."),
    ),
)
PRIORITY_LEVEL: Final = Kind(
    api_version=_API_VERSION,
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    generation=True,
    default=default_level,
    validate=validate_level,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Type", lambda level: level.spec.type),
        column("NominalConcurrencyShares", _shares),
        column("Queues", lambda level: _queuing("queues", level)),
        column("HandSize", lambda level: _queuing("handSize", level)),
        column("QueueLengthLimit", lambda level: _queuing("queueLengthLimit", level)),
        AGE,
    ),
)

KINDS: Final[tuple[Kind, ...]] = (FLOW_SCHEMA, PRIORITY_LEVEL)
