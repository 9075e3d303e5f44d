"""What makes probes and lifecycle hooks valid."""

from __future__ import annotations

from typing import Final

from sampan.kinds.core.resources import NEGATIVE
from sampan.kinds.core.service_validation import validate_port_or_name
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_SCHEMES: Final = frozenset({"HTTP", "HTTPS"})
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_COUNTS: Final = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_MORE_THAN_ONE: Final = "may not specify more than 1 handler type"


def validate_probe(name: str, probe: api.Probe, path: Path) -> list[FieldError]:
    """`livenessProbe`, `readinessProbe` or `startupProbe`: exactly one handler, and sane numbers."""
    errors = _validate_handler(probe, None, path)
    for count in _COUNTS:
        value = getattr(probe, count) or 0
        if value < 0:
            errors.append(field.invalid(path[count], value, NEGATIVE))
    grace_s = probe.terminationGracePeriodSeconds
    if grace_s is not None:
        here = path["terminationGracePeriodSeconds"]
        if grace_s <= 0:
            errors.append(field.invalid(here, grace_s, "must be greater than 0"))
        if name == "readinessProbe":
            errors.append(field.invalid(here, grace_s, "must not be set for readinessProbes"))
    if name != "readinessProbe" and probe.successThreshold != 1:
        errors.append(field.invalid(path["successThreshold"], probe.successThreshold or 0, "must be 1"))
    return errors


def validate_lifecycle(
    lifecycle: api.Lifecycle, grace_period_s: int | None, os: str | None, path: Path
) -> list[FieldError]:
    """Hooks with exactly one handler each; a sleep must fit into the pod's grace period."""
    errors: list[FieldError] = []
    for name, hook in (("postStart", lifecycle.postStart), ("preStop", lifecycle.preStop)):
        if hook is not None:
            errors += _validate_handler(hook, grace_period_s, path[name])
    if lifecycle.stopSignal is not None and not os:
        detail = "may not be set for containers with empty `spec.os.name`"
        errors.append(field.forbidden(path["stopSignal"], detail))
    return errors


def _validate_handler(
    holder: api.Probe | api.LifecycleHandler, grace_period_s: int | None, path: Path
) -> list[FieldError]:
    given = [name for name in _HANDLERS if getattr(holder, name, None) is not None]
    if not given:
        return [field.required(path, "must specify a handler type")]
    first, here = getattr(holder, given[0]), path[given[0]]
    errors: list[FieldError] = []
    if given[0] == "exec":
        if not first.command:
            errors.append(field.required(here["command"]))
    elif given[0] == "httpGet":
        errors += _validate_http_get(first, here)
    elif given[0] == "sleep":
        if grace_period_s is not None and not 0 <= first.seconds <= grace_period_s:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_period_s})"
            errors.append(field.invalid(here, first.seconds, detail))
    else:
        errors += validate_port_or_name(first.port, here["port"])
    return errors + [field.forbidden(path[name], _MORE_THAN_ONE) for name in given[1:]]


def _validate_http_get(action: api.HTTPGetAction, path: Path) -> list[FieldError]:
    errors = [] if action.path else [field.required(path["path"])]
    errors += validate_port_or_name(action.port, path["port"])
    if action.scheme not in _SCHEMES:
        errors.append(field.not_supported(path["scheme"], action.scheme or "", _SCHEMES))
    for header in action.httpHeaders:
        messages = names.http_header_name(header.name)
        errors += [field.invalid(path["httpHeaders"], header.name, message) for message in messages]
    return errors
