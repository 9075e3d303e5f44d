"""ControllerRevision: a snapshot of a StatefulSet's or DaemonSet's template."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.cells import NONE
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path


def default(obj: Any) -> None:
    """A number that Go writes even where it is zero."""
    obj.revision = obj.revision or 0


def validate(obj: Any) -> list[FieldError]:
    """The revision is no less than zero and holds something."""
    path, errors = Path("data"), []
    if obj.data is None:
        errors.append(field.required(path, "data is mandatory"))
    elif not isinstance(obj.data, dict):
        errors.append(field.required(path, "data must be a valid JSON object"))
    return errors + checks.non_negative(obj.revision, Path("revision"))


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """What was recorded stays."""
    return checks.immutable(new.data, old.data, Path("data"))


def _controller(obj: Any) -> str:
    owner = next((o for o in obj.metadata.ownerReferences if o.controller), None)
    if owner is None:
        return NONE
    group = owner.apiVersion.rpartition("/")[0]
    kind = f"{owner.kind}.{group}" if group else owner.kind
    return f"{kind.lower()}/{owner.name}"


KIND: Final = Kind(
    api_version="apps/v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    told_alone="change",
    default=default,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Controller", _controller, description="Controller of the object"),
        column("Revision", lambda revision: revision.revision),
        AGE,
    ),
)
