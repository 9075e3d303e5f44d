"""CustomResourceDefinition."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.kinds.custom.definition import CLEANUP
from sampan.kinds.groups import checks
from sampan.kinds.groups.admissionregistration.webhooks import client_config_errors
from sampan.kinds.groups.apiextensions.columns import COLUMNS
from sampan.kinds.groups.apiextensions.versions import cost_errors, shared_errors, versions_errors
from sampan.kinds.groups.cells import is_true
from sampan.kinds.groups.checks import METADATA, SPEC, STATUS
from sampan.kinds.kind import CLUSTER, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_APPROVED: Final = "api-approved.kubernetes.io"
_PROTECTED: Final = ("k8s.io", "kubernetes.io")
_SCOPES: Final = ("Cluster", "Namespaced")
_STRATEGIES: Final = ("None", "Webhook")
_PORT_DEFAULT: Final = 443
_MIXED_CASE: Final = "may have mixed case, but should otherwise match: "


def default(obj: Any) -> None:
    """Names follow from the kind; objects of all versions have one shape where nothing is said."""
    spec = obj.spec
    spec.names = spec.names or api.CustomResourceDefinitionNames()
    spec.names.singular = spec.names.singular or spec.names.kind.lower()
    if not spec.names.listKind and spec.names.kind:
        spec.names.listKind = f"{spec.names.kind}List"
    spec.conversion = spec.conversion or api.CustomResourceConversion(strategy="None")
    webhook = spec.conversion.webhook
    service = (
        webhook.clientConfig.service if webhook is not None and webhook.clientConfig is not None else None
    )
    if service is not None and service.port is None:
        service.port = _PORT_DEFAULT


def prepare_create(obj: Any) -> None:
    """The version of storage is one that objects may be stored in from now on."""
    obj.status = api.CustomResourceDefinitionStatus(storedVersions=_storage_versions(obj)[:1])


def prepare_update(new: Any, old: Any) -> None:
    """Objects stored in an earlier version of storage are still there."""
    missing = [v for v in _storage_versions(new) if v not in old.status.storedVersions]
    if missing:
        stored = [*old.status.storedVersions, *missing]
        new.status = msgspec.structs.replace(new.status, storedVersions=stored)


def _storage_versions(obj: Any) -> list[str]:
    return [version.name for version in obj.spec.versions if version.storage]


def validate_create(obj: Any) -> list[FieldError]:
    """What only a new one is asked: a prefix that is its whole name, and rules that do not cost much."""
    spec, base = obj.spec, obj.metadata.generateName
    errors: list[FieldError] = []
    if base and (spec.names is None or base != f"{spec.names.plural}.{spec.group}"):
        detail = 'must be spec.names.plural+"."+spec.group'
        errors.append(field.invalid(METADATA["generateName"], base, detail))
    return errors + cost_errors(obj)


def validate(obj: Any) -> list[FieldError]:
    """Every error of a definition: ValidateCustomResourceDefinition."""
    spec, name = obj.spec, obj.metadata.name or ""
    errors: list[FieldError] = []
    if spec.names is None or name != f"{spec.names.plural}.{spec.group}":
        detail = 'must be spec.names.plural+"."+spec.group'
        if name:
            errors.append(field.invalid(METADATA["name"], name, detail))
    errors += _group_errors(spec.group, SPEC["group"])
    errors += _approval_errors(obj)
    errors += checks.required_one_of(spec.scope, _SCOPES, SPEC["scope"])
    errors += versions_errors(spec.versions, SPEC["versions"])
    if spec.names is not None:
        errors += _names_errors(spec.names, SPEC["names"])
    errors += shared_errors(spec.versions)
    if spec.preserveUnknownFields:
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
            "spec.versions[*].schema instead"
        )
        errors.append(field.invalid(SPEC["preserveUnknownFields"], True, detail))
    errors += _conversion_errors(spec.conversion, SPEC["conversion"])
    return errors + _stored_versions_errors(obj)


def _group_errors(group: str, path: Path) -> list[FieldError]:
    if not group:
        return [field.required(path)]
    messages = names.dns1123_subdomain(group)
    if messages:
        return [field.invalid(path, group, ",".join(messages))]
    if "." not in group:
        return [field.invalid(path, group, "should be a domain with at least one dot")]
    return []


def _approval_errors(obj: Any) -> list[FieldError]:
    """Groups of Kubernetes' own domains need an approval: a link, or a word that there is none."""
    group = obj.spec.group
    if not any(group == domain or group.endswith(f".{domain}") for domain in _PROTECTED):
        return []
    path = METADATA["annotations"].key(_APPROVED)
    approval = obj.metadata.annotations.get(_APPROVED, "")
    if not approval:
        detail = (
            f'protected groups must have approval annotation "{_APPROVED}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
        return [field.required(path, detail)]
    if approval.startswith(("unapproved", "http://", "https://")):
        return []
    detail = 'protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL '
    detail += (
        'or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    )
    return [field.invalid(path, approval, detail)]


def _names_errors(given: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("plural", "singular", "kind", "listKind"):
        value = getattr(given, name) or ""
        if not value:
            errors.append(field.required(path[name]))
            continue
        mixed = name in ("kind", "listKind")
        messages = names.dns1035_label(value.lower() if mixed else value)
        if messages:
            detail = (_MIXED_CASE if mixed else "") + ",".join(messages)
            errors.append(field.invalid(path[name], value, detail))
    for name in ("shortNames", "categories"):
        for position, value in enumerate(getattr(given, name)):
            messages = names.dns1035_label(value)
            if messages:
                errors.append(field.invalid(path[name][position], value, ",".join(messages)))
    if given.kind and given.kind == given.listKind:
        errors.append(
            field.invalid(path["listKind"], given.listKind, "kind and listKind may not be the same")
        )
    return errors


def _conversion_errors(conversion: Any, path: Path) -> list[FieldError]:
    if conversion is None:
        return []
    errors = checks.required_one_of(conversion.strategy, _STRATEGIES, path["strategy"])
    webhook, path = conversion.webhook, path["webhook"]
    if conversion.strategy != "Webhook":
        if webhook is not None:
            detail = "should not be set when strategy is not set to Webhook"
            whole = SPEC["conversion"]
            if webhook.clientConfig is not None:
                errors.append(field.forbidden(whole["webhookClientConfig"], detail))
            if webhook.conversionReviewVersions:
                errors.append(field.forbidden(whole["conversionReviewVersions"], detail))
        return errors
    if webhook is None or webhook.clientConfig is None:
        detail = "required when strategy is set to Webhook"
        return [*errors, field.required(path["clientConfig"], detail)]
    errors += client_config_errors(webhook.clientConfig, SPEC["conversion"]["webhookClientConfig"])
    # The original's own type has them beside the client's configuration.
    versions, path = webhook.conversionReviewVersions, SPEC["conversion"]["conversionReviewVersions"]
    if not versions:
        return [*errors, field.required(path)]
    for position, version in enumerate(versions):
        messages = names.dns1035_label(version)
        if version in versions[:position]:
            errors.append(field.invalid(path[position], version, "duplicate version"))
        elif messages:
            errors.append(field.invalid(path[position], version, ",".join(messages)))
    if not {"v1", "v1beta1"} & set(versions):
        detail = "must include at least one of v1, v1beta1"
        errors.append(field.invalid(path, versions, detail))
    return errors


def _stored_versions_errors(obj: Any) -> list[FieldError]:
    stored, path = obj.status.storedVersions, STATUS["storedVersions"]
    if not stored:
        return [field.invalid(path, None, "must have at least one stored version")]
    # Each name is there once, also where two versions have it.
    left, errors = set(stored), []
    for version in obj.spec.versions:
        if version.storage and version.name not in left:
            errors.append(field.invalid(path, stored, f"must have the storage version {version.name}"))
        left.discard(version.name)
    known = [version.name for version in obj.spec.versions]
    for position, name in enumerate(stored):
        if name not in known:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{name} and removes {name} from status.storedVersions"
            )
            errors.append(field.invalid(path[position], name, detail))
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """What clients and stored objects rely on once the definition is established."""
    errors = checks.immutable(new.spec.group, old.spec.group, SPEC["group"])
    new_names, old_names = new.spec.names, old.spec.names
    errors += checks.immutable(new_names.plural, old_names.plural, SPEC["names"]["plural"])
    if is_true(old.status.conditions, "Established"):
        errors += checks.immutable(new.spec.scope, old.spec.scope, SPEC["scope"])
        errors += checks.immutable(new_names.kind, old_names.kind, SPEC["names"]["kind"])
    return errors + cost_errors(new, old)


KIND: Final = Kind(
    delete_finalizer=CLEANUP,
    api_version="apiextensions.k8s.io/v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    short=("crd", "crds"),
    categories=("api-extensions",),
    namespaced=CLUSTER,
    status=True,
    generation=True,
    default=default,
    validate=validate,
    validate_create=validate_create,
    validate_update=validate_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    name_errors=names.dns1123_subdomain,
    columns=COLUMNS,
)
