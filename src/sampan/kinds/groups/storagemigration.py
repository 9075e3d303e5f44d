"""The kinds of storagemigration.k8s.io/v1: StorageVersionMigration."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError
from sampan.schema import api

_STATES: Final = frozenset({"Running", "Failed", "Succeeded"})


def validate(obj: Any) -> list[FieldError]:
    """A migration is of some resource."""
    resource, path = obj.spec.resource or api.GroupResource(), SPEC["resource"]
    errors: list[FieldError] = []
    if not resource.resource:
        errors.append(field.required(path["resource"], "resource is required to be set"))
    elif messages := names.dns1035_label(resource.resource):
        errors.append(field.invalid(path["resource"], resource.resource, ",".join(messages)))
    if resource.group and (messages := names.dns1123_subdomain(resource.group)):
        errors.append(field.invalid(path["group"], resource.group, ",".join(messages)))
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """A migration is of one resource for life."""
    return checks.immutable_printed(new.spec, old.spec, SPEC)


def _resource(obj: Any) -> str:
    resource = obj.spec.resource
    return "" if resource is None else f"{resource.resource}.{resource.group}"


def _state(obj: Any) -> str:
    held = [c.type for c in obj.status.conditions if c.status == "True" and c.type in _STATES]
    return held[-1] if held else "Unknown"


STORAGE_VERSION_MIGRATION: Final = Kind(
    api_version="storagemigration.k8s.io/v1",
    kind="StorageVersionMigration",
    plural="storageversionmigrations",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    validate=validate,
    validate_update=validate_update,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        column("Name", lambda migration: migration.metadata.name, description=NAME.description),
        column("Resource", _resource, description="The group and resource that is migrated."),
        column("Status", _state, description="How far the migration has come."),
    ),
)

KINDS: Final[tuple[Kind, ...]] = (STORAGE_VERSION_MIGRATION,)
