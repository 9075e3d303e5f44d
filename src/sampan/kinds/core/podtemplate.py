"""PodTemplate: a pod to be, kept for whoever wants to make it."""

from __future__ import annotations

from typing import Final

from sampan.kinds.core.cells import container_images, container_names, labels_text
from sampan.kinds.core.pod_defaults import default_pod_template
from sampan.kinds.core.pod_validation import validate_pod_template
from sampan.kinds.core.pod_warnings import template_warnings
from sampan.kinds.kind import NAME, Column, Kind
from sampan.machinery import names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_TEMPLATE: Final = Path("template")


def default(kept: api.PodTemplate) -> None:
    """Fill in the template."""
    default_pod_template(kept.template)


def validate(kept: api.PodTemplate) -> list[FieldError]:
    """Every error of the template."""
    return validate_pod_template(kept.template, _TEMPLATE)


def warnings(kept: api.PodTemplate, old: api.PodTemplate | None) -> list[str]:
    """Of the template."""
    return template_warnings(kept.template, "template", None if old is None else old.template)


KIND: Final = Kind(
    api_version="v1",
    kind="PodTemplate",
    plural="podtemplates",
    generation=True,
    default=default,
    warnings=warnings,
    validate=validate,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        Column(
            "Containers",
            lambda kept, _now: container_names(kept.template.spec.containers),
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda kept, _now: container_images(kept.template.spec.containers),
            description="Images referenced by each container in the template.",
        ),
        Column(
            "Pod Labels",
            lambda kept, _now: labels_text(kept.template.metadata.labels),
            description="The labels for the pod template.",
        ),
    ),
)
