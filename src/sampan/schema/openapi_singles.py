"""OpenAPI v3 of what is not about resources: version, discovery, and the keys of service accounts' tokens.

kube-apiserver has a document for each of these, of one path with one GET.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sampan.schema.definitions import Definitions
from sampan.schema.openapi_paths import ANSWERS, TEXT, Operation, PathItem, tag_of
from sampan.schema.openapi_schemas import V3, Components

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_JSON: Final = ("application/json",)


class Single(msgspec.Struct, frozen=True):
    """A path that answers one GET: with a definition, or with text where that is "" ."""

    tag: str
    id: str
    description: str
    answer: str = TEXT
    media: tuple[str, ...] = _JSON
    takes: tuple[str, ...] = ()


def singles(groups: Iterable[str]) -> dict[str, Single]:
    """The documents of a server with these API groups, by name."""
    made = {
        ".well-known/openid-configuration": Single(
            "WellKnown",
            "getServiceAccountIssuerOpenIDConfiguration",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
        ),
        "api": _versions("core", "getCoreAPIVersions", "APIVersions"),
        "apis": _versions("apis", "getAPIVersions", "APIGroupList"),
        "openid/v1/jwks": Single(
            "openid",
            "getServiceAccountIssuerOpenIDKeyset",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            media=("application/jwk-set+json",),
        ),
        "version": Single(
            "version",
            "getCodeVersion",
            "get the version information for this server",
            "io.k8s.apimachinery.pkg.version.Info",
            takes=_JSON,
        ),
    }
    for group in groups:
        if group:
            tag = tag_of(group)
            made[f"apis/{group}"] = Single(
                tag,
                f"get{tag[:1].upper()}{tag[1:]}APIGroup",
                "get information of a group",
                _META + "APIGroup",
                ANSWERS,
                ANSWERS,
            )
    return dict(sorted(made.items()))


def _versions(tag: str, name: str, answer: str) -> Single:
    return Single(tag, name, "get available API versions", _META + answer, ANSWERS, ANSWERS)


def path_item(root: str, single: Single) -> PathItem:
    """A single as other paths are told of."""
    operation = Operation(
        "get",
        single.id,
        single.description,
        takes=single.takes,
        answer=single.answer,
        gives=single.media,
    )
    return PathItem(f"/{root}/", single.tag, (), (operation,))


def digest(root: str, single: Single, definitions: Definitions) -> str:
    """The hash of the document of a single."""
    made_from = [definitions.version, root, single]
    return hashlib.sha512(msgspec.json.encode(made_from)).hexdigest().upper()


def document(root: str, single: Single, definitions: Definitions) -> dict[str, Any]:
    """The document of a single."""
    components = Components(definitions, V3)
    schema: dict[str, Any] = {"type": "string"}
    if single.answer:
        components.add([single.answer])
        schema = components.ref(single.answer)
    answers = {
        "200": {"description": "OK", "content": {media: {"schema": schema} for media in single.media}},
        "401": {"description": "Unauthorized"},
    }
    get = {
        "tags": [single.tag],
        "description": single.description,
        "operationId": single.id,
        "responses": answers,
    }
    shown: dict[str, Any] = {"securitySchemes": SECURITY}
    if single.answer:
        shown = {"schemas": components.schemas(), **shown}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": definitions.version},
        "paths": {f"/{root}/": {"get": get}},
        "components": shown,
    }


SECURITY: Final = {
    "BearerToken": {
        "type": "apiKey",
        "description": "Bearer Token authentication",
        "name": "authorization",
        "in": "header",
    }
}
