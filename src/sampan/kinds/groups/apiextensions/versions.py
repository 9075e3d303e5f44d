"""Validation of a CustomResourceDefinition's versions, and of the outline of their schemas.

A schema must be structural: each field says its type once, outside of `allOf` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sampan.kinds.custom import rules
from sampan.kinds.custom.ruletypes import RuleType
from sampan.kinds.custom.structural import VALIDATIONS
from sampan.kinds.groups.apiextensions import root as roots
from sampan.kinds.groups.apiextensions import structure
from sampan.kinds.groups.checks import SPEC
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import codec

# The path of what all versions have alike.
_WHOLE: Final = SPEC
_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = (
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
_WARNING_MOST: Final = 256
_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']*)'\]")
_FIELD_PATH: Final = re.compile(f"(?:{_STEP.pattern})+")
_NO_SIMPLE_PATH: Final = "must be a simple json path starting with ."
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
        errors += _warning_errors(version, path[position]["deprecationWarning"])
        for name, check in _PARTS.items():
            if not _is_shared(versions, name):
                errors += check(version, path[position])
    if repeated:
        errors.append(field.invalid(path, list(versions), "must contain unique version names"))
    if sum(bool(version.storage) for version in versions) != 1:
        errors.append(field.invalid(path, list(versions) or None, _ONE_STORAGE))
    if versions and versions[0].name and (messages := names.dns1035_label(versions[0].name)):
        errors.append(field.invalid(SPEC["version"], versions[0].name, ",".join(messages)))
    return errors


def shared_errors(versions: Sequence[Any]) -> list[FieldError]:
    """Every error of what all versions have alike: it is told as of the whole spec, of which it once was."""
    if not versions:
        return []
    shared = (check for name, check in _PARTS.items() if _is_shared(versions, name))
    return [error for check in shared for error in check(versions[0], _WHOLE)]


def _is_shared(versions: Sequence[Any], name: str) -> bool:
    first = getattr(versions[0], name)
    if name == "schema" and (first is None or first.openAPIV3Schema is None):
        return False  # each version is told that it misses its own
    return all(getattr(version, name) == first for version in versions[1:])


def _warning_errors(version: Any, path: Path) -> list[FieldError]:
    text = version.deprecationWarning
    if text is None:
        return []
    errors: list[FieldError] = []
    if not version.deprecated:
        errors.append(field.invalid(path, text, "can only be set for deprecated versions"))
    elif not text:
        errors.append(field.invalid(path, text, "must not be an empty string"))
    if len(text.encode()) > _WARNING_MOST:
        errors.append(field.invalid(path, text, f"must be <= {_WARNING_MOST} characters long"))
    return errors


def schema_path(versions: Sequence[Any], position: int) -> Path:
    """Where errors in the schema of a version are told."""
    if _is_shared(versions, "schema"):
        return SPEC["validation"]["openAPIV3Schema"]
    return SPEC["versions"][position]["schema"]["openAPIV3Schema"]


def _schema_errors(version: Any, path: Path) -> list[FieldError]:
    at = (SPEC["validation"] if path is _WHOLE else path["schema"])["openAPIV3Schema"]
    schema = version.schema.openAPIV3Schema if version.schema is not None else None
    if schema is None:
        return [field.required(at)]
    plain = codec.to_builtins(schema)
    status = version.subresources is not None and version.subresources.status is not None
    errors = roots.root_errors(plain, at) if status else []
    return errors + schema_errors(plain, at)


def _columns_errors(version: Any, path: Path) -> list[FieldError]:
    at = path["additionalPrinterColumns"]
    columns = enumerate(version.additionalPrinterColumns)
    return [error for position, shown in columns for error in _column_errors(shown, at[position])]


def _selectables_errors(version: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    schema = version.schema.openAPIV3Schema if version.schema is not None else None
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
            "formats are allowed."
        )
        return [field.invalid(path, json_path, detail)]
    return []


def _subresources_errors(version: Any, path: Path) -> list[FieldError]:
    path, subresources = path["subresources"], version.subresources
    scale = subresources.scale if subresources is not None else None
    if scale is None:
        return []
    errors: list[FieldError] = []
    for name, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value, at = getattr(scale, name), path["scale"][name]
        if not value:
            errors.append(field.required(at))
        elif not value.startswith("."):
            errors.append(field.invalid(at, value, _NO_SIMPLE_PATH))
        elif not value.startswith(f"{below}."):
            detail = f"should be a json path under {below}"
            errors.append(field.invalid(at, value, detail))
    selector = scale.labelSelectorPath
    if selector and not selector.startswith("."):
        errors.append(field.invalid(path["scale"]["labelSelectorPath"], selector, _NO_SIMPLE_PATH))
    elif selector and not selector.startswith((".spec.", ".status.")):
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
        errors.append(field.required(path["JSONPath"]))
    elif not shown.jsonPath.startswith("."):
        errors.append(field.invalid(path["JSONPath"], shown.jsonPath, _NO_SIMPLE_PATH))
    return errors


# What a version has for itself, unless all have it alike.
_PARTS: Final[Mapping[str, Callable[[Any, Path], list[FieldError]]]] = {
    "schema": _schema_errors,
    "subresources": _subresources_errors,
    "additionalPrinterColumns": _columns_errors,
    "selectableFields": _selectables_errors,
}


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

            at = schema_path(new.spec.versions, position)
            errors += costs.schema_errors(codec.to_builtins(schema), at)
    return errors


def schema_errors(schema: dict[str, Any], path: Path) -> list[FieldError]:
    """Every error in the outline of a version's schema (as plain JSON values)."""
    errors: list[FieldError] = []
    if structure.names_meta_schema(schema):
        errors.append(field.invalid(path, "", "OpenAPIV3Schema 'schema' is not supported"))
    type = schema.get("type")
    if not type:
        if not schema.get(_PRESERVE):
            errors.append(field.required(path["type"], "must not be empty at the root"))
    elif type != "object":
        errors.append(field.invalid(path["type"], type, "must be object at the root"))
        if type not in _TYPES:
            errors.append(field.not_supported(path["type"], type, _TYPES))
    if schema.get("nullable"):
        errors.append(field.forbidden(path["nullable"], "nullable cannot be true at the root"))
    errors += structure.meta_types_errors(schema, path)
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
        errors += _field_path_errors(entry.get("fieldPath") or "", schema, at["fieldPath"])
        optional = bool(entry.get("optionalOldSelf"))
        for name in ("rule", "messageExpression"):
            if not entry.get(name):
                continue
            problem = rules.compile_error(entry[name], known, optional_old_self=optional)
            if problem:
                errors.append(field.invalid(at[name], roots.rule_shown(entry), problem))
        if (given := entry.get("optionalOldSelf")) is not None and not rules.names_old_self(text):
            detail = "may not be set if oldSelf is not used in rule"
            errors.append(field.invalid(at["optionalOldSelf"], given, detail))
        if "\n" in (entry.get("message") or "").strip():
            detail = "message must not contain line breaks"
            errors.append(field.invalid(at["message"], entry["message"], detail))
        reason = entry.get("reason")
        if reason is not None and reason not in rules.REASONS:
            errors.append(field.not_supported(at["reason"], reason, sorted(rules.REASONS)))
    return errors


