"""Validation of a CustomResourceDefinition's versions, and of the outline of their schemas.

A schema must be structural: each field says its type once, outside of `allOf` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.custom import rules
from sampan.kinds.custom.ruletypes import RuleType
from sampan.kinds.custom.structural import VALIDATIONS
from sampan.kinds.groups.apiextensions import structure
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import codec

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = (
    "binary",
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
)
_SELECTABLE_MAX: Final = 8
_ONE_STORAGE: Final = "must have exactly one version marked as storage version"
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_SIMPLE_PATH: Final = re.compile(r"(\.[A-Za-z_][A-Za-z0-9_-]*)+")


def versions_errors(versions: Sequence[Any], path: Path) -> list[FieldError]:
    """Every error of spec.versions: unique names, one storage version, a schema each."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    repeated = False
    for position, version in enumerate(versions):
        messages = names.dns1035_label(version.name)
        if messages:
            errors.append(field.invalid(path[position]["name"], version.name, ",".join(messages)))
        repeated = repeated or version.name in seen
        seen.add(version.name)
        errors += _version_errors(version, path[position])
    if repeated:
        errors.append(field.invalid(path, list(versions), "must contain unique version names"))
    if sum(bool(version.storage) for version in versions) != 1:
        errors.append(field.invalid(path, list(versions), _ONE_STORAGE))
    return errors


