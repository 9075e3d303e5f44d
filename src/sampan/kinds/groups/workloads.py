"""What kinds with a pod template share: the template's place among defaults, checks and updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.kinds.core import known_specs
from sampan.kinds.core.pod_defaults import default_pod_template
from sampan.kinds.core.pod_validation import validate_pod_template
from sampan.kinds.groups import checks
from sampan.machinery import field, meta, selectors
from sampan.machinery.field import FieldError, Path
from sampan.machinery.selectors import SelectorError

SELECTOR_MISMATCH = "`selector` does not match template `labels`"


def strategy_shown(strategy: Any, *fields: str) -> dict[str, Any]:
    """A strategy of updates as messages show it; `fields` are those of its rolling update."""
    rolling = strategy.rollingUpdate
    return {
        "Type": strategy.type or "",
        "RollingUpdate": None
        if rolling is None
        else {name[0].upper() + name[1:]: getattr(rolling, name) for name in fields},
    }


def selector_errors(selector: Any, path: Path, kind: str) -> list[FieldError]:
    """A selector that must be there and select something."""
    if selector is None:
        return [field.required(path)]
    errors = meta.validate_label_selector(selector, path)
    if not selector.matchLabels and not selector.matchExpressions:
        shown = meta.selector_shown(selector)
        errors.append(field.invalid(path, shown, f"empty selector is invalid for {kind}"))
    return errors


def selects(selector: Any, labels: Mapping[str, str]) -> bool | None:
    """Whether the selector selects `labels`; None where it cannot be understood."""
    try:
        return selectors.from_label_selector(selector).matches(labels)
    except SelectorError:
        return None


def mismatch_errors(selector: Any, template: Any, path: Path) -> list[FieldError]:
    """The template must carry the labels that the selector asks for; `path` is the template's."""
    if selector is not None and selects(selector, template.metadata.labels) is not False:
        return []
    labels = path["metadata"]["labels"]
    return [field.invalid(labels, template.metadata.labels or None, SELECTOR_MISMATCH)]


def running_forever_errors(template: Any, path: Path, kind: str) -> list[FieldError]:
    """Pods of a set that keeps them running restart always and have no deadline."""
    errors = checks.one_of(template.spec.restartPolicy, ("Always",), path["spec"]["restartPolicy"])
    if template.spec.activeDeadlineSeconds is not None:
        detail = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(field.forbidden(path["spec"]["activeDeadlineSeconds"], detail))
    return errors


def default_template(template: Any) -> None:
    """Fill a pod template as kube-apiserver does."""
    default_pod_template(template)


def leave_out_zeros(spec: Any, *names: str) -> None:
    """Take zero values of these fields for absent, as Go does.

    Its writers may send either, and which of them it was is no change.
    """
    for name in names:
        if not getattr(spec, name):
            setattr(spec, name, None)


def template_errors(template: Any, path: Path) -> list[FieldError]:
    """Every error of a pod template."""
    return validate_pod_template(template, path)


def replica_template_errors(spec: Any, path: Path) -> list[FieldError]:
    """The template of a ReplicaSet or Deployment: ValidatePodTemplateSpecForReplicaSet."""
    errors: list[FieldError] = []
    selector = spec.selector
    if selector is not None and selects(selector, {}) is None:
        shown = meta.selector_shown(selector)
        return [field.invalid(checks.SPEC["selector"], shown, "invalid label selector")]
    # No selector selects nothing, an empty one everything.
    if selector is None or selector.matchLabels or selector.matchExpressions:
        errors += mismatch_errors(selector, spec.template, path)
    errors += template_errors(spec.template, path)
    return errors + running_forever_errors(spec.template, path, "ReplicaSet")


def shape(spec: Any) -> bytes | None:
    """What the validity of a workload's spec depends on, but for that of its replicas.

    None where it has to be looked at each time: a node, which a shape leaves out, is looked at by itself.
    """
    template = spec.template.spec
    if template.nodeName:
        return None
    replicas, spec.replicas = spec.replicas, None
    try:
        return known_specs.shape(template, spec)
    finally:
        spec.replicas = replicas


def collision_errors(new: Any, old: Any) -> list[FieldError]:
    """status.collisionCount only grows: it salts names that were taken."""
    if old.collisionCount is None:
        return []
    path = checks.STATUS["collisionCount"]
    if new.collisionCount is None or new.collisionCount < old.collisionCount:
        return [field.invalid(path, new.collisionCount or 0, "cannot be decremented")]
    return []


def replicas(obj: Any) -> int:
    """spec.replicas, 1 where it is absent."""
    count = obj.spec.replicas
    return 1 if count is None else int(count)


def set_replicas(obj: Any, count: int) -> None:
    """Write spec.replicas."""
    obj.spec.replicas = count


def status_replicas(obj: Any) -> int:
    """status.replicas."""
    return obj.status.replicas or 0


def scale_selector(obj: Any) -> str:
    """The selector as the scale subresource's status writes it."""
    return str(selectors.from_label_selector(obj.spec.selector))