def _field_path_errors(text: str, schema: dict[str, Any], path: Path) -> list[FieldError]:
    """A rule's fieldPath leads to a field of the schema, if there is one."""
    if not text:
        return []
    errors: list[FieldError] = []
    if not text.strip():
        errors.append(field.invalid(path, text, "must be non-empty if specified"))
    if "\n" in text:
        errors.append(field.invalid(path, text, "must not contain line breaks"))
    steps = [name or quoted for name, quoted in _STEP.findall(text)]
    if not _FIELD_PATH.fullmatch(text) or structure.found_at(schema, steps) is None:
        errors.append(field.invalid(path, text, "must be a valid path"))
    return errors


def _members_errors(schema: dict[str, Any], path: Path, *, root: bool = False) -> list[FieldError]:
    errors = list(structure.node_errors(schema, path))
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(field.forbidden(path["uniqueItems"], detail))
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
        errors += _member_errors(extra, path["additionalProperties"], "object fields")
    if root and extra is not None:
        errors.append(field.forbidden(path["additionalProperties"], "must not be used at the root"))
    if schema.get("properties") and isinstance(extra, (dict, bool)) and extra is not False:
        detail = "additionalProperties and properties are mutual exclusive"
        errors.append(field.forbidden(path["additionalProperties"], detail))
    return errors


def _member_errors(schema: dict[str, Any], path: Path, what: str) -> list[FieldError]:
    errors: list[FieldError] = []
    type = schema.get("type", "")
    if not type:
        if not schema.get(_PRESERVE) and not schema.get(_INT_OR_STRING):
            errors.append(field.required(path["type"], f"must not be empty for specified {what}"))
    elif type not in _TYPES:
        errors.append(field.not_supported(path["type"], type, _TYPES))
    return errors + _members_errors(schema, path)
