"""ReplicationController: keeps a number of equal pods running; the predecessor of ReplicaSet."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.cells import CONTAINERS_OF_TEMPLATE, IMAGES_OF_TEMPLATE, labels_text
from sampan.kinds.core.pod_defaults import default_pod_template
from sampan.kinds.core.pod_validation import validate_pod_template
from sampan.kinds.core.pod_warnings import workload_warnings
from sampan.kinds.kind import AGE, NAME, Column, Kind, Scale
from sampan.machinery import field, names, selectors
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

NEGATIVE: Final = "must be greater than or equal to 0"

_SPEC: Final = Path("spec")
_STATUS: Final = Path("status")
_COUNTS: Final = (
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
)


def default(controller: api.ReplicationController) -> None:
    """One replica; selector and labels are those of the template."""
    spec = controller.spec
    labels = spec.template.metadata.labels
    if labels:
        spec.selector = spec.selector or dict(labels)
        controller.metadata.labels = controller.metadata.labels or dict(labels)
    if spec.replicas is None:
        spec.replicas = 1
    default_pod_template(spec.template)


def prepare_create(controller: api.ReplicationController) -> None:
    """The controller counts first."""
    controller.status = api.ReplicationControllerStatus()


def validate(controller: api.ReplicationController) -> list[FieldError]:
    """Counts, and a template whose pods the selector finds."""
    spec = controller.spec
    errors: list[FieldError] = []
    if (spec.minReadySeconds or 0) < 0:
        errors.append(field.invalid(_SPEC["minReadySeconds"], spec.minReadySeconds, NEGATIVE))
    if not spec.selector:
        errors.append(field.required(_SPEC["selector"]))
    if (spec.replicas or 0) < 0:
        errors.append(field.invalid(_SPEC["replicas"], spec.replicas, NEGATIVE))
    path = _SPEC["template"]
    labels = spec.template.metadata.labels
    if not selectors.from_labels(spec.selector).matches(labels):
        detail = "`selector` does not match template `labels`"
        errors.append(field.invalid(path["metadata"]["labels"], labels or None, detail))
    errors += validate_pod_template(spec.template, path)
    pod = spec.template.spec
    if pod.restartPolicy != "Always":
        errors.append(field.not_supported(path["spec"]["restartPolicy"], pod.restartPolicy, ("Always",)))
    if pod.activeDeadlineSeconds is not None:
        detail = "activeDeadlineSeconds in ReplicationController is not Supported"
        errors.append(field.forbidden(path["spec"]["activeDeadlineSeconds"], detail))
    return errors


def validate_status_update(
    controller: api.ReplicationController, _old: api.ReplicationController
) -> list[FieldError]:
    """No count is negative or above the whole."""
    status = controller.status
    counts: dict[str, int] = {name: getattr(status, name) or 0 for name in _COUNTS}
    errors = [field.invalid(_STATUS[name], count, NEGATIVE) for name, count in counts.items() if count < 0]
    for name in _COUNTS[1:4]:
        if counts[name] > counts["replicas"]:
            detail = "cannot be greater than status.replicas"
            errors.append(field.invalid(_STATUS[name], counts[name], detail))
    if counts["availableReplicas"] > counts["readyReplicas"]:
        detail = "cannot be greater than readyReplicas"
        errors.append(field.invalid(_STATUS["availableReplicas"], counts["availableReplicas"], detail))
    return errors


def _set_replicas(controller: Any, count: int) -> None:
    controller.spec.replicas = count


KIND: Final = Kind(
    api_version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    short=("rc",),
    categories=("all",),
    status=True,
    generation=True,
    scale=Scale(
        get_replicas=lambda controller: controller.spec.replicas or 0,
        set_replicas=_set_replicas,
        status_replicas=lambda controller: controller.status.replicas,
        selector=lambda controller: str(selectors.from_labels(controller.spec.selector)),
    ),
    default=default,
    warnings=workload_warnings,
    validate=validate,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    name_errors=names.dns1123_subdomain,
    field_selectors={"status.replicas": lambda controller: str(controller.status.replicas)},
    columns=(
        NAME,
        Column(
            "Desired",
            lambda rc, _now: rc.spec.replicas or 0,
            type="integer",
            description="How many pods are wanted.",
        ),
        Column(
            "Current", lambda rc, _now: rc.status.replicas, type="integer", description="How many there are."
        ),
        Column(
            "Ready",
            lambda rc, _now: rc.status.readyReplicas or 0,
            type="integer",
            description="How many are ready.",
        ),
        AGE,
        CONTAINERS_OF_TEMPLATE,
        IMAGES_OF_TEMPLATE,
        Column(
            "Selector",
            lambda rc, _now: labels_text(rc.spec.selector),
            description="The labels of the pods.",
            priority=1,
        ),
    ),
)
