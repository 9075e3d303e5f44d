from __future__ import annotations

from collections.abc import Callable

import pytest

from sampan.machinery import names

DNS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (names.dns1123_label, "a-1"),
        (names.dns1123_label, "a" * 63),
        (names.dns1123_subdomain, "a.b-c.1"),
        (names.dns1123_subdomain_with_underscore, "_tcp.example.com"),
        (names.wildcard_dns1123_subdomain, "*.example.com"),
        (names.dns1035_label, "a1"),
        (names.qualified_name, "example.com/My_Name.1"),
        (names.qualified_name, "x"),
        (names.label_value, ""),
        (names.label_value, "A_b.c-1"),
        (names.path_segment_name, "system:node:a"),
        (names.env_var_name, "weird name-1.x"),
        (names.c_identifier, "_a1"),
        (names.config_map_key, ".data"),
        (names.port_name, "http-80"),
        (names.percent, "25%"),
        (names.http_header_name, "X-Real-IP"),
    ],
)
def test_valid_names_have_no_errors(check: Callable[[str], list[str]], good: str) -> None:
    assert check(good) == []


@pytest.mark.parametrize(
    ("check", "bad", "messages"),
    [
        (names.dns1123_label, "A", [DNS_LABEL]),
        (names.dns1123_label, "a.b", ["must not contain dots"]),
        (names.dns1123_label, "a" * 64, ["must be no more than 63 characters"]),
        (names.dns1123_label, "a\n", [DNS_LABEL]),
        (
            names.dns1035_label,
            "1a",
            [
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
                "alphabetic character, and end with an alphanumeric character "
                "(e.g. 'my-name',  or 'abc-123', "
                "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
            ],
        ),
        (names.path_segment_name, "..", ["may not be '..'"]),
        (names.path_segment_name, "a/b%", ["may not contain '/'", "may not contain '%'"]),
        (names.config_map_key, "..", ["must not be '..'"]),
        (names.config_map_key, "..a", ["must not start with '..'"]),
        (names.env_var_name, "", ["environment variable name must be non-empty"]),
        (
            names.env_var_name,
            "a=b",
            [
                "a valid environment variable name must consist only of printable ASCII characters "
                "other than '='"
            ],
        ),
        (
            names.port_name,
            "-a--B-",
            [
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "must not contain consecutive hyphens",
                "must not begin or end with a hyphen",
            ],
        ),
        (names.port_name, "80", ["must contain at least one letter (a-z)"]),
        (names.port_name, "a" * 16, ["must be no more than 15 characters"]),
    ],
)
def test_messages_are_those_of_kubernetes(
    check: Callable[[str], list[str]], bad: str, messages: list[str]
) -> None:
    assert check(bad) == messages


def test_a_qualified_name_tells_which_part_is_wrong() -> None:
    assert names.qualified_name("/")[:2] == ["prefix part must be non-empty", "name part must be non-empty"]
    assert names.qualified_name("a/b/c")[0].startswith("a valid label key must consist of alphanumeric")
    assert names.qualified_name("UPPER/x")[0].startswith("prefix part a lowercase RFC 1123 subdomain")
    assert names.qualified_name("a/" + "x" * 64) == ["name part must be no more than 63 bytes"]


def test_ports_and_ranges() -> None:
    assert names.port_number(65535) == []
    assert names.port_number(0) == ["must be between 1 and 65535, inclusive"]


def test_a_generated_name_fits_a_label() -> None:
    base = names.generate_name_base("x" * 100)
    assert len(base) + names.GENERATED_SUFFIX_LENGTH == names.LABEL_MAX_BYTES
    assert names.dns1123_label(names.mask_trailing_dash("web-")) == []