def _version_errors(version: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if version.deprecationWarning is not None and not version.deprecated:
        detail = "can only be set for deprecated versions"
        errors.append(field.invalid(path["deprecationWarning"], version.deprecationWarning, detail))
    at = path["schema"]["openAPIV3Schema"]
    schema = version.schema.openAPIV3Schema if version.schema is not None else None
    if schema is None:
        errors.append(field.required(at, "schemas are required"))
    else:
        errors += schema_errors(codec.to_builtins(schema), at)
    errors += _subresources_errors(version.subresources, path["subresources"])
    for position, shown in enumerate(version.additionalPrinterColumns):
        errors += _column_errors(shown, path["additionalPrinterColumns"][position])
    selectable, at = version.selectableFields, path["selectableFields"]
    if len(selectable) > _SELECTABLE_MAX:
        errors.append(field.too_many(at, len(selectable), _SELECTABLE_MAX))
    shape = codec.to_builtins(schema) if schema is not None else {}
    seen: set[str] = set()
    for position, chosen in enumerate(selectable):
        errors += _selectable_errors(chosen.jsonPath, shape, at[position]["jsonPath"])
        if chosen.jsonPath in seen:
            errors.append(field.duplicate(at[position]["jsonPath"], chosen.jsonPath))
        seen.add(chosen.jsonPath)
    return errors


def _selectable_errors(json_path: str, schema: dict[str, Any], path: Path) -> list[FieldError]:
    if not json_path:
        return [field.required(path)]
    if not _SIMPLE_PATH.fullmatch(json_path):
        detail = "is an invalid path: does not refer to a valid field"
        return [field.invalid(path, json_path, detail)]
    if json_path.startswith(".metadata."):
        return [field.invalid(path, json_path, "must not point to fields in metadata")]
    found = structure.found_at(schema, json_path.split(".")[1:])
    if found is None:
        detail = "is an invalid path: does not refer to a valid field"
        return [field.invalid(path, json_path, detail)]
    if found.get("type") not in ("boolean", "integer", "string"):
        detail = (
            "must point to a field of type string, boolean or integer. Enum string fields and strings with "
            "formats are allowed"
        )
        return [field.invalid(path, json_path, detail)]
    return []


def _subresources_errors(subresources: Any, path: Path) -> list[FieldError]:
    scale = subresources.scale if subresources is not None else None
    if scale is None:
        return []
    errors: list[FieldError] = []
    for name, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value, at = getattr(scale, name), path["scale"][name]
        if not value:
            errors.append(field.required(at))
        elif not value.startswith(f"{below}."):
            detail = f"should be a json path under {below}"
            errors.append(field.invalid(at, value, detail))
    selector = scale.labelSelectorPath
    if selector and not selector.startswith((".spec.", ".status.")):
        detail = "should be a json path under either .spec or .status"
        errors.append(field.invalid(path["scale"]["labelSelectorPath"], selector, detail))
    return errors


def _column_errors(shown: Any, path: Path) -> list[FieldError]:
    errors = [] if shown.name else [field.required(path["name"])]
    if not shown.type:
        errors.append(field.required(path["type"], f"must be one of {','.join(_COLUMN_TYPES)}"))
    elif shown.type not in _COLUMN_TYPES:
        detail = f"must be one of {','.join(_COLUMN_TYPES)}"
        errors.append(field.invalid(path["type"], shown.type, detail))
    if shown.format and shown.format not in _COLUMN_FORMATS:
        detail = f"must be one of {','.join(_COLUMN_FORMATS)}"
        errors.append(field.invalid(path["format"], shown.format, detail))
    if not shown.jsonPath:
        errors.append(field.required(path["jsonPath"]))
    return errors


def cost_errors(new: Any, old: Any | None = None) -> list[FieldError]:
    """Rules that may cost too much, in the versions whose schemas are not as they were in `old`."""
    before = {} if old is None else {each.name: each.schema for each in old.spec.versions}
    errors: list[FieldError] = []
    for position, version in enumerate(new.spec.versions):
        if version.schema is None or version.schema == before.get(version.name):
            continue
        schema = version.schema.openAPIV3Schema
        if schema is not None and b'"x-kubernetes-validations"' in codec.encode(schema):
            from sampan.kinds.custom import costs  # late: few definitions have rules

            at = Path("spec")["versions"][position]["schema"]["openAPIV3Schema"]
            errors += costs.schema_errors(codec.to_builtins(schema), at)
    return errors


def schema_errors(schema: dict[str, Any], path: Path) -> list[FieldError]:
    """Every error in the outline of a version's schema (as plain JSON values)."""
    errors: list[FieldError] = []
    if schema.get("type") != "object":
        if not schema.get("type"):
            errors.append(field.required(path["type"], "must not be empty at the root"))
        else:
            errors.append(field.invalid(path["type"], schema["type"], "must be object at the root"))
    errors += structure.metadata_errors(schema, path)
    return errors + _members_errors(schema, path, root=True)


def _rules_errors(schema: dict[str, Any], path: Path, *, root: bool) -> list[FieldError]:
    """Rules that cannot be compiled, as ValidateCustomResourceDefinition reports them."""
    errors: list[FieldError] = []
    known = RuleType(schema, root=root)
    for position, entry in enumerate(schema[VALIDATIONS]):
        at, text = path[position], entry.get("rule") or ""
        if not text.strip():
            errors.append(field.required(at["rule"], "rule is not specified"))
            continue
        optional = bool(entry.get("optionalOldSelf"))
        for name in ("rule", "messageExpression"):
            if not entry.get(name):
                continue
            problem = rules.compile_error(entry[name], known, optional_old_self=optional)
            if problem:
                errors.append(field.invalid(at[name], entry[name], problem))
        if "\n" in (entry.get("message") or "").strip():
            detail = "message must not contain line breaks"
            errors.append(field.invalid(at["message"], entry["message"], detail))
        reason = entry.get("reason")
        if reason and reason not in rules.REASONS:
            errors.append(field.not_supported(at["reason"], reason, sorted(rules.REASONS)))
    return errors


def _members_errors(schema: dict[str, Any], path: Path, *, root: bool = False) -> list[FieldError]:
    errors = list(structure.node_errors(schema, path))
    if schema.get(VALIDATIONS):
        errors += _rules_errors(schema, path[VALIDATIONS], root=root)
    for name, member in schema.get("properties", {}).items():
        errors += _member_errors(member, path["properties"].key(name), "object fields")
    items = schema.get("items")
    if isinstance(items, list):
        detail = "items must be a schema object and not an array"
        errors.append(field.forbidden(path["items"], detail))
    elif isinstance(items, dict):
        errors += _member_errors(items, path["items"], "array items")
    elif schema.get("type") == "array":
        errors.append(field.required(path["items"], "must be specified"))
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        errors += _member_errors(extra, path["additionalProperties"], "map values")
    if schema.get("properties") and isinstance(extra, (dict, bool)) and extra is not False:
        detail = "additionalProperties and properties are mutual exclusive"
        errors.append(field.forbidden(path["additionalProperties"], detail))
    return errors


def _member_errors(schema: dict[str, Any], path: Path, what: str) -> list[FieldError]:
    errors: list[FieldError] = []
    type = schema.get("type", "")
    if schema.get(_INT_OR_STRING):
        if type:
            detail = f"must be empty if {_INT_OR_STRING} is true"
            errors.append(field.invalid(path["type"], type, detail))
    elif not type:
        if not schema.get(_PRESERVE):
            errors.append(field.required(path["type"], f"must not be empty for specified {what}"))
    elif type not in _TYPES:
        errors.append(field.not_supported(path["type"], type, _TYPES))
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(field.forbidden(path["uniqueItems"], detail))
    return errors + _members_errors(schema, path)
