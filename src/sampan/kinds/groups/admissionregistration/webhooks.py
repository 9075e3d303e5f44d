"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sampan.kinds.groups import checks
from sampan.kinds.groups.admissionregistration import expressions, rules
from sampan.kinds.groups.admissionregistration.rules import API_VERSION
from sampan.kinds.groups.cells import column
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_TIMEOUT_DEFAULT_S: Final = 10
_TIMEOUT_MAX_S: Final = 30
_PORT_DEFAULT: Final = 443
_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
_REVIEW_VERSIONS: Final = ("v1", "v1beta1")
_SEGMENTS_MIN: Final = 3


def default_validating(obj: Any) -> None:
    """What SetDefaults_ValidatingWebhook fills."""
    for webhook in obj.webhooks:
        _default_webhook(webhook)


def default_mutating(obj: Any) -> None:
    """What SetDefaults_MutatingWebhook fills."""
    for webhook in obj.webhooks:
        _default_webhook(webhook)
        if webhook.reinvocationPolicy is None:
            webhook.reinvocationPolicy = "Never"


def _default_webhook(webhook: Any) -> None:
    webhook.failurePolicy = "Fail" if webhook.failurePolicy is None else webhook.failurePolicy
    webhook.matchPolicy = "Equivalent" if webhook.matchPolicy is None else webhook.matchPolicy
    webhook.namespaceSelector = webhook.namespaceSelector or api.LabelSelector()
    webhook.objectSelector = webhook.objectSelector or api.LabelSelector()
    webhook.timeoutSeconds = _TIMEOUT_DEFAULT_S if webhook.timeoutSeconds is None else webhook.timeoutSeconds
    webhook.clientConfig = webhook.clientConfig or api.WebhookClientConfig()
    if webhook.clientConfig.service is not None and webhook.clientConfig.service.port is None:
        webhook.clientConfig.service.port = _PORT_DEFAULT
    rules.default_rules(webhook.rules)


def validate_validating(obj: Any) -> list[FieldError]:
    """Every error of a ValidatingWebhookConfiguration."""
    return _webhooks_errors(obj.webhooks)


def validate_mutating(obj: Any) -> list[FieldError]:
    """Every error of a MutatingWebhookConfiguration."""
    errors = _webhooks_errors(obj.webhooks)
    for position, webhook in enumerate(obj.webhooks):
        path = Path("webhooks")[position]["reinvocationPolicy"]
        errors += checks.one_of(webhook.reinvocationPolicy, rules.REINVOCATION_POLICIES, path)
    return errors


