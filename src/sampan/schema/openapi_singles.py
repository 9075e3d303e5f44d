"""OpenAPI v3 of what is not about resources: version, discovery, and the keys of service accounts' tokens.

kube-apiserver has a document for each of these, of one path with one GET.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sampan.schema.definitions import Definitions
from sampan.schema.openapi_schemas import V3, Components

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_MANY: Final = ("application/json", "application/vnd.kubernetes.protobuf", "application/yaml")
_JSON: Final = ("application/json",)


class Single(msgspec.Struct, frozen=True):
    """A path that answers one GET: with a definition, or with text where that is "" ."""

    tag: str
    id: str
    description: str
    answer: str = ""
    media: tuple[str, ...] = _JSON


def singles(groups: Iterable[str]) -> dict[str, Single]:
    """The documents of a server with these API groups, by name."""
    made = {
        ".well-known/openid-configuration": Single(
            "WellKnown",
            "getServiceAccountIssuerOpenIDConfiguration",
            "who issues tokens of service accounts, as an OpenID provider says it",
        ),
        "api": Single(
            "core", "getCoreAPIVersions", "the versions of the core group", _META + "APIVersions", _MANY
        ),
        "apis": Single("apis", "getAPIVersions", "the groups that there are", _META + "APIGroupList", _MANY),
        "openid/v1/jwks": Single(
            "openid",
            "getServiceAccountIssuerOpenIDKeyset",
            "the keys that tokens of service accounts are verified with",
            media=("application/jwk-set+json",),
        ),
        "version": Single(
            "version", "getCodeVersion", "the version of this server", "io.k8s.apimachinery.pkg.version.Info"
        ),
    }
    for group in groups:
        if group:
            tag = _tag(group)
            name = f"get{tag[:1].upper()}{tag[1:]}APIGroup"
            made[f"apis/{group}"] = Single(tag, name, "the versions of this group", _META + "APIGroup", _MANY)
    return dict(sorted(made.items()))


def _tag(group: str) -> str:
    """`rbacAuthorization` of `rbac.authorization.k8s.io`."""
    first, *others = group.removesuffix(".k8s.io").split(".")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


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
        "info": {"title": "Kubernetes", "version": f"v{definitions.version}.0"},
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
