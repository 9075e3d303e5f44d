"""Which names, keys and values Kubernetes takes, worded as k8s.io/apimachinery/pkg/util/validation words it.

Every check gives a list of messages, empty where the value is valid. Lengths count UTF-8 bytes, as Go does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

NameErrors = Callable[[str], list[str]]

LABEL_MAX_BYTES: Final = 63
SUBDOMAIN_MAX_BYTES: Final = 253
PORT_NAME_MAX_BYTES: Final = 15
GENERATED_SUFFIX_LENGTH: Final = 5
# A generated name is cut so that base and suffix together still make a DNS label.
GENERATED_BASE_MAX_LENGTH: Final = LABEL_MAX_BYTES - GENERATED_SUFFIX_LENGTH

_EMPTY: Final = "must be non-empty"

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_WORDS: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN: Final = _LABEL + r"(\." + _LABEL + ")*"
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_CASELESS_SUBDOMAIN_WORDS: Final = _SUBDOMAIN_WORDS.replace("a lowercase", "an").replace("lower case ", "")
_UNDERSCORE_LABEL: Final = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORE_SUBDOMAIN: Final = _UNDERSCORE_LABEL + r"(\." + _UNDERSCORE_LABEL + ")*"
_UNDERSCORE_SUBDOMAIN_WORDS: Final = _SUBDOMAIN_WORDS.replace("characters, '-'", "characters, '_', '-'")
_WILDCARD: Final = r"\*\." + _SUBDOMAIN
_WILDCARD_WORDS: Final = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must "
    "consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_DNS1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_DNS1035_WORDS: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED_WORDS: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_VALUE: Final = f"({_QUALIFIED})?"
_LABEL_VALUE_WORDS: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_C_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"
_C_IDENTIFIER_WORDS: Final = (
    "a valid C identifier must start with alphabetic character or '_', "
    "followed by a string of alphanumeric characters or '_'"
)
_CONFIG_KEY: Final = "[-._a-zA-Z0-9]+"
_CONFIG_KEY_WORDS: Final = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_HTTP_HEADER: Final = "[-A-Za-z0-9]+"
_HTTP_HEADER_WORDS: Final = "a valid HTTP header must consist of alphanumeric characters or '-'"
_PERCENT: Final = "[0-9]+%"
_PERCENT_WORDS: Final = "a valid percent string must be a numeric string followed by an ending '%'"
_ENV_VAR_WORDS: Final = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)

_is_label: Final = re.compile(_LABEL).fullmatch
_is_subdomain: Final = re.compile(_SUBDOMAIN).fullmatch
_is_underscore_subdomain: Final = re.compile(_UNDERSCORE_SUBDOMAIN).fullmatch
_is_wildcard: Final = re.compile(_WILDCARD).fullmatch
_is_dns1035: Final = re.compile(_DNS1035).fullmatch
_is_qualified: Final = re.compile(_QUALIFIED).fullmatch
_is_label_value: Final = re.compile(_LABEL_VALUE).fullmatch
_is_c_identifier: Final = re.compile(_C_IDENTIFIER).fullmatch
_is_config_key: Final = re.compile(_CONFIG_KEY).fullmatch
_is_http_header: Final = re.compile(_HTTP_HEADER).fullmatch
_is_percent: Final = re.compile(_PERCENT).fullmatch
_is_port_charset: Final = re.compile("[-a-z0-9]+").fullmatch
_has_letter: Final = re.compile("[a-z]").search


def dns1123_label(value: str) -> list[str]:
    """Namespaces, Pod host names, container names: at most 63 bytes of `[-a-z0-9]`."""
    errors = _longer_than(LABEL_MAX_BYTES, value)
    if not _is_label(value):
        if _is_subdomain(value):
            errors.append("must not contain dots")
        else:
            errors.append(regex_error(_LABEL_WORDS, _LABEL, "my-name", "123-abc"))
    return errors


def dns1123_subdomain(value: str) -> list[str]:
    """Most object names: DNS labels joined by dots, at most 253 bytes."""
    errors = _longer_than(SUBDOMAIN_MAX_BYTES, value)
    if not _is_subdomain(value):
        errors.append(regex_error(_SUBDOMAIN_WORDS, _SUBDOMAIN, "example.com"))
    return errors


def dns1123_subdomain_caseless(value: str) -> list[str]:
    """The same where letters may be upper case: drivers of devices."""
    errors = _longer_than(SUBDOMAIN_MAX_BYTES, value, "bytes")
    if not _is_subdomain(value.lower()):
        errors.append(regex_error(_CASELESS_SUBDOMAIN_WORDS, _SUBDOMAIN, "Example.com"))
    return errors


def dns1123_subdomain_with_underscore(value: str) -> list[str]:
    """DNS search paths, where a label may start with or hold underscores."""
    errors = _longer_than(SUBDOMAIN_MAX_BYTES, value)
    if not _is_underscore_subdomain(value):
        errors.append(regex_error(_UNDERSCORE_SUBDOMAIN_WORDS, _UNDERSCORE_SUBDOMAIN, "example.com"))
    return errors


def wildcard_dns1123_subdomain(value: str) -> list[str]:
    """Ingress hosts such as `*.example.com`."""
    errors = _longer_than(SUBDOMAIN_MAX_BYTES, value)
    if not _is_wildcard(value):
        errors.append(regex_error(_WILDCARD_WORDS, _WILDCARD, "*.example.com"))
    return errors


def dns1035_label(value: str) -> list[str]:
    """Service names: a DNS label that starts with a letter."""
    errors = _longer_than(LABEL_MAX_BYTES, value)
    if not _is_dns1035(value):
        errors.append(regex_error(_DNS1035_WORDS, _DNS1035, "my-name", "abc-123"))
    return errors


def qualified_name(value: str) -> list[str]:
    """Label and annotation keys, resource names, finalizers: `[subdomain/]name`."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        words = regex_error(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc")
        return [
            f"a valid label key {words} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ]
    errors: list[str] = []
    if slash:
        messages = _longer_than(SUBDOMAIN_MAX_BYTES, prefix, "bytes") if prefix else [_EMPTY]
        if prefix and not _is_subdomain(prefix):
            messages.append(regex_error(_SUBDOMAIN_WORDS, _SUBDOMAIN, "example.com"))
        errors.extend(f"prefix part {message}" for message in messages)
    messages = _longer_than(LABEL_MAX_BYTES, name, "bytes") if name else [_EMPTY]
    if not _is_qualified(name):
        messages.append(regex_error(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc"))
    errors.extend(f"name part {message}" for message in messages)
    return errors


def label_value(value: str) -> list[str]:
    """The value of a label: empty, or at most 63 bytes that begin and end with a letter or digit."""
    errors = _longer_than(LABEL_MAX_BYTES, value, "bytes")
    if not _is_label_value(value):
        errors.append(regex_error(_LABEL_VALUE_WORDS, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return errors


def path_segment_name(value: str) -> list[str]:
    """Names of RBAC objects and of what has no rule but that it stands in a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in value]


def env_var_name(value: str) -> list[str]:
    """Names of environment variables: any printable ASCII but `=`, as Kubernetes allows since 1.34."""
    errors = [] if value else [f"environment variable name {_EMPTY}"]
    if not all(" " <= char <= "~" and char != "=" for char in value):
        errors.append(_ENV_VAR_WORDS)
    return errors


def c_identifier(value: str) -> list[str]:
    """A name that every shell takes for a variable."""
    if _is_c_identifier(value):
        return []
    return [regex_error(_C_IDENTIFIER_WORDS, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def config_map_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets; they become file names, so none may climb out of a directory."""
    errors = _longer_than(SUBDOMAIN_MAX_BYTES, value)
    if not _is_config_key(value):
        errors.append(regex_error(_CONFIG_KEY_WORDS, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def port_name(value: str) -> list[str]:
    """IANA service names: at most 15 of `[-a-z0-9]` with at least one letter."""
    errors = _longer_than(PORT_NAME_MAX_BYTES, value)
    if not _is_port_charset(value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _has_letter(value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(value: int) -> list[str]:
    """Ports from 1 to 65535."""
    return in_range(value, 1, 65535)


def in_range(value: int, lowest: int, highest: int) -> list[str]:
    """Whole numbers from `lowest` to `highest`, both included."""
    if lowest <= value <= highest:
        return []
    return [f"must be between {lowest} and {highest}, inclusive"]


def percent(value: str) -> list[str]:
    """`25%`: the text form of maxSurge, maxUnavailable and the like."""
    return [] if _is_percent(value) else [regex_error(_PERCENT_WORDS, _PERCENT, "1%", "93%")]


def http_header_name(value: str) -> list[str]:
    """Header names of HTTP probes."""
    return [] if _is_http_header(value) else [regex_error(_HTTP_HEADER_WORDS, _HTTP_HEADER, "X-Header-Name")]


def generate_name_base(base: str) -> str:
    """The part of metadata.generateName that is kept before the five random characters."""
    return base[:GENERATED_BASE_MAX_LENGTH]


def mask_trailing_dash(base: str) -> str:
    """A generateName as it would look with a suffix, for checks that refuse a trailing dash."""
    return base[:-2] + "a" if len(base) > 1 and base.endswith("-") else base


def regex_error(words: str, pattern: str, *examples: str) -> str:
    """`words` with examples and the pattern, as apimachinery joins them."""
    if not examples:
        return f"{words} (regex used for validation is '{pattern}')"
    shown = "  or ".join(f"'{example}'," for example in examples)  # two spaces, as apimachinery has them
    return f"{words} (e.g. {shown} regex used for validation is '{pattern}')"


def max_length_error(limit_bytes: int, unit: str = "characters") -> str:
    """What apimachinery says of a text that is too long: of labels and qualified names in `bytes`."""
    return f"must be no more than {limit_bytes} {unit}"


def _longer_than(limit_bytes: int, value: str, unit: str = "characters") -> list[str]:
    if len(value) <= limit_bytes and (value.isascii() or len(value.encode()) <= limit_bytes):
        return []
    return [max_length_error(limit_bytes, unit)]