def _webhooks_errors(webhooks: Sequence[Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, webhook in enumerate(webhooks):
        path = Path("webhooks")[position]
        errors += _webhook_errors(webhook, path)
        if webhook.name and webhook.name in seen:
            errors.append(field.duplicate(path["name"], webhook.name))
        seen.add(webhook.name)
    return errors + expressions.webhooks_errors(webhooks)


def _webhook_errors(webhook: Any, path: Path) -> list[FieldError]:
    errors = qualified_domain_errors(webhook.name, path["name"])
    for position, rule in enumerate(webhook.rules):
        errors += rules.rule_errors(rule, path["rules"][position])
    errors += checks.one_of(webhook.failurePolicy, rules.FAILURE_POLICIES, path["failurePolicy"])
    errors += checks.one_of(webhook.matchPolicy, rules.MATCH_POLICIES, path["matchPolicy"])
    if not webhook.sideEffects:
        detail = "must specify one of None, NoneOnDryRun"
        errors.append(field.required(path["sideEffects"], detail))
    else:
        errors += checks.one_of(webhook.sideEffects, _SIDE_EFFECTS, path["sideEffects"])
    seconds = webhook.timeoutSeconds
    if seconds is not None and not 1 <= seconds <= _TIMEOUT_MAX_S:
        detail = f"the timeout value must be between 1 and {_TIMEOUT_MAX_S} seconds"
        errors.append(field.invalid(path["timeoutSeconds"], seconds, detail))
    errors += meta.validate_label_selector(webhook.namespaceSelector, path["namespaceSelector"])
    errors += meta.validate_label_selector(webhook.objectSelector, path["objectSelector"])
    errors += client_config_errors(webhook.clientConfig, path["clientConfig"])
    errors += review_versions_errors(webhook.admissionReviewVersions, path["admissionReviewVersions"])
    return errors + rules.conditions_errors(webhook.matchConditions, path["matchConditions"])


def qualified_domain_errors(name: str, path: Path) -> list[FieldError]:
    """A name of at least three DNS labels: IsFullyQualifiedName."""
    if not name:
        return [field.required(path)]
    errors = checks.named(name, names.dns1123_subdomain(name), path)
    if not errors and len(name.split(".")) < _SEGMENTS_MIN:
        detail = "should be a domain with at least three segments separated by dots"
        errors.append(field.invalid(path, name, detail))
    return errors


def review_versions_errors(versions: Sequence[str], path: Path) -> list[FieldError]:
    """At least one version of the review must be one that this server writes."""
    if not versions:
        return [field.required(path, f"must specify one of {', '.join(_REVIEW_VERSIONS)}")]
    errors: list[FieldError] = []
    for position, version in enumerate(versions):
        if version in versions[:position]:
            errors.append(field.invalid(path[position], version, "duplicate version"))
        else:
            errors += checks.named(version, names.dns1035_label(version), path[position])
    if not errors and not set(versions) & set(_REVIEW_VERSIONS):
        detail = f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"
        errors.append(field.invalid(path, list(versions), detail))
    return errors


def client_config_errors(config: Any, path: Path) -> list[FieldError]:
    """A webhook is reached by a URL or through a Service: ValidateWebhookClientConfig."""
    url = config.url if config is not None else None
    service = config.service if config is not None else None
    if (url is None) == (service is None):
        return [field.required(path, "exactly one of url or service is required")]
    if url is not None:
        return _url_errors(url, path["url"])
    return service_errors(service, path["service"])


def _url_errors(url: str, path: Path) -> list[FieldError]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return [field.required(path, f"url must be a valid URL: {error}{form}")]
    checked = (
        (parts.scheme != "https", parts.scheme, "'https' is the only allowed URL scheme"),
        (not host, host or "", "host must be specified"),
        (parts.username is not None, parts.username, "user information is not permitted in the URL"),
        (bool(parts.fragment), parts.fragment, "fragments are not permitted in the URL"),
        (bool(parts.query), parts.query, "query parameters are not permitted in the URL"),
    )
    return [field.invalid(path, value, detail + form) for wrong, value, detail in checked if wrong]


def service_errors(service: Any, path: Path) -> list[FieldError]:
    """Every error of a reference to the Service behind a webhook."""
    errors = [
        field.required(path[n], f"service {n} is required")
        for n in ("name", "namespace")
        if not getattr(service, n)
    ]
    if service.path is not None:
        errors += _service_path_errors(service.path, path["path"])
    if service.port is not None and names.port_number(service.port):
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        errors.append(field.invalid(path["port"], service.port, detail))
    return errors


def _service_path_errors(text: str, path: Path) -> list[FieldError]:
    if text in ("", "/"):
        return []
    if not text.startswith("/"):
        return [field.invalid(path, text, "must start with a '/'")]
    if not text.isascii() or any(c in text for c in "?# "):
        return [field.invalid(path, text, "must be a valid URL path")]
    steps = text.removesuffix("/").split("/")[1:]
    errors: list[FieldError] = []
    for position, step in enumerate(steps):
        if not step:
            errors.append(field.invalid(path, text, f"segment[{position}] may not be empty"))
            continue
        messages = names.dns1123_subdomain(step)
        errors += [field.invalid(path, text, f"segment[{position}]: {message}") for message in messages]
    return errors


_COLUMNS: Final[tuple[Column, ...]] = (
    NAME,
    column(
        "Webhooks",
        lambda configuration: len(configuration.webhooks),
        type="integer",
        description="Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
)
MUTATING: Final = Kind(
    api_version=API_VERSION,
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    generation=True,
    default=default_mutating,
    validate=validate_mutating,
    name_errors=names.dns1123_subdomain,
    columns=_COLUMNS,
)
VALIDATING: Final = Kind(
    api_version=API_VERSION,
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    generation=True,
    default=default_validating,
    validate=validate_validating,
    name_errors=names.dns1123_subdomain,
    columns=_COLUMNS,
)
