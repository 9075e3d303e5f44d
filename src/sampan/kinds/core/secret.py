"""Secret: what pods must know and others may not."""

from __future__ import annotations

import json
from typing import Final

from sampan.kinds.core.configmap import IMMUTABLE, MAX_BYTES
from sampan.kinds.core.warnings import secret_warnings
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

OPAQUE: Final = "Opaque"
SERVICE_ACCOUNT_TOKEN: Final = "kubernetes.io/service-account-token"
SERVICE_ACCOUNT_NAME: Final = "kubernetes.io/service-account.name"
SERVICE_ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"
# Labels of such Secrets: days in UTC.
LAST_USED: Final = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE: Final = "kubernetes.io/legacy-token-invalid-since"
# Who issues the tokens that are kept in Secrets; its claims begin with "kubernetes.io/serviceaccount/".
LEGACY_ISSUER: Final = "kubernetes/serviceaccount"
LEGACY_CLAIMS: Final = "kubernetes.io/serviceaccount/"

_DATA: Final = Path("data")
_REDACTED: Final = "<secret contents redacted>"
# The keys that secrets of a type must hold.
_REQUIRED_KEYS: Final = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON_KEYS: Final = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}


def default_secret(secret: api.Secret) -> None:
    """`stringData` is only a way to write `data`."""
    secret.type = secret.type or OPAQUE
    if secret.stringData:
        for key, text in secret.stringData.items():
            secret.data[key] = text.encode()
        secret.stringData = {}


def validate_secret(secret: api.Secret) -> list[FieldError]:
    """Keys, the total size, and what the type asks for."""
    errors: list[FieldError] = []
    size_bytes = 0
    for key, value in secret.data.items():
        messages = names.config_map_key(key)
        errors += [field.invalid(_DATA.key(key), key, message) for message in messages]
        size_bytes += len(value)
    if size_bytes > MAX_BYTES:
        errors.append(field.too_long(_DATA, MAX_BYTES))
    if secret.type == SERVICE_ACCOUNT_TOKEN:
        if not secret.metadata.annotations.get(SERVICE_ACCOUNT_NAME):
            errors.append(field.required(Path("metadata.annotations").key(SERVICE_ACCOUNT_NAME)))
    elif secret.type != OPAQUE:
        errors += _validate_typed_data(secret)
    return errors


def validate_secret_update(secret: api.Secret, old: api.Secret) -> list[FieldError]:
    """The type never changes; nothing does once `immutable` is set."""
    errors: list[FieldError] = []
    if secret.type != old.type:
        errors.append(field.invalid(Path("type"), secret.type, "field is immutable"))
    if old.immutable and not secret.immutable:
        errors.append(field.forbidden(Path("immutable"), IMMUTABLE))
    if old.immutable and secret.data != old.data:
        errors.append(field.forbidden(_DATA, IMMUTABLE))
    return errors


def _validate_typed_data(secret: api.Secret) -> list[FieldError]:
    kind, data = secret.type or "", secret.data
    if kind == "kubernetes.io/basic-auth":
        pair = ("username", "password")
        missing: tuple[str, ...] = () if any(key in data for key in pair) else pair
    elif kind == "kubernetes.io/ssh-auth":
        missing = () if data.get("ssh-privatekey") else ("ssh-privatekey",)
    else:
        missing = tuple(key for key in _REQUIRED_KEYS.get(kind, ()) if key not in data)
    if missing:
        return [field.required(_DATA.key(key)) for key in missing]
    key = _JSON_KEYS.get(kind)
    problem = _json_problem(data[key]) if key else ""
    return [field.invalid(_DATA.key(key), _REDACTED, problem)] if key and problem else []


def _json_problem(content: bytes) -> str:
    try:
        decoded = json.loads(content)
    except ValueError as error:
        return str(error) if content else "unexpected end of JSON input"
    return "" if decoded is None or isinstance(decoded, dict) else "the content must be a JSON object"


KIND: Final = Kind(
    api_version="v1",
    kind="Secret",
    plural="secrets",
    default=default_secret,
    warnings=secret_warnings,
    validate=validate_secret,
    validate_update=validate_secret_update,
    name_errors=names.dns1123_subdomain,
    field_selectors={"type": lambda secret: secret.type or ""},
    columns=(
        NAME,
        Column("Type", lambda secret, _now: secret.type or "", description="What the secret is for."),
        Column(
            "Data",
            lambda secret, _now: len(secret.data),
            description="How many keys there are.",
        ),
        AGE,
    ),
)
