"""OpenAPI v2 (Swagger): the one document at /openapi/v2, as JSON and as gnostic's protobuf."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sampan.schema.definitions import Definitions
from sampan.schema.openapi_parameters import Parameter
from sampan.schema.openapi_paths import (
    DELETE_OPTIONS,
    PATCH,
    TEXT,
    Operation,
    PathItem,
    path_items,
    resource_list,
)
from sampan.schema.openapi_resources import ServedResource, definition_of
from sampan.schema.openapi_schemas import V2, Components
from sampan.schema.openapi_singles import Single, path_item
from sampan.schema.openapi_v3 import gvk_of

# The media type of the protobuf form, and the names by which clients ask for it. The older one has an `@`,
# which is no media type to Go's parser, so it is never answered.
PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_ASKED: Final = (PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
_PHRASES: Final = {200: "OK", 201: "Created", 202: "Accepted"}
# What stays where it is used: names differ by kind, and older kubectls look for the other two there.
_UNSHARED: Final = frozenset({"name", "fieldValidation", "dryRun"})
_SHARED_BODIES: Final = frozenset({DELETE_OPTIONS, PATCH})
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3


def document(
    resources: Sequence[ServedResource],
    definitions: Definitions,
    singles: Mapping[str, Single] | None = None,
) -> dict[str, Any]:
    """The document for all resources; `singles` are the paths beside them."""
    made = _Document(definitions)
    for resource in resources:
        if resource.custom is not None:
            made.components.add_custom(resource)
        else:
            made.components.add([definition_of(resource, definitions)])
            made.add(resource_list(resource.root, resource.gvk.group, resource.gvk.version))
        for item in path_items(resource, definitions):
            made.add(item)
    for root, single in (singles or {}).items():
        made.add(path_item(root, single))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": definitions.version},
        "paths": dict(sorted(made.paths.items())),
        "definitions": made.components.schemas(),
        "parameters": dict(sorted(made.shared.items())),
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


class _Document:
    """Paths, definitions, and the parameters that operations have in common."""

    def __init__(self, definitions: Definitions) -> None:
        self.components = Components(definitions, V2)
        self.paths: dict[str, Any] = {}
        self.shared: dict[str, Any] = {}
        self._references: dict[Parameter | str, dict[str, Any]] = {}

    def add(self, item: PathItem) -> None:
        if item.path in self.paths:
            return
        shown: dict[str, Any] = {op.method: self._operation(op, item.tag) for op in item.operations}
        if item.parameters:
            shown["parameters"] = [self._parameter(parameter) for parameter in item.parameters]
        self.paths[item.path] = shown

    def _operation(self, operation: Operation, tag: str) -> dict[str, Any]:
        self.components.add([operation.body, operation.answer or None])
        shown: dict[str, Any] = {"description": operation.description}
        if operation.takes:
            shown["consumes"] = list(operation.takes)
        shown |= {
            "produces": list(operation.gives),
            "schemes": ["https"],
            "tags": [tag],
            "operationId": operation.id,
        }
        parameters = [self._parameter(parameter) for parameter in operation.parameters]
        if operation.body is not None:
            parameters.insert(0, self._body(operation.body, required=operation.method != "delete"))
        if parameters:
            shown["parameters"] = parameters
        shown["responses"] = self._responses(operation)
        if operation.gvk is not None:
            shown["x-kubernetes-action"] = operation.action
            shown["x-kubernetes-group-version-kind"] = gvk_of(operation.gvk)
        return shown

    def _responses(self, operation: Operation) -> dict[str, Any]:
        responses: dict[str, Any] = {}
        for code in operation.codes:
            responses[str(code)] = {"description": _PHRASES[code]}
            if operation.answer == TEXT:
                responses[str(code)]["schema"] = {"type": "string"}
            elif operation.answer is not None:
                responses[str(code)]["schema"] = self.components.ref(operation.answer)
        responses["401"] = {"description": "Unauthorized"}
        return responses

    def _body(self, definition: str, *, required: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"name": "body", "in": "body", "schema": self.components.ref(definition)}
        if required:
            shown["required"] = True
        return self._share(definition, shown) if definition in _SHARED_BODIES else shown

    def _parameter(self, parameter: Parameter) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "uniqueItems": True,
            "type": parameter.type,
            "description": parameter.description,
            "name": parameter.name,
            "in": parameter.place,
        }
        if parameter.place == "path":
            shown["required"] = True
        return shown if parameter.name in _UNSHARED else self._share(parameter, shown)

    def _share(self, what: Parameter | str, shown: dict[str, Any]) -> dict[str, Any]:
        """A reference to a parameter of the whole document, under the name that kube-apiserver gives it."""
        found = self._references.get(what)
        if found is None:
            name = f"{shown['name']}-{_digest(shown)}"
            self.shared[name] = shown
            found = self._references[what] = {"$ref": f"#/parameters/{name}"}
        return found


def _digest(parameter: Mapping[str, Any]) -> str:
    """The first bytes of its JSON's FNV-1 hash, as Go marshals it."""
    text = msgspec.json.encode({name: parameter[name] for name in _GO_ORDER if name in parameter})
    for plain, escaped in ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e")):
        text = text.replace(plain, escaped)
    found = _FNV_OFFSET
    for byte in text:
        found = (found * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF) ^ byte
    return base64.urlsafe_b64encode(found.to_bytes(8, "big")[:6]).decode()


_GO_ORDER: Final = ("uniqueItems", "type", "description", "name", "in", "required", "schema")
