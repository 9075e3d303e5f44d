"""The AuthenticationConfiguration: which issuers' tokens are honoured, and how claims become users. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.apiserver.core.users import AUTHENTICATED, User
from sampan.machinery import cel

API_VERSIONS: Final = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")


class Refused(Exception):
    """A token whose claims do not make a user. The text is for the log."""


class Source(msgspec.Struct, frozen=True):
    """Where a value comes from: a claim with a prefix, or an expression. Neither: there is none."""

    claim: str = ""
    prefix: str = ""
    expression: str = ""

    def value(self, claims: Mapping[str, Any]) -> Any:
        """The value without the prefix. Raises Refused where the expression has none."""
        return evaluated(self.expression, "claims", claims) if self.expression else claims.get(self.claim)


class Rule(msgspec.Struct, frozen=True):
    """What must hold: a claim of that value, or an expression."""

    claim: str = ""
    required: str = ""
    expression: str = ""
    message: str = ""


class Issuer(msgspec.Struct, frozen=True):
    """An issuer whose tokens are honoured."""

    url: str
    discovery_url: str
    # PEM certificates; "" for the system's.
    authority: str
    audiences: tuple[str, ...]
    username: Source
    groups: Source
    uid: Source
    extra: tuple[tuple[str, str], ...]
    claim_rules: tuple[Rule, ...]
    user_rules: tuple[Rule, ...]


def evaluated(expression: str, name: str, value: Any) -> Any:
    """What the expression says of the variable. Raises Refused."""
    try:
        return cel.to_json(cel.compile(expression, {name: "dyn"}).evaluate({name: value}))
    except cel.CelError as problem:
        raise Refused(f"expression {expression!r} has no value: {problem}") from None


def user_of(issuer: Issuer, claims: Mapping[str, Any]) -> User:
    """The user that verified claims stand for. Raises Refused."""
    for rule in issuer.claim_rules:
        if rule.expression:
            if evaluated(rule.expression, "claims", claims) is not True:
                raise Refused(rule.message or f"validation expression {rule.expression!r} failed")
        elif claims.get(rule.claim) != rule.required:
            raise Refused(f'oidc: required claim {rule.claim} value does not match "{rule.required}"')
    name = issuer.username.value(claims)
    if not isinstance(name, str) or not name:
        raise Refused("oidc: the token names no user")
    if issuer.username.claim == "email" and claims.get("email_verified", True) is not True:
        raise Refused("oidc: email not verified")
    groups = tuple(issuer.groups.prefix + group for group in _texts(issuer.groups.value(claims), "groups"))
    uid = issuer.uid.value(claims) or ""
    if not isinstance(uid, str):
        raise Refused("oidc: the uid is not a string")
    extra = {
        key: found
        for key, expression in issuer.extra
        if (found := _texts(evaluated(expression, "claims", claims), f"extra {key}"))
    }
    name = issuer.username.prefix + name
    told = {
        "username": name,
        "groups": list(groups),
        "uid": uid,
        "extra": {k: list(v) for k, v in extra.items()},
    }
    for rule in issuer.user_rules:
        if evaluated(rule.expression, "user", told) is not True:
            raise Refused(rule.message or f"validation expression {rule.expression!r} failed")
    return User(name, (*groups, AUTHENTICATED), uid, extra)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """One text or several; none for null and for the empty text."""
    if value is None or value == "":
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Refused(f"oidc: {what} must be a string or a list of strings")
    return tuple(text for text in found if text)


def parse(document: Any) -> tuple[Issuer, ...]:
    """The issuers of an AuthenticationConfiguration. Raises ValueError that names the field."""
    if not isinstance(document, dict) or document.get("kind") != "AuthenticationConfiguration":
        raise ValueError("it must be an AuthenticationConfiguration of " + API_VERSIONS[0])
    if document.get("apiVersion") not in API_VERSIONS:
        raise ValueError("apiVersion must be " + API_VERSIONS[0])
    _known(document, {"apiVersion", "kind", "jwt"}, "")
    issuers = tuple(_issuer(body, f"jwt[{n}]") for n, body in enumerate(_list(document, "jwt", "")))
    urls = [issuer.url for issuer in issuers]
    for position, url in enumerate(urls):
        if url in urls[:position]:
            raise ValueError(f'jwt[{position}].issuer.url: Duplicate value: "{url}"')
    return issuers


_PARTS: Final = {"issuer", "claimMappings", "claimValidationRules", "userValidationRules"}
_ISSUER: Final = {"url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy"}


def _issuer(body: Any, at: str) -> Issuer:
    _known(body, _PARTS, at)
    issuer, mappings = _dict(body, "issuer", at), _dict(body, "claimMappings", at)
    _known(issuer, _ISSUER, f"{at}.issuer")
    _known(mappings, {"username", "groups", "uid", "extra"}, f"{at}.claimMappings")
    url = _text(issuer, "url", f"{at}.issuer")
    discovery = _text(issuer, "discoveryURL", f"{at}.issuer")
    for name, found in (("url", url), ("discoveryURL", discovery or "https://unset")):
        if not found.startswith("https://"):
            raise ValueError(f"{at}.issuer.{name} must be a URL with the scheme https")
    audiences = tuple(_list(issuer, "audiences", f"{at}.issuer"))
    if not audiences or not all(isinstance(audience, str) and audience for audience in audiences):
        raise ValueError(f"{at}.issuer.audiences must name at least one audience")
    policy = _text(issuer, "audienceMatchPolicy", f"{at}.issuer")
    if policy not in ("", "MatchAny") or (len(audiences) > 1 and not policy):
        raise ValueError(
            f"{at}.issuer.audienceMatchPolicy must be MatchAny where there are several audiences"
        )
    username = _source(mappings, "username", f"{at}.claimMappings")
    if not username.claim and not username.expression:
        raise ValueError(f"{at}.claimMappings.username needs a claim or an expression")
    return Issuer(
        url,
        discovery or url.rstrip("/") + "/.well-known/openid-configuration",
        _text(issuer, "certificateAuthority", f"{at}.issuer"),
        audiences,
        username,
        _source(mappings, "groups", f"{at}.claimMappings"),
        _source(mappings, "uid", f"{at}.claimMappings", prefixed=False),
        tuple(_extra(mappings, f"{at}.claimMappings")),
        tuple(_rules(body, "claimValidationRules", at, "claims")),
        tuple(_rules(body, "userValidationRules", at, "user")),
    )


def _source(mappings: Any, name: str, at: str, *, prefixed: bool = True) -> Source:
    body, at = _dict(mappings, name, at), f"{at}.{name}"
    _known(body, {"claim", "expression", *(("prefix",) if prefixed else ())}, at)
    found = Source(_text(body, "claim", at), _text(body, "prefix", at), _text(body, "expression", at))
    if found.claim and found.expression:
        raise ValueError(f"{at}: claim and expression can't both be set")
    if prefixed and found.claim and "prefix" not in body:
        raise ValueError(f"{at}.prefix is required when claim is set; it may be empty")
    if found.prefix and found.expression:
        raise ValueError(f"{at}.prefix can't be set when expression is set")
    if found.expression:
        _compiles(found.expression, "claims", f"{at}.expression")
    return found


def _extra(mappings: Any, at: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for position, body in enumerate(_list(mappings, "extra", at)):
        here = f"{at}.extra[{position}]"
        _known(body, {"key", "valueExpression"}, here)
        key, expression = _text(body, "key", here), _text(body, "valueExpression", here)
        if "/" not in key or key != key.lower():
            raise ValueError(f"{here}.key must be a lower-case domain-prefix path (such as example.org/foo)")
        _compiles(expression, "claims", f"{here}.valueExpression")
        found.append((key, expression))
    return found


def _rules(body: Any, name: str, at: str, variable: str) -> list[Rule]:
    found: list[Rule] = []
    for position, rule in enumerate(_list(body, name, at)):
        here = f"{at}.{name}[{position}]"
        _known(rule, {"claim", "requiredValue", "expression", "message"}, here)
        made = Rule(*(_text(rule, key, here) for key in ("claim", "requiredValue", "expression", "message")))
        if bool(made.claim) == bool(made.expression) or (variable == "user" and made.claim):
            raise ValueError(f"{here} needs {'an' if variable == 'user' else 'a claim or an'} expression")
        if made.expression:
            _compiles(made.expression, variable, f"{here}.expression")
        found.append(made)
    return found


def _compiles(expression: str, variable: str, at: str) -> None:
    try:
        cel.compile(expression, {variable: "dyn"})
    except cel.CompileError as problem:
        raise ValueError(f"{at}: compilation failed: {problem}") from None


def _known(body: Any, names: set[str], at: str) -> None:
    if not isinstance(body, dict):
        raise ValueError(f"{at} must be a mapping")
    if strange := sorted(set(map(str, body)) - names):
        raise ValueError(f"{at + '.' if at else ''}{strange[0]} is no field that is known here")


def _dict(body: Any, name: str, at: str) -> dict[str, Any]:
    found = body.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{at}.{name} must be a mapping")
    return found


def _list(body: Any, name: str, at: str) -> list[Any]:
    found = body.get(name) or []
    if not isinstance(found, list):
        raise ValueError(f"{at + '.' if at else ''}{name} must be a list")
    return found


def _text(body: Any, name: str, at: str) -> str:
    found = body.get(name) or ""
    if not isinstance(found, str):
        raise ValueError(f"{at}.{name} must be a string")
    return found
