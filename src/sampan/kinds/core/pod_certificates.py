"""What pods that ask for certificates, and the requests made for them, have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import TOTAL_ANNOTATIONS_MAX_BYTES

MIN_EXPIRATION_S: Final = 3600
_MAX_EXPIRATION_S: Final = 91 * 86_400
_MAX_EXPIRATION_OF_KUBERNETES_S: Final = 86_400
_SIGNER_NAME_MAX_BYTES: Final = 571


def max_expiration_s(signer_name: str) -> int:
    """How long a certificate of this signer may live at most: those of Kubernetes' own signers a day."""
    domain = signer_name.partition("/")[0]
    ours = domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    return _MAX_EXPIRATION_OF_KUBERNETES_S if ours else _MAX_EXPIRATION_S


def signer_name_errors(name: str, path: Path) -> list[FieldError]:
    """`<domain>/<path>`, both parts DNS subdomains: ValidateSignerName."""
    if not name:
        return [field.required(path)]
    domain, _, rest = name.partition("/")
    if not domain or not rest or "/" in rest:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [field.invalid(path, name, detail)]
    errors = [field.invalid(path, domain, message) for message in names.dns1123_subdomain(domain)]
    if "." not in domain:
        detail = (
            f'validating label "{domain}": should be a domain with at least two segments separated by dots'
        )
        errors.append(field.invalid(path, domain, detail))
    for label in rest.split("."):
        messages = names.dns1123_label(label.lower())
        errors += [field.invalid(path, rest, f'validating label "{label}": {m}') for m in messages]
    if len(name.encode()) > _SIGNER_NAME_MAX_BYTES:
        errors.append(field.too_long(path, _SIGNER_NAME_MAX_BYTES))
    return errors


def user_annotation_errors(annotations: Mapping[str, str], path: Path) -> list[FieldError]:
    """Keys carry a domain, in any case; all together hold at most 256 KiB."""
    errors: list[FieldError] = []
    for key in map(str.lower, annotations):
        errors += _key_errors(key, path)
    size_bytes = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size_bytes > TOTAL_ANNOTATIONS_MAX_BYTES:
        errors.append(field.too_long(path, TOTAL_ANNOTATIONS_MAX_BYTES))
    return errors


def _key_errors(key: str, path: Path) -> list[FieldError]:
    if not key:
        return [field.required(path)]
    errors = [field.invalid(path, key, message) for message in names.qualified_name(key)]
    if not errors and "/" not in key:
        errors.append(field.invalid(path, key, 'must be a domain-prefixed key (such as "acme.io/foo")'))
    return errors
