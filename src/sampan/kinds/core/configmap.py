"""ConfigMap: settings for pods."""

from __future__ import annotations

from typing import Final

from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

MAX_BYTES: Final = 1024 * 1024
IMMUTABLE: Final = "field is immutable when `immutable` is set"


def validate_config_map(config: api.ConfigMap) -> list[FieldError]:
    """Keys are file names, none stands in both maps, and all values together fit into 1 MiB."""
    errors: list[FieldError] = []
    size_bytes = 0
    for key, text in config.data.items():
        messages = names.config_map_key(key)
        if key in config.binaryData:
            messages.append("duplicate of key present in binaryData")
        errors += [field.invalid(Path("data").key(key), key, message) for message in messages]
        size_bytes += len(text) if text.isascii() else len(text.encode())
    for key, value in config.binaryData.items():
        messages = names.config_map_key(key)
        errors += [field.invalid(Path("binaryData").key(key), key, message) for message in messages]
        size_bytes += len(value)
    if size_bytes > MAX_BYTES:
        errors.append(field.too_long(Path(""), MAX_BYTES))
    return errors


def validate_config_map_update(config: api.ConfigMap, old: api.ConfigMap) -> list[FieldError]:
    """Nothing changes once `immutable` is set."""
    if not old.immutable:
        return []
    changed = {
        "immutable": not config.immutable,
        "data": config.data != old.data,
        "binaryData": config.binaryData != old.binaryData,
    }
    return [field.forbidden(Path(name), IMMUTABLE) for name, differs in changed.items() if differs]


KIND: Final = Kind(
    api_version="v1",
    kind="ConfigMap",
    plural="configmaps",
    change_first=True,
    short=("cm",),
    validate=validate_config_map,
    validate_update=validate_config_map_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        Column(
            "Data",
            lambda config, _now: len(config.data) + len(config.binaryData),
            description="How many keys there are.",
        ),
        AGE,
    ),
)
